//! Messages in flight: how they are sent, arrive and are lost. Owns the envelope, its place, and the choice of the
//! messages that are lost. Does not own the other events (`state.rs`).
//!
//! A message may arrive at any later time, so a message that does not arrive needs no event of its own: it stays in
//! flight. It then takes a place, and a world has few. Every message that is sent is therefore put in flight, and a
//! state with more messages than places is *overfull*: it is followed only by the loss of one message, whichever the
//! search chooses. So each copy of a broadcast, and each older message, is the one that is lost in some history.

use std::rc::Rc;
use std::time::Duration;

use raft::{Body, MemberId, Message};

use super::bounds::{Bounds, Time};
use super::clocks::ELECTION;
use super::digest::Digest;
use super::disk::Snapshot;
use super::network::id;
use super::state::{Event, World};

/// A message in flight.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: Message,
    /// The snapshot, if the message is a [`Body::InstallSnapshot`].
    snapshot: Option<Snapshot>,
    pub(crate) digest: u128,
}

impl World {
    /// Returns whether more messages are in flight than the bounds allow, so that one must be lost now.
    pub(crate) fn is_overfull(&self, bounds: &Bounds) -> bool {
        self.in_flight.len() > bounds.in_flight
    }

    /// Adds the arrivals that are possible now.
    pub(crate) fn add_deliveries(&self, bounds: &Bounds, events: &mut Vec<Event>) {
        for (place, envelope) in self.in_flight.iter().enumerate() {
            if self.members[envelope.to].raft.is_none() {
                continue;
            }
            // A receiver that trusts a leader ignores a vote request, as if the request were lost. A vote request is
            // therefore delivered only after its receiver has ceased to trust a leader. A pre-vote request may also be
            // delivered earlier, because a receiver that trusts a leader answers it.
            let is_independent = bounds.time == Time::Independent;
            let is_vote = is_independent && matches!(envelope.message.body, Body::Vote { transfer: false, .. });
            if is_vote || (is_independent && matches!(envelope.message.body, Body::PreVote { .. })) {
                events.push(Event::DeliverLate(place));
            }
            if !is_vote {
                events.push(Event::Deliver(place));
            }
            if self.spent.duplicates < bounds.duplicates {
                events.push(Event::DeliverTwice(place));
            }
        }
    }

    /// Delivers a message. Returns its receiver.
    pub(crate) fn deliver(&mut self, bounds: &Bounds, event: Event, place: usize) -> Result<usize, String> {
        let envelope = Rc::clone(&self.in_flight[place]);
        if !matches!(event, Event::DeliverTwice(_)) {
            self.in_flight.remove(place);
        }
        let wait = if matches!(event, Event::DeliverLate(_)) { ELECTION } else { Duration::ZERO };
        let Envelope { from, to, message, snapshot, .. } = &*envelope;
        if let Some(snapshot) = snapshot {
            self.snapshot_arrives(bounds, *from, *to, snapshot.clone());
        }
        let member = self.member(*to);
        member.clock += wait;
        let now = member.now();
        if let Some(raft) = &mut member.raft {
            raft.step(now, id(*from as u64 + 1), message.clone());
        }
        self.note_trust(*to, id(*from as u64 + 1), message);
        if bounds.time != Time::Independent {
            self.note_leader(bounds, *to, id(*from as u64 + 1), message)?;
        }
        Ok(*to)
    }

    /// Puts a message in flight, unless an equal message is in flight.
    pub(crate) fn post(&mut self, from: usize, to: MemberId, message: Message, snapshot: Option<Snapshot>) {
        let to = to.0 as usize - 1;
        let digest = Digest::of((from, to, &message, &snapshot));
        let place = self.in_flight.partition_point(|envelope| envelope.digest < digest);
        let is_duplicate = self.in_flight.get(place).is_some_and(|envelope| envelope.digest == digest);
        if !is_duplicate {
            self.in_flight.insert(place, Rc::new(Envelope { from, to, message, snapshot, digest }));
        }
    }

    /// Removes answers whose term is lower than the durable term of their receiver. A durable term never decreases, so
    /// these answers can have no effect, and must not be the reason why another message is lost. Also removes messages
    /// to removed members.
    pub(crate) fn drop_stale_messages(&mut self) {
        let members = &self.members;
        self.in_flight.retain(|envelope| {
            let receiver = &members[envelope.to];
            let is_old = envelope.message.term < receiver.disk.hard_state.term;
            let is_answer = matches!(
                envelope.message.body,
                Body::PreVoteReply { .. } | Body::VoteReply { .. } | Body::AppendReply(_) | Body::HeartbeatReply { .. }
            );
            receiver.raft.is_some() && !(is_old && is_answer)
        });
    }
}
