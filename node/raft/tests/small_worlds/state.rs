//! A world so small that it can be explored whole: three members, a few messages. Owns what can happen in a state and
//! what it leads to. Every member has its own clock. In most worlds it moves only when a silence ends, a heartbeat is
//! due or a vote is asked for "later": so whether two members hear of the same thing before or after a timeout is a
//! choice like any other. Where leases count, clocks go in steps instead, see the module `clocks`.

use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use raft::{
    Body, Entry, Index, MemberId, Message, Now, Output, Payload, ProposalId, Raft, ReadContext, Role, SnapshotMeta,
};

use crate::bounds::{Bounds, Flaw, Time};
use crate::clocks::{self, ELECTION};
use crate::digest::Digest;
use crate::disk::{Disk, Snapshot, Write};
use crate::history::History;
use crate::member::Member;
use crate::network::{change_to, configuration, id};

/// Something that can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A member has heard nothing for too long.
    Silence(usize),
    /// A leader's heartbeat is due.
    Beat(usize),
    /// The oldest write is durable.
    Persist(usize),
    /// A message arrives.
    Deliver(usize),
    /// A message arrives when its receiver trusts no leader any more.
    DeliverLate(usize),
    /// A message arrives, and will again.
    Double(usize),
    /// A member loses what is not durable and starts again.
    Crash(usize),
    Propose(usize),
    Change(usize),
    Read(usize),
    Transfer(usize),
    /// A snapshot that the member took is durable.
    Capture(usize),
    /// The sender of a snapshot hears that it arrived, or that it failed: who, and on which lane.
    Report(usize, usize, Result<(), ()>),
    /// All clocks go a step.
    Step,
    /// One goes a step.
    Fast(usize),
    /// All others do.
    Slow(usize),
    /// All others do, as its machine sleeps.
    Sleep(usize),
}

/// How much of it happened.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Spent {
    proposals: u8,
    changes: u8,
    crashes: u8,
    beats: u8,
    doubles: u8,
    reads: u8,
    transfers: u8,
    pub(crate) snapshots: u8,
    pub(crate) steps: u8,
    pub(crate) drifts: u8,
    pub(crate) sleeps: u8,
    has_begun: bool,
}

/// What a search must have seen, or its bounds are too narrow; no part of the state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) installs: usize,
    /// Reads answered by lease, and by asking a quorum.
    pub(crate) by_lease: usize,
    pub(crate) by_round: usize,
}

impl Seen {
    /// The most of each.
    pub(crate) fn note(&mut self, other: Self) {
        self.installs = self.installs.max(other.installs);
        self.by_lease = self.by_lease.max(other.by_lease);
        self.by_round = self.by_round.max(other.by_round);
    }
}

#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: Message,
    /// With [`Body::InstallSnapshot`].
    snapshot: Option<Snapshot>,
    digest: u128,
}

/// One state.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) members: Vec<Rc<Member>>,
    /// By digest, each once.
    pub(crate) wire: Vec<Rc<Letter>>,
    pub(crate) past: History,
    pub(crate) spent: Spent,
    /// The read that was just asked for, as long as nothing else happened.
    fresh: Option<ReadContext>,
    pub(crate) seen: Seen,
}

impl World {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let meta = SnapshotMeta {
            configuration: Arc::new(configuration(bounds.voters, bounds.learners)),
            ..SnapshotMeta::default()
        };
        let numbers = 1..=(bounds.voters.len() + bounds.learners.len()) as u64;
        let member = |number| {
            let snapshot = Snapshot { meta: meta.clone(), ..Snapshot::default() };
            let mut member = Member::new(number, Disk { snapshot, ..Disk::default() });
            member.start(bounds);
            // No leader of before is trusted any more.
            member.clock = ELECTION * 2;
            if bounds.time != Time::Free {
                member.clock = clocks::election(bounds.time) * 2;
                member.tell_time();
            }
            member.take_digest(bounds);
            Rc::new(member)
        };
        let members: Vec<_> = numbers.map(member).collect();
        Self {
            wire: Vec::new(),
            past: History::default(),
            spent: Spent::default(),
            fresh: None,
            seen: Seen::default(),
            members,
        }
    }

    pub(crate) fn digest(&self) -> u128 {
        let members: Vec<u128> = self.members.iter().map(|member| member.digest).collect();
        let wire: Vec<u128> = self.wire.iter().map(|letter| letter.digest).collect();
        Digest::of((members, wire, &self.past, &self.spent))
    }

    /// What can happen now.
    pub(crate) fn acts(&self, bounds: &Bounds) -> Vec<Act> {
        if !self.spent.has_begun {
            // Members differ in name only, so who begins does not matter.
            return vec![Act::Silence(0)];
        }
        let mut acts = Vec::new();
        for at in 0..self.members.len() {
            self.acts_of(bounds, at, &mut acts);
        }
        self.clock_acts(bounds, &mut acts);
        for (place, letter) in self.wire.iter().enumerate() {
            if self.members[letter.to].raft.is_none() {
                continue;
            }
            // Asked in time, who trusts a leader does not listen, which is as good as a loss.
            let is_free = bounds.time == Time::Free;
            let is_vote = is_free && matches!(letter.message.body, Body::Vote { transfer: false, .. });
            if is_vote || (is_free && matches!(letter.message.body, Body::PreVote { .. })) {
                acts.push(Act::DeliverLate(place));
            }
            if !is_vote {
                acts.push(Act::Deliver(place));
            }
            if self.spent.doubles < bounds.doubles {
                acts.push(Act::Double(place));
            }
        }
        acts
    }

    fn acts_of(&self, bounds: &Bounds, at: usize, acts: &mut Vec<Act>) {
        let member = &*self.members[at];
        let Some(raft) = &member.raft else { return };
        let spent = &self.spent;
        if !member.writes.is_empty() {
            acts.push(Act::Persist(at));
        }
        if spent.crashes < bounds.crashes {
            acts.push(Act::Crash(at));
        }
        if member.snapshots.captured.is_some() {
            acts.push(Act::Capture(at));
        }
        for (place, lane) in member.snapshots.lanes.iter().enumerate() {
            acts.push(Act::Report(at, place, Err(())));
            acts.extend(lane.arrived.then_some(Act::Report(at, place, Ok(()))));
        }
        if member.role() != Some(Role::Leader) {
            let is_low = (raft.soft_state().term.0 as usize) < bounds.terms;
            if raft.deadline() < Duration::MAX && is_low && self.is_silent(bounds, at) {
                acts.push(Act::Silence(at));
            }
            return;
        }
        let is_due = bounds.time == Time::Free || raft.deadline() <= member.clock;
        let requests = [
            (spent.beats < bounds.beats && is_due, Act::Beat(at)),
            (spent.proposals < bounds.proposals, Act::Propose(at)),
            (spent.changes == 0 && bounds.change.is_some(), Act::Change(at)),
            (spent.reads < bounds.reads, Act::Read(at)),
            (spent.transfers < bounds.transfers, Act::Transfer(at)),
        ];
        acts.extend(requests.into_iter().filter(|(is_left, _)| *is_left).map(|(_, act)| act));
    }

    /// The state that follows; `None` if it is out of bounds, or if nothing happened.
    pub(crate) fn after(&self, bounds: &Bounds, act: Act) -> Result<Option<Self>, String> {
        let mut next = self.clone();
        next.spent.has_begun = true;
        let at = match act {
            Act::Silence(at) | Act::Beat(at) => {
                let is_beat = matches!(act, Act::Beat(_));
                next.spent.beats += u8::from(is_beat);
                let member = next.member(at);
                let Some(raft) = &mut member.raft else { return Ok(None) };
                // A silence is noticed late rather than soon, so that what chance drew makes no difference.
                let least = if is_beat || bounds.time != Time::Free { Duration::ZERO } else { ELECTION };
                member.clock = (member.clock + least).max(raft.deadline());
                raft.tick(Now { monotonic: member.clock, wall_ms: member.wall_ms });
                at
            }
            Act::Persist(at) => next.persist(bounds, at)?,
            Act::Deliver(place) | Act::DeliverLate(place) | Act::Double(place) => {
                if matches!(act, Act::Double(_)) {
                    next.spent.doubles += 1;
                }
                next.deliver(bounds, act, place)?
            }
            Act::Crash(at) => {
                next.spent.crashes += 1;
                next.member(at).crash(bounds);
                at
            }
            Act::Capture(at) => {
                next.snapshot_is_durable(bounds, at);
                at
            }
            Act::Report(at, place, arrived) => {
                next.report(at, place, arrived);
                at
            }
            Act::Step | Act::Fast(_) | Act::Slow(_) | Act::Sleep(_) => {
                next.step_clocks(bounds, act)?;
                0
            }
            Act::Read(at) => {
                next.read(at)?;
                at
            }
            Act::Propose(at) | Act::Change(at) | Act::Transfer(at) => {
                if !next.ask(bounds, at, act) {
                    return Ok(None);
                }
                at
            }
        };
        next.settle(bounds, at)?;
        next.fresh = None;
        next.forget_what_is_void();
        let is_far =
            next.members[at].raft.as_ref().is_some_and(|raft| raft.soft_state().term.0 as usize > bounds.terms);
        Ok((!is_far).then_some(next))
    }

    fn deliver(&mut self, bounds: &Bounds, act: Act, place: usize) -> Result<usize, String> {
        let letter = Rc::clone(&self.wire[place]);
        if !matches!(act, Act::Double(_)) {
            self.wire.remove(place);
        }
        let wait = if matches!(act, Act::DeliverLate(_)) { ELECTION } else { Duration::ZERO };
        let Letter { from, to, message, snapshot, .. } = &*letter;
        if let Some(snapshot) = snapshot {
            self.snapshot_arrives(bounds, *from, *to, snapshot.clone());
        }
        let member = self.member(*to);
        member.clock += wait;
        let now = member.now();
        if let Some(raft) = &mut member.raft {
            raft.step(now, id(*from as u64 + 1), message.clone());
        }
        if bounds.time != Time::Free {
            self.note_leader(bounds, *to, id(*from as u64 + 1), message)?;
        }
        Ok(*to)
    }

    fn ask(&mut self, bounds: &Bounds, at: usize, act: Act) -> bool {
        let member = self.member(at);
        let now = member.now();
        let Some(raft) = member.raft.as_mut() else { return false };
        match act {
            Act::Propose(_) => {
                let content = Payload::Normal("x".into());
                let is_taken = raft.propose(now, vec![(ProposalId(1), content)]).is_ok();
                self.spent.proposals += 1;
                is_taken
            }
            Act::Change(_) => {
                let (voters, learners) = bounds.change.expect("only if there is one");
                let expected = raft.configuration().1;
                let is_taken = raft.change(now, change_to(expected, voters, learners)).is_ok();
                self.spent.changes += 1;
                is_taken
            }
            Act::Transfer(_) => {
                let is_taken = raft.transfer(now, None).is_ok();
                self.spent.transfers += 1;
                is_taken
            }
            _ => false,
        }
    }

    fn read(&mut self, at: usize) -> Result<(), String> {
        self.spent.reads += 1;
        let context = ReadContext(u64::from(self.spent.reads));
        self.past.asks(context);
        self.fresh = Some(context);
        let member = self.member(at);
        let now = member.now();
        let is_kept = member.lease_seen == Some(now.monotonic);
        let Some(raft) = &mut member.raft else { return Ok(()) };
        if is_kept {
            let index = raft.commit();
            return self.read_is_ready(at, context, index);
        }
        raft.read(now, context);
        Ok(())
    }

    fn read_is_ready(&mut self, at: usize, context: ReadContext, index: Index) -> Result<(), String> {
        let member = &self.members[at];
        if self.fresh == Some(context) {
            // Nothing came in between, so no other member was asked.
            self.seen.by_lease += 1;
            let term = member.raft.as_ref().map(|raft| raft.soft_state().term);
            term.map_or(Ok(()), |term| self.past.holds_lease(member.id(), term))?;
        } else {
            self.seen.by_round += 1;
        }
        self.past.reads(context, index)
    }

    pub(crate) fn member(&mut self, at: usize) -> &mut Member {
        Rc::make_mut(&mut self.members[at])
    }

    fn persist(&mut self, bounds: &Bounds, at: usize) -> Result<usize, String> {
        let is_early = bounds.flaw == Flaw::AcknowledgesEarly && self.spent.crashes < bounds.crashes;
        let member = self.member(at);
        let Some(write) = member.writes.pop_front() else { return Ok(at) };
        let (now, io) = (member.now(), write.io());
        let is_skipped = bounds.flaw == Flaw::InstallsOverLog && matches!(write, Write::Reset(_));
        if !is_early && !is_skipped {
            if !member.disk.connects(&write) {
                return Err(format!("{} writes {write:?} behind a gap", member.id()));
            }
            member.disk.perform(write);
        }
        if let (Some(raft), Some(io)) = (&mut member.raft, io) {
            raft.persisted(now, io);
        }
        self.judge_disk(bounds, at)?;
        Ok(at)
    }

    /// A disk has changed.
    fn judge_disk(&self, bounds: &Bounds, at: usize) -> Result<(), String> {
        let members = self.everyone();
        let disk = &members[at].disk;
        members.iter().try_for_each(|other| self.past.logs_match(disk, &other.disk))?;
        if bounds.change.is_some() {
            return Ok(());
        }
        self.past.stays_durable(bounds.voters, &members)
    }

    /// What a core asks for is done.
    pub(crate) fn settle(&mut self, bounds: &Bounds, at: usize) -> Result<(), String> {
        self.drain(bounds, at)?;
        while self.spent.crashes >= bounds.crashes && !self.members[at].writes.is_empty() {
            // With no crash to come, a late write is as good as a late message.
            self.persist(bounds, at)?;
            self.drain(bounds, at)?;
        }
        Ok(())
    }

    fn everyone(&self) -> Vec<&Member> {
        self.members.iter().map(|member| &**member).collect()
    }

    /// Does what a core asks for; what is committed is applied at once.
    fn drain(&mut self, bounds: &Bounds, at: usize) -> Result<(), String> {
        while let Some(output) = self.member(at).raft.as_mut().and_then(Raft::next_output) {
            self.perform(bounds, at, output)?;
        }
        if self.members[at].snapshots.received.is_some() {
            return Err("a snapshot arrived, and is neither installed nor thrown away".into());
        }
        self.capture_if_due(bounds, at)?;
        self.member(at).take_digest(bounds);
        if self.members[at].role() == Some(Role::Leader) {
            self.past.matches_are_true(&self.members[at], &self.everyone())?;
        }
        Ok(())
    }

    fn perform(&mut self, bounds: &Bounds, at: usize, output: Output) -> Result<(), String> {
        match output {
            Output::Persist(persist) => self.member(at).writes.push_back(Write::Log(persist)),
            Output::Send { to, message } => self.send(bounds, at, to, message)?,
            Output::Apply(entries) => self.apply(at, &entries)?,
            Output::Changed(state) if state.role == Role::Leader => self.past.leads(&self.members[at], state)?,
            Output::ReadReady { context, index } => {
                let is_lease = self.fresh == Some(context);
                self.read_is_ready(at, context, index)?;
                let member = self.member(at);
                member.lease_seen = (is_lease && bounds.flaw == Flaw::KeepsLease).then_some(member.clock);
            }
            Output::ReadFailed { context } => self.past.fails(context),
            Output::Removed { .. } => self.member(at).raft = None,
            Output::Changed(_) | Output::Dropped { .. } => {}
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(bounds, at, to, term, at_least)?,
            Output::InstallSnapshot { io, from, hard_state, meta } => {
                self.install(bounds, at, (io, from), hard_state, &meta)?;
            }
            Output::DiscardSnapshot { .. } => self.member(at).snapshots.received = None,
            Output::SnapshotDue { .. } => self.member(at).snapshots.due = true,
        }
        Ok(())
    }

    fn apply(&mut self, at: usize, entries: &[Entry]) -> Result<(), String> {
        let members: Vec<&Member> = self.members.iter().map(|member| &**member).collect();
        self.past.applies(at, entries, &members)?;
        let member = self.member(at);
        for entry in entries {
            if entry.id.index != member.applied.next() {
                return Err(format!("{} is to apply {} after {}", member.id(), entry.id, member.applied));
            }
            (member.applied, member.state) = (entry.id.index, member.state.after(entry));
        }
        let now = member.now();
        let (id, applied, state) = (member.id(), member.applied, member.state);
        if let Some(raft) = &mut member.raft {
            raft.applied(now, applied);
        }
        self.past.states(id, applied, state)
    }

    /// Answers of an older term count for nothing, and a term that is on disk does not fall: as good as lost.
    fn forget_what_is_void(&mut self) {
        let members = &self.members;
        self.wire.retain(|letter| {
            let receiver = &members[letter.to];
            let is_old = letter.message.term < receiver.disk.hard_state.term;
            let is_answer = matches!(
                letter.message.body,
                Body::PreVoteReply { .. } | Body::VoteReply { .. } | Body::AppendReply(_) | Body::HeartbeatReply { .. }
            );
            receiver.raft.is_some() && !(is_old && is_answer)
        });
    }

    fn send(&mut self, bounds: &Bounds, from: usize, to: MemberId, message: Message) -> Result<(), String> {
        if let Body::VoteReply { granted: true } = message.body {
            self.past.votes(id(from as u64 + 1), message.term, to)?;
        }
        self.post(bounds, from, to, message, None);
        Ok(())
    }

    /// Puts a message on the wire, if the bound allows one more.
    pub(crate) fn post(
        &mut self,
        bounds: &Bounds,
        from: usize,
        to: MemberId,
        message: Message,
        snapshot: Option<Snapshot>,
    ) {
        let to = to.0 as usize - 1;
        let digest = Digest::of((from, to, &message, &snapshot));
        let place = self.wire.partition_point(|letter| letter.digest < digest);
        let is_there = self.wire.get(place).is_some_and(|letter| letter.digest == digest);
        if !is_there && self.wire.len() < bounds.wire {
            self.wire.insert(place, Rc::new(Letter { from, to, message, snapshot, digest }));
        }
    }

    /// What happened, for people.
    pub(crate) fn tell(&self, act: Act) -> String {
        match act {
            Act::Deliver(place) | Act::DeliverLate(place) | Act::Double(place) => {
                let Letter { from, to, message, .. } = &*self.wire[place];
                let how = format!("{act:?}");
                let how = how.split('(').next().unwrap_or_default();
                format!("{how}: {} to {}, {message:?}", from + 1, to + 1)
            }
            Act::Silence(at)
            | Act::Beat(at)
            | Act::Persist(at)
            | Act::Crash(at)
            | Act::Propose(at)
            | Act::Change(at)
            | Act::Read(at)
            | Act::Transfer(at)
            | Act::Capture(at)
            | Act::Fast(at)
            | Act::Slow(at)
            | Act::Sleep(at) => {
                let what = format!("{act:?}");
                format!("{} at {}", what.split('(').next().unwrap_or_default(), at + 1)
            }
            Act::Step => format!("{act:?}"),
            Act::Report(at, place, arrived) => {
                let to = self.members[at].snapshots.lanes[place].to;
                format!("Report at {}: the snapshot to {to}: {arrived:?}", at + 1)
            }
        }
    }
}
