//! The core's thread: takes what happened, tells the core, carries out what it answers. Owns the core and everything that
//! belongs to it alone; nothing reacts outside this loop. Outputs are carried out in `perform`, what the doors asked is
//! followed in `control`.

use std::sync::Arc;
use std::time::Duration;

use raft::{Index, MemberId, Message, Now, ProposalId, ProposeRefusal as RaftRefusal, Raft, Role};

use super::calls::Controls;
use super::report::{Known, Reporter};
use super::snapshotting::Snapshotting;
use crate::apply::ApplyQueue;
use crate::clock::Clock;
use crate::error::{ProposeError, ReadError};
use crate::event::Event;
use crate::inbox::Wants;
use crate::log_thread::LogJob;
use crate::mailbox::Mailbox;
use crate::propose::batch::Batcher;
use crate::propose::pending::{Batch, Pending};
use crate::published::Published;
use crate::read::barrier::{Barrier, Rounds};
use crate::reply::Replies;
use crate::shared::Shared;
use crate::transport::Transport;

/// A refused proposal or read is tried again after so long, if nothing changes before.
pub(super) const RETRY: Duration = Duration::from_millis(50);

/// What the driver is built from.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) log: Arc<Mailbox<LogJob>>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) peers: Box<dyn Transport>,
    pub(crate) batcher: Batcher,
    pub(crate) rounds: Rounds,
    pub(crate) snapshotting: Snapshotting,
    pub(crate) reporter: Reporter,
    pub(crate) election_timeout: Duration,
    /// Names of members that should lead rather than others.
    pub(crate) prefer_leaders: Vec<String>,
    /// Random: proposal names are never reused, not by an earlier start either.
    pub(crate) first_proposal: u64,
}

/// Why the core's thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// The member was removed by the configuration committed at this index; its tombstone is on its way to the disk.
    Removed(Index),
}

/// The core's thread: [`Driver::run`] on a thread of its own, or [`Driver::step`] by step.
pub struct Driver {
    pub(super) raft: Raft,
    pub(super) shared: Arc<Shared>,
    pub(super) pending: Arc<Pending>,
    pub(super) barrier: Arc<Barrier>,
    pub(super) log: Arc<Mailbox<LogJob>>,
    pub(super) apply: Arc<ApplyQueue>,
    pub(super) peers: Box<dyn Transport>,
    pub(super) batcher: Batcher,
    pub(super) rounds: Rounds,
    pub(super) snapshotting: Snapshotting,
    pub(super) reporter: Reporter,
    pub(super) known: Known,
    pub(super) controls: Controls,
    pub(super) replies: Replies,
    /// The newest view that the core was told of; never ahead of what the core takes for applied.
    pub(super) published: Arc<Published>,
    /// Collected during one step, to leave together.
    pub(super) log_jobs: Vec<LogJob>,
    pub(super) sends: Vec<(MemberId, Message)>,
    pub(super) ended: Option<Ended>,
    /// Whom the core last named as leader.
    pub(super) leader: Option<MemberId>,
    /// The last entry that went to the apply thread.
    pub(super) handed: Index,
    next_proposal: u64,
    pub(super) election_timeout: Duration,
    prefer_leaders: Vec<String>,
    next_expiry: Duration,
    /// Taken from the inbox; empty between two turns.
    events: Vec<Event>,
}

impl Driver {
    /// Ready to run.
    pub(crate) fn new(parts: Parts) -> Self {
        let replies = Replies::new(&parts.shared.lanes);
        let published = parts.shared.published.load_full();
        let handed = published.applied;
        Self {
            raft: parts.raft,
            shared: parts.shared,
            pending: parts.pending,
            barrier: parts.barrier,
            log: parts.log,
            apply: parts.apply,
            peers: parts.peers,
            batcher: parts.batcher,
            rounds: parts.rounds,
            snapshotting: parts.snapshotting,
            reporter: parts.reporter,
            known: Known::default(),
            controls: Controls::default(),
            replies,
            published,
            log_jobs: Vec::new(),
            sends: Vec::new(),
            ended: None,
            leader: None,
            handed,
            next_proposal: parts.first_proposal,
            election_timeout: parts.election_timeout,
            prefer_leaders: parts.prefer_leaders,
            next_expiry: Duration::ZERO,
            events: Vec::new(),
        }
    }

    /// Runs by `clock` until stopped or removed.
    pub fn run(mut self, clock: Clock) -> Ended {
        loop {
            // The first turn has no events, but what the disk held may already require outputs.
            if let Some(ended) = self.turn(clock.now()) {
                return ended;
            }
            let (deadline, wants) = (clock.instant(self.deadline()), self.wants());
            self.shared.inbox.next_before(deadline, wants, &mut self.events);
        }
    }

    /// Does without waiting what [`Driver::run`] does between two waits: takes all events, reacts, and carries out all outputs.
    /// Returns why the driver ended, if it did; it must not be stepped again then.
    pub fn step(&mut self, now: Now) -> Option<Ended> {
        self.shared.inbox.take_now(&mut self.events);
        self.turn(now)
    }

    /// Whether [`Driver::run`] would wake, were its clock at `now`.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.deadline() || !self.shared.inbox.is_idle(self.wants())
    }

    /// The core, to look at.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Reacts to the events that were taken, and does everything that follows.
    fn turn(&mut self, now: Now) -> Option<Ended> {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.hear(now, event);
        }
        // Keeps the allocation.
        self.events = events;
        self.settle(now);
        if self.ended.is_some() {
            self.finish();
        }
        self.ended
    }

    fn hear(&mut self, now: Now, event: Event) {
        match event {
            Event::Persisted(io) => self.raft.persisted(now, io),
            Event::Applied(published) => {
                self.raft.applied(now, published.applied);
                if published.term > self.published.term {
                    for batch in self.pending.outdated(published.term) {
                        self.batcher.give_back(batch, now.monotonic);
                    }
                }
                self.published = published;
            }
            Event::Messages(messages) => {
                for (from, message) in messages {
                    self.raft.step(now, from, message);
                }
            }
            Event::Unreachable(members) => {
                for member in members {
                    self.raft.unreachable(member);
                    if self.raft.soft_state().leader == Some(member) {
                        // What was forwarded to it may be lost.
                        self.pending.stop_counting();
                    }
                }
            }
            Event::SnapshotSent { to, number, arrived } => self.snapshot_sent(now, to, number, arrived),
            Event::SnapshotWritten(outcome) => self.snapshot_written(now, outcome),
            Event::Reads(waiters) => self.rounds.arrive(now.monotonic, waiters),
            Event::Proposals(proposals) => self.batcher.arrive(now.monotonic, proposals),
            Event::Control(control) => self.control(now, control),
            Event::Deadline => {}
            Event::Stop => self.ended = Some(Ended::Stopped),
        }
    }

    /// Everything that follows from what was heard.
    fn settle(&mut self, now: Now) {
        if now.monotonic >= self.raft.deadline() {
            self.raft.tick(now);
        }
        self.expire(now.monotonic);
        self.perform_outputs(now);
        // New work after old: outputs may have made room, or told of another leader.
        self.propose(now);
        self.begin_reads(now);
        self.snapshot_if_due(now);
        self.perform_outputs(now);
        self.follow_controls(now);
        if self.known.refresh(&self.raft) {
            self.peers.configure(Arc::clone(&self.known.in_force.0));
            self.prefer(now);
        }
        self.flush();
        self.reporter.report(now.monotonic, &self.raft, &self.known, &self.published, &self.shared);
    }

    /// Members are preferred by name; who that is, the configuration knows.
    fn prefer(&mut self, now: Now) {
        if self.prefer_leaders.is_empty() {
            return;
        }
        let members = self.known.in_force.0.members.iter();
        let preferred = members.filter(|(_, info)| self.prefer_leaders.contains(&info.name)).map(|(id, _)| *id);
        self.raft.prefer(now, preferred.collect());
    }

    fn propose(&mut self, now: Now) {
        while let Some(batch) = self.batcher.next(now.monotonic, self.pending.in_flight()) {
            let name = ProposalId(self.next_proposal);
            self.next_proposal = self.next_proposal.wrapping_add(1);
            let payload = raft::Payload::Normal(batch.payload.clone());
            // Before the core hears of it: on a single member the apply thread may be quicker than this one.
            let commands = batch.waiters.len();
            self.pending.insert(now.monotonic, name, self.raft.soft_state().term, batch);
            if let Err(refusal) = self.raft.propose(now, vec![(name, payload)]) {
                if !matches!(refusal, RaftRefusal::NoLeader | RaftRefusal::Transferring) {
                    tracing::debug!(%refusal, "proposals wait");
                }
                if let Some(batch) = self.pending.take_named(name) {
                    self.batcher.give_back(batch, now.monotonic + RETRY);
                }
            } else {
                self.shared.observer.entry_built(commands);
            }
        }
    }

    fn begin_reads(&mut self, now: Now) {
        while let Some(context) = self.rounds.begin(now.monotonic) {
            self.raft.read(now, context);
        }
    }

    fn expire(&mut self, now: Duration) {
        if now < self.next_expiry {
            return;
        }
        self.next_expiry = now + RETRY;
        let knows_leader = self.raft.soft_state().leader.is_some();
        self.pending.stop_counting_after(now, self.election_timeout);
        let expired = self.pending.expired(now);
        self.answer(expired, ProposeError::TimedOut);
        let unproposed = if knows_leader { ProposeError::Overloaded } else { ProposeError::NoLeader };
        self.batcher.expire(now, unproposed, &mut self.replies, &self.shared.admission);
        let unread = if knows_leader { ReadError::TimedOut } else { ReadError::NoLeader };
        self.rounds.expire(now, unread, &mut self.replies);
        self.barrier.expire(now, &mut self.replies);
    }

    /// When something is to be done though nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        // While anybody waits for anything, it is looked now and then whether for too long.
        let expiry = (!self.is_idle()).then_some(self.next_expiry);
        [
            expiry,
            self.batcher.retry_at(),
            self.rounds.retry_at(),
            self.controls.deadline(),
            self.snapshotting.deadline(),
            self.reporter.deadline(),
        ]
        .into_iter()
        .flatten()
        .fold(self.raft.deadline(), Duration::min)
    }

    fn is_idle(&self) -> bool {
        self.shared.admission.requests() == 0 && self.rounds.is_idle() && self.barrier.is_empty()
    }

    fn wants(&self) -> Wants {
        let proposals = self.batcher.wants_more(self.pending.in_flight());
        Wants {
            proposals,
            reads: self.rounds.wants_more(),
            // It makes room for commands, settles what became of old ones, lets a snapshot begin, or lets the core hand out
            // more; else there is no hurry.
            applied: !proposals
                || !self.batcher.is_idle()
                || self.pending.is_in_doubt()
                || self.snapshotting.is_wanted()
                || self.raft.commit() > self.handed,
        }
    }

    /// Lets go of everything that was collected, in the order that safety asks for: the core has withheld what must wait
    /// for the disk, so messages may leave before the write has begun (Raft thesis §10.2.1).
    fn flush(&mut self) {
        self.peers.send(&mut self.sends);
        self.log.append(&mut self.log_jobs);
        self.replies.flush(&self.shared.lanes);
    }

    fn finish(&mut self) {
        if let Some(Ended::Removed(index)) = self.ended {
            // Behind everything that the core asked for in its last turn: nothing is written to a removed member's disk.
            self.log_jobs.push(LogJob::Tombstone { index });
        }
        self.flush();
        let unfinished = self.pending.take_all();
        self.answer(unfinished, ProposeError::Stopping);
        self.batcher.abandon(&mut self.replies, &self.shared.admission);
        self.rounds.abandon(&mut self.replies);
        self.barrier.abandon(&mut self.replies);
        self.replies.flush(&self.shared.lanes);
        self.shared.inbox.close();
    }

    /// Gives batches up.
    pub(super) fn answer(&mut self, batches: Vec<Batch>, reason: ProposeError) {
        for batch in batches {
            self.shared.admission.release(batch.waiters.len(), batch.bytes);
            for waiter in batch.waiters {
                self.replies.proposed(waiter, Err(reason));
            }
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.soft_state().role == Role::Leader
    }
}
