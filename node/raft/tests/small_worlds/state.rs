//! State of a small world: three members and a few messages in flight. Owns the events that are possible in a state and
//! the states that they lead to. Does not own the search (`search.rs`), the checks (`history.rs`), the messages in
//! flight (`in_flight.rs`) or the snapshots (`snapshots.rs`). Every member has its own clock. In worlds without leases
//! a clock advances only when an election timeout passes, a heartbeat is due or a request for a vote arrives late, so
//! the search chooses whether a message arrives before or after a timeout. In worlds with leases, clocks advance in
//! steps (`clocks.rs`).

use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use raft::{
    Body, Entry, Index, MemberId, Message, Now, Output, Payload, ProposalId, Raft, ReadContext, Role, SnapshotMeta,
};

use super::bounds::{Bounds, Flaw, Time};
use super::clocks::{self, ELECTION};
use super::digest::Digest;
use super::disk::{Disk, Snapshot, Write};
use super::history::History;
use super::in_flight::Envelope;
use super::member::Member;
use super::network::{change_to, configuration, id};

/// An event that can follow a state. The number in a variant is the position of the member or of the message in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The election timeout of a member passes.
    Timeout(usize),
    /// A heartbeat of a leader is due.
    Heartbeat(usize),
    /// The oldest pending write of a member becomes durable.
    Persist(usize),
    /// A message arrives.
    Deliver(usize),
    /// A message arrives after its receiver has ceased to trust a leader.
    DeliverLate(usize),
    /// A message arrives, and stays in flight to arrive again.
    DeliverTwice(usize),
    /// A message is lost. Possible only in an overfull state, in which no other event is possible.
    Lose(usize),
    /// A member loses everything that is not durable, and restarts.
    Crash(usize),
    Propose(usize),
    Change(usize),
    Read(usize),
    Transfer(usize),
    /// The captured snapshot of a member becomes durable.
    PersistSnapshot(usize),
    /// The end of a snapshot transfer is reported to its sender. The fields are the sender, the position of the
    /// transfer, and whether the snapshot arrived.
    ReportSnapshot(usize, usize, Result<(), ()>),
    /// The oldest read of the log is answered, with what the disk held at the request or, if late, with what it holds.
    AnswerRead {
        at: usize,
        is_late: bool,
    },
    /// A member receives a forged notice of its removal.
    Forge(usize),
    /// A verification of a removal is answered by a voter or, if none is reached, by none.
    Verify {
        at: usize,
        voter: Option<usize>,
    },
    /// All clocks advance by a step.
    AdvanceAll,
    /// The clock of one member advances by a step.
    AdvanceOne(usize),
    /// The clocks of all other members advance by a step.
    AdvanceOthers(usize),
    /// The machine of a member sleeps while all other clocks advance by a step.
    Sleep(usize),
}

/// How much of each bound is spent.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Spent {
    proposals: u8,
    changes: u8,
    crashes: u8,
    heartbeats: u8,
    pub(crate) duplicates: u8,
    reads: u8,
    transfers: u8,
    pub(crate) forgeries: u8,
    pub(crate) snapshots: u8,
    pub(crate) steps: u8,
    pub(crate) drifts: u8,
    pub(crate) sleeps: u8,
    has_begun: bool,
}

/// Counts of what happened in a history. If a search does not reach certain counts, its bounds are too narrow. The
/// counts are not part of a state's digest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) installs: usize,
    /// Number of reads that a lease answered.
    pub(crate) by_lease: usize,
    /// Number of reads that were answered after a round.
    pub(crate) by_round: usize,
    /// Number of reads of the log that were answered.
    pub(crate) reads_back: usize,
    /// Number of members that stopped for good.
    pub(crate) removals: usize,
    /// Number of verifications that reached no voter.
    pub(crate) cut_off: usize,
    /// Number of verifications that a voter answered with a configuration that contains the member.
    pub(crate) contained: usize,
}

impl Coverage {
    /// Raises each count to the count in `other`, if that count is higher.
    pub(crate) fn note(&mut self, other: Self) {
        self.installs = self.installs.max(other.installs);
        self.by_lease = self.by_lease.max(other.by_lease);
        self.by_round = self.by_round.max(other.by_round);
        self.reads_back = self.reads_back.max(other.reads_back);
        self.removals = self.removals.max(other.removals);
        self.cut_off = self.cut_off.max(other.cut_off);
        self.contained = self.contained.max(other.contained);
    }
}

/// One state of the search.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) members: Vec<Rc<Member>>,
    /// Messages in flight, sorted by digest, without duplicates.
    pub(crate) in_flight: Vec<Rc<Envelope>>,
    pub(crate) history: History,
    pub(crate) spent: Spent,
    /// The read that the current event began. If the read is answered within the same event, a lease answered it.
    read_begun: Option<ReadContext>,
    pub(crate) coverage: Coverage,
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
            // At this time, the member no longer trusts a leader from before its start.
            member.clock = ELECTION * 2;
            if bounds.time != Time::Independent {
                member.clock = clocks::election(bounds.time) * 2;
                member.update_time();
            }
            member.update_digest(bounds);
            Rc::new(member)
        };
        let members: Vec<_> = numbers.map(member).collect();
        Self {
            in_flight: Vec::new(),
            history: History::default(),
            spent: Spent::default(),
            read_begun: None,
            coverage: Coverage::default(),
            members,
        }
    }

    pub(crate) fn digest(&self) -> u128 {
        let members: Vec<u128> = self.members.iter().map(|member| member.digest).collect();
        let in_flight: Vec<u128> = self.in_flight.iter().map(|envelope| envelope.digest).collect();
        Digest::of((members, in_flight, &self.history, &self.spent))
    }

    /// Returns the events that are possible now.
    pub(crate) fn events(&self, bounds: &Bounds) -> Vec<Event> {
        if !self.spent.has_begun {
            // The members differ only in ID, so it suffices to begin with the first.
            return vec![Event::Timeout(0)];
        }
        if self.is_overfull(bounds) {
            return (0..self.in_flight.len()).map(Event::Lose).collect();
        }
        let mut events = Vec::new();
        for at in 0..self.members.len() {
            self.add_events_of(bounds, at, &mut events);
        }
        self.add_clock_events(bounds, &mut events);
        self.add_deliveries(bounds, &mut events);
        events
    }

    fn add_events_of(&self, bounds: &Bounds, at: usize, events: &mut Vec<Event>) {
        let member = &*self.members[at];
        let Some(raft) = &member.raft else { return };
        let spent = &self.spent;
        if !member.writes.is_empty() {
            events.push(Event::Persist(at));
        }
        if spent.crashes < bounds.crashes {
            events.push(Event::Crash(at));
        }
        if member.snapshots.captured.is_some() {
            events.push(Event::PersistSnapshot(at));
        }
        self.add_reads(at, events);
        self.add_removal_events(bounds, at, events);
        for (place, lane) in member.snapshots.lanes.iter().enumerate() {
            events.push(Event::ReportSnapshot(at, place, Err(())));
            events.extend(lane.arrived.then_some(Event::ReportSnapshot(at, place, Ok(()))));
        }
        if member.role() != Some(Role::Leader) {
            let is_below_last_term = (raft.soft_state().term.0 as usize) < bounds.terms;
            if raft.deadline() < Duration::MAX && is_below_last_term && self.can_time_out(bounds, at) {
                events.push(Event::Timeout(at));
            }
            return;
        }
        let is_due = bounds.time == Time::Independent || raft.deadline() <= member.clock;
        let requests = [
            (spent.heartbeats < bounds.heartbeats && is_due, Event::Heartbeat(at)),
            (spent.proposals < bounds.proposals, Event::Propose(at)),
            (spent.changes == 0 && bounds.change.is_some(), Event::Change(at)),
            (spent.reads < bounds.reads, Event::Read(at)),
            (spent.transfers < bounds.transfers, Event::Transfer(at)),
        ];
        events.extend(requests.into_iter().filter(|(is_left, _)| *is_left).map(|(_, event)| event));
    }

    /// Returns the state after an event, or `None` if that state is outside the bounds or the event has no effect.
    pub(crate) fn after(&self, bounds: &Bounds, event: Event) -> Result<Option<Self>, String> {
        let mut next = self.clone();
        next.spent.has_begun = true;
        let at = match event {
            Event::Lose(place) => {
                next.in_flight.remove(place);
                return Ok(Some(next));
            }
            Event::Timeout(at) | Event::Heartbeat(at) => {
                let is_heartbeat = matches!(event, Event::Heartbeat(_));
                next.spent.heartbeats += u8::from(is_heartbeat);
                let member = next.member(at);
                let Some(raft) = &mut member.raft else { return Ok(None) };
                // The clock advances by at least the base timeout, so the random part of the timeout makes no
                // difference.
                let least = if is_heartbeat || bounds.time != Time::Independent { Duration::ZERO } else { ELECTION };
                member.clock = (member.clock + least).max(raft.deadline());
                raft.tick(Now { monotonic: member.clock, wall_ms: member.wall_ms });
                at
            }
            Event::Persist(at) => next.persist(bounds, at)?,
            Event::Deliver(place) | Event::DeliverLate(place) | Event::DeliverTwice(place) => {
                if matches!(event, Event::DeliverTwice(_)) {
                    next.spent.duplicates += 1;
                }
                next.deliver(bounds, event, place)?
            }
            Event::Crash(at) => {
                next.spent.crashes += 1;
                next.member(at).crash(bounds);
                at
            }
            Event::PersistSnapshot(at)
            | Event::ReportSnapshot(at, ..)
            | Event::Forge(at)
            | Event::AnswerRead { at, .. }
            | Event::Verify { at, .. } => {
                next.inform(bounds, event);
                at
            }
            Event::AdvanceAll | Event::AdvanceOne(_) | Event::AdvanceOthers(_) | Event::Sleep(_) => {
                next.step_clocks(bounds, event)?;
                0
            }
            Event::Read(at) => {
                next.read(at)?;
                at
            }
            Event::Propose(at) | Event::Change(at) | Event::Transfer(at) => {
                if !next.request(bounds, at, event) {
                    return Ok(None);
                }
                at
            }
        };
        next.settle(bounds, at)?;
        next.read_begun = None;
        next.drop_stale_messages();
        let is_beyond_terms =
            next.members[at].raft.as_ref().is_some_and(|raft| raft.soft_state().term.0 as usize > bounds.terms);
        Ok((!is_beyond_terms).then_some(next))
    }

    /// Passes on what a driver learned: the end of a task, or a notice.
    fn inform(&mut self, bounds: &Bounds, event: Event) {
        match event {
            Event::PersistSnapshot(at) => self.snapshot_is_durable(bounds, at),
            Event::ReportSnapshot(at, place, arrived) => self.report(at, place, arrived),
            Event::AnswerRead { at, is_late } => self.answer_read(at, is_late),
            Event::Forge(at) => self.forge(at),
            Event::Verify { at, voter } => self.verify(at, voter),
            _ => {}
        }
    }

    fn request(&mut self, bounds: &Bounds, at: usize, event: Event) -> bool {
        let member = self.member(at);
        let now = member.now();
        let Some(raft) = member.raft.as_mut() else { return false };
        match event {
            Event::Propose(_) => {
                let content = Payload::Normal("x".into());
                let is_accepted = raft.propose(now, vec![(ProposalId(1), content)]).is_ok();
                self.spent.proposals += 1;
                is_accepted
            }
            Event::Change(_) => {
                let (voters, learners) = bounds.change.expect("the event is possible only with a change in the bounds");
                let expected = raft.configuration().1;
                let is_accepted = raft.change(now, change_to(expected, voters, learners)).is_ok();
                self.spent.changes += 1;
                is_accepted
            }
            Event::Transfer(_) => {
                let is_accepted = raft.transfer(now, None).is_ok();
                self.spent.transfers += 1;
                is_accepted
            }
            _ => false,
        }
    }

    fn read(&mut self, at: usize) -> Result<(), String> {
        self.spent.reads += 1;
        let context = ReadContext(u64::from(self.spent.reads));
        self.history.read_begins(context);
        self.read_begun = Some(context);
        let member = self.member(at);
        let now = member.now();
        let is_kept = member.lease_held_at == Some(now.monotonic);
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
        if self.read_begun == Some(context) {
            // The read was answered within the event that began the read, so no other member took part.
            self.coverage.by_lease += 1;
            let term = member.raft.as_ref().map(|raft| raft.soft_state().term);
            term.map_or(Ok(()), |term| self.history.holds_lease(member.id(), term))?;
        } else {
            self.coverage.by_round += 1;
        }
        self.history.read_ends(context, index)
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
                return Err(format!("{} writes {write:?}, which leaves a gap after its log", member.id()));
            }
            member.disk.execute(write);
        }
        if let (Some(raft), Some(io)) = (&mut member.raft, io) {
            raft.persisted(now, io);
        }
        self.check_disks(bounds, at)?;
        Ok(at)
    }

    /// Checks all disks after one has changed.
    fn check_disks(&self, bounds: &Bounds, at: usize) -> Result<(), String> {
        let members = self.all_members();
        let disk = &members[at].disk;
        members.iter().try_for_each(|other| self.history.logs_match(disk, &other.disk))?;
        if bounds.change.is_some() {
            return Ok(());
        }
        self.history.stays_durable(bounds.voters, &members)
    }

    /// Carries out all outputs of a core. If no crash can follow, also makes the pending writes durable.
    pub(crate) fn settle(&mut self, bounds: &Bounds, at: usize) -> Result<(), String> {
        self.drain(bounds, at)?;
        while self.spent.crashes >= bounds.crashes && !self.members[at].writes.is_empty() {
            // No crash can follow, so writes need not stay pending: late messages have the same effects as late writes.
            self.persist(bounds, at)?;
            self.drain(bounds, at)?;
        }
        Ok(())
    }

    fn all_members(&self) -> Vec<&Member> {
        self.members.iter().map(|member| &**member).collect()
    }

    /// Carries out the outputs of a core. Committed entries are applied immediately.
    fn drain(&mut self, bounds: &Bounds, at: usize) -> Result<(), String> {
        while let Some(output) = self.member(at).raft.as_mut().and_then(Raft::next_output) {
            self.carry_out(bounds, at, output)?;
        }
        if self.members[at].snapshots.received.is_some() {
            return Err("a snapshot arrived, but is neither installed nor discarded".into());
        }
        self.capture_if_due(bounds, at)?;
        self.stays_quiet(at)?;
        self.drop_reads(bounds, at);
        self.member(at).update_digest(bounds);
        if self.members[at].role() == Some(Role::Leader) {
            self.history.matches_are_true(&self.members[at], &self.all_members())?;
        }
        Ok(())
    }

    fn carry_out(&mut self, bounds: &Bounds, at: usize, output: Output) -> Result<(), String> {
        match output {
            Output::Persist(persist) => self.member(at).writes.push_back(Write::Log(persist)),
            Output::Send { to, message } => self.send(at, to, message)?,
            Output::Apply(entries) => self.apply(at, &entries)?,
            Output::Changed(state) if state.role == Role::Leader => self.history.leads(&self.members[at], state)?,
            Output::ReadReady { context, index } => {
                let is_lease = self.read_begun == Some(context);
                self.read_is_ready(at, context, index)?;
                let member = self.member(at);
                member.lease_held_at = (is_lease && bounds.flaw == Flaw::KeepsLease).then_some(member.clock);
            }
            Output::ReadFailed { context } => self.history.read_fails(context),
            Output::VerifyRemoval => self.verification_is_due(bounds, at),
            Output::Removed { .. } => self.is_removed(at)?,
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(at, to, term, at_least)?,
            Output::InstallSnapshot { io, from, hard_state, meta } => {
                self.install(bounds, at, (io, from), hard_state, &meta)?;
            }
            Output::DiscardSnapshot { .. } => self.member(at).snapshots.received = None,
            Output::SnapshotDue { .. } => self.member(at).snapshots.due = true,
            other => self.read_back(at, &other)?,
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self, at: usize, entries: &[Entry]) -> Result<(), String> {
        let members: Vec<&Member> = self.members.iter().map(|member| &**member).collect();
        self.history.applies(at, entries, &members)?;
        let member = self.member(at);
        for entry in entries {
            if entry.id.index != member.applied.next() {
                return Err(format!(
                    "{} must apply {}, but its applied index is {}",
                    member.id(),
                    entry.id,
                    member.applied
                ));
            }
            (member.applied, member.state) = (entry.id.index, member.state.after(entry));
        }
        let now = member.now();
        let (id, applied, state) = (member.id(), member.applied, member.state);
        if let Some(raft) = &mut member.raft {
            raft.applied(now, applied);
        }
        self.history.state_matches(id, applied, state)
    }

    fn send(&mut self, from: usize, to: MemberId, message: Message) -> Result<(), String> {
        if let Body::VoteReply { granted: true } = message.body {
            self.history.votes(id(from as u64 + 1), message.term, to)?;
        }
        self.post(from, to, message, None);
        Ok(())
    }

    /// Returns an event as text for a violation's path.
    pub(crate) fn describe(&self, event: Event) -> String {
        match event {
            Event::Deliver(place) | Event::DeliverLate(place) | Event::DeliverTwice(place) | Event::Lose(place) => {
                let Envelope { from, to, message, .. } = &*self.in_flight[place];
                let how = format!("{event:?}");
                let how = how.split('(').next().unwrap_or_default();
                format!("{how}: {} to {}, {message:?}", from + 1, to + 1)
            }
            Event::Timeout(at)
            | Event::Heartbeat(at)
            | Event::Persist(at)
            | Event::Crash(at)
            | Event::Propose(at)
            | Event::Change(at)
            | Event::Read(at)
            | Event::Transfer(at)
            | Event::PersistSnapshot(at)
            | Event::Forge(at)
            | Event::AdvanceOne(at)
            | Event::AdvanceOthers(at)
            | Event::Sleep(at) => {
                let what = format!("{event:?}");
                format!("{} at {}", what.split('(').next().unwrap_or_default(), at + 1)
            }
            Event::AdvanceAll | Event::AnswerRead { .. } | Event::Verify { .. } => format!("{event:?}"),
            Event::ReportSnapshot(at, place, arrived) => {
                let to = self.members[at].snapshots.lanes[place].to;
                format!("ReportSnapshot at {}: to {to}: {arrived:?}", at + 1)
            }
        }
    }
}
