//! The queue of outputs, and the messages that must wait for the disk. Owns the numbers of writes and every withheld
//! message. No driver can therefore send a vote or an acknowledgement too early. Does not own what is sent (`flush.rs`
//! and the rules).

use std::collections::VecDeque;

use crate::ids::{IoId, MemberId, Term};
use crate::message::{AppendReply, Body, Message};
use crate::output::{Output, SoftState};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// A message that may be sent only after a write is durable.
#[derive(Clone, Debug, Hash)]
struct WithheldMessage {
    io: IoId,
    to: MemberId,
    message: Message,
}

/// The queue of outputs from the core to its driver.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    /// Withheld messages, in the order of their writes.
    withheld: VecDeque<WithheldMessage>,
    /// Latest write that was given to the driver.
    issued: IoId,
    /// Latest write that is durable.
    durable: IoId,
    /// Whether an input arrived since the last flush.
    flush_due: bool,
    /// Role, leader and term as last reported to the driver.
    reported: SoftState,
}

impl Outbox {
    /// Returns an empty outbox; `reported` is the state that the driver knows at the start.
    pub(crate) fn new(reported: SoftState) -> Self {
        Self {
            queue: VecDeque::new(),
            withheld: VecDeque::new(),
            issued: IoId::default(),
            durable: IoId::default(),
            flush_due: true,
            reported,
        }
    }

    /// Records that an input arrived. The next request for an output then flushes the consequences of the input.
    pub(crate) fn request_flush(&mut self) {
        self.flush_due = true;
    }

    /// Returns whether a flush is due: an input requested a flush, and the driver took every output. If a flush is due,
    /// clears the request for the flush.
    pub(crate) fn take_flush_request(&mut self) -> bool {
        self.queue.is_empty() && std::mem::take(&mut self.flush_due)
    }

    /// Reports role, leader and term, if they changed since the last report.
    pub(crate) fn report(&mut self, state: SoftState) {
        if state != self.reported {
            self.reported = state;
            self.push(Output::Changed(state));
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn send(&mut self, to: MemberId, message: Message) {
        self.queue.push_back(Output::Send { to, message });
    }

    /// Sends the message when `io` is durable.
    pub(crate) fn send_after(&mut self, io: IoId, to: MemberId, message: Message) {
        if io <= self.durable {
            self.send(to, message);
            return;
        }
        if let Some(last) = self.withheld.back_mut()
            && last.io == io
            && last.to == to
            && absorb(&mut last.message, &message)
        {
            return;
        }
        // Messages are queued in the order of their writes. If an earlier message waits for a later write, this message
        // waits for that write, too. Sending a message later is always safe.
        let io = self.withheld.back().map_or(io, |last| last.io.max(io));
        assert!(io <= self.issued.next(), "a promise waits for a write in progress or for the next one: {io}");
        self.withheld.push_back(WithheldMessage { io, to, message });
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// Returns the number of the next write.
    pub(crate) fn next_io(&self) -> IoId {
        self.issued.next()
    }

    /// Returns the number of the latest write.
    pub(crate) fn issued(&self) -> IoId {
        self.issued
    }

    /// Starts the next write and returns its number.
    pub(crate) fn issue(&mut self) -> IoId {
        self.issued = self.issued.next();
        self.issued
    }

    pub(crate) fn durable(&self) -> IoId {
        self.durable
    }

    /// The log was truncated or replaced: drops the withheld acknowledgements, because they refer to the old log.
    pub(crate) fn withdraw_acknowledgements(&mut self) {
        self.withheld.retain(|withheld| !matches!(withheld.message.body, Body::AppendReply(_)));
    }

    /// Every write up to `io` is durable: sends the messages that waited for it. Drops a message of an earlier term,
    /// because its receiver no longer leads or does not need the message.
    pub(crate) fn persisted(&mut self, io: IoId, term: Term) {
        self.durable = self.durable.max(io.min(self.issued));
        assert!(self.durable <= self.issued, "only issued writes become durable");
        let mut ready: Option<(MemberId, Message)> = None;
        while self.withheld.front().is_some_and(|first| first.io <= self.durable) {
            let Some(WithheldMessage { to, message, .. }) = self.withheld.pop_front() else { break };
            assert!(message.term <= term, "no message is of a later term");
            if message.term != term {
                continue;
            }
            if let Some((receiver, earlier)) = &mut ready
                && *receiver == to
                && absorb(earlier, &message)
            {
                continue;
            }
            if let Some((to, message)) = ready.replace((to, message)) {
                self.send(to, message);
            }
        }
        if let Some((to, message)) = ready {
            self.send(to, message);
        }
    }
}

/// Merges a later acknowledgement into an earlier one of the same term, because both are cumulative. Returns false if
/// the messages cannot be merged.
fn absorb(earlier: &mut Message, later: &Message) -> bool {
    let terms_agree = earlier.term == later.term;
    match (&mut earlier.body, &later.body) {
        (
            Body::AppendReply(AppendReply::Accepted { matched, round }),
            Body::AppendReply(AppendReply::Accepted { matched: later_matched, round: later_round }),
        ) if terms_agree => {
            *matched = (*matched).max(*later_matched);
            *round = (*round).max(*later_round);
            true
        }
        _ => false,
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for Outbox {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { queue, withheld, issued, durable: _, flush_due, reported } = self;
        (queue, flush_due, reported).hash(into);
        for WithheldMessage { io, to, message } in withheld {
            (present.writes_to(*io), to, message).hash(into);
        }
        (withheld.len(), present.writes_to(*issued)).hash(into);
    }
}
