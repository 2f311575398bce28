//! Owns the core and the loop of the core's thread: it takes events, feeds them to the core, and executes the core's outputs. All
//! reactions to events happen in this loop. Does not own the execution of outputs (`outputs.rs`) or of administrative calls
//! (`control.rs`).

use std::sync::Arc;
use std::time::Duration;

use mvcc::FeatureLevel;
use raft::{Index, MemberId, Message, Now, ProposalId, ProposeRefusal as RaftRefusal, Raft, Role};

use super::calls::PendingCalls;
use super::report::{KnownConfigurations, Reporter};
use super::snapshot_schedule::SnapshotSchedule;
use super::space_watch::SpaceWatch;
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

/// Delay before a refused proposal or read is retried, unless the role, leader or term changes earlier.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Parts of the driver.
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
    pub(crate) snapshots: SnapshotSchedule,
    pub(crate) reporter: Reporter,
    pub(crate) election_timeout: Duration,
    /// Names of the preferred leaders.
    pub(crate) prefer_leaders: Vec<String>,
    /// ID of the first proposal. It is random so that IDs are not reused after a restart.
    pub(crate) first_proposal: u64,
}

/// Why the core's thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The member was stopped.
    Stopped,
    /// The configuration committed at this index removed the member. The member's tombstone is queued for the log thread.
    Removed(Index),
}

/// The core's thread. Runs in [`Driver::run`] on a thread of its own, or step by step in [`Driver::step`].
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
    pub(super) snapshots: SnapshotSchedule,
    pub(super) space: SpaceWatch,
    pub(super) reporter: Reporter,
    pub(super) configurations: KnownConfigurations,
    pub(super) controls: PendingCalls,
    pub(super) replies: Replies,
    /// The newest view reported to the core. The view's index never exceeds the core's applied index.
    pub(super) published: Arc<Published>,
    /// The feature level in whose formats the log and new entries are written.
    pub(super) level: FeatureLevel,
    /// Log jobs collected during one turn, to be queued together.
    pub(super) log_jobs: Vec<LogJob>,
    /// Messages collected during one turn, to be sent together.
    pub(super) sends: Vec<(MemberId, Message)>,
    /// Proposals of this turn that the transport did not take.
    unsent: Vec<ProposalId>,
    pub(super) ended: Option<Ended>,
    /// The leader that the core last reported.
    pub(super) leader: Option<MemberId>,
    /// Index of the last entry sent to the apply thread.
    pub(super) sent_to_apply: Index,
    pub(super) next_proposal: u64,
    pub(super) election_timeout: Duration,
    prefer_leaders: Vec<String>,
    next_expiry: Duration,
    /// Events taken from the inbox. Empty between two turns.
    events: Vec<Event>,
}

impl Driver {
    /// Creates a driver that is ready to run.
    pub(crate) fn new(parts: Parts) -> Self {
        let replies = Replies::new(&parts.shared.lanes);
        let published = parts.shared.published.load_full();
        let sent_to_apply = published.applied;
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
            snapshots: parts.snapshots,
            space: SpaceWatch::default(),
            reporter: parts.reporter,
            configurations: KnownConfigurations::default(),
            controls: PendingCalls::default(),
            replies,
            published,
            level: FeatureLevel::FIRST,
            log_jobs: Vec::new(),
            sends: Vec::new(),
            unsent: Vec::new(),
            ended: None,
            leader: None,
            sent_to_apply,
            next_proposal: parts.first_proposal,
            election_timeout: parts.election_timeout,
            prefer_leaders: parts.prefer_leaders,
            next_expiry: Duration::ZERO,
            events: Vec::new(),
        }
    }

    /// Runs the driver with the time of `clock` until the member is stopped or removed.
    pub fn run(mut self, clock: Clock) -> Ended {
        loop {
            // The first turn has no events, but the recovered state may already require outputs.
            if let Some(ended) = self.turn(clock.now()) {
                return ended;
            }
            let (deadline, wants) = (clock.instant(self.deadline()), self.wants());
            self.shared.inbox.next_before(deadline, wants, &mut self.events);
        }
    }

    /// Executes one round of [`Driver::run`] without waiting: takes all events, reacts to them, and executes all outputs. Returns
    /// why the driver ended, or `None` if it has not ended. A driver that has ended must not be stepped again.
    pub fn step(&mut self, now: Now) -> Option<Ended> {
        self.shared.inbox.take_now(&mut self.events);
        self.turn(now)
    }

    /// Returns whether [`Driver::run`] would wake if its clock showed `now`.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.deadline() || !self.shared.inbox.is_idle(self.wants())
    }

    /// The core, for inspection.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Reacts to the events that were taken from the inbox, and executes all outputs.
    fn turn(&mut self, now: Now) -> Option<Ended> {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.react(now, event);
        }
        // The empty list is put back so that its allocation is reused.
        self.events = events;
        self.advance(now);
        if self.ended.is_some() {
            self.finish();
        }
        self.ended
    }

    fn react(&mut self, now: Now, event: Event) {
        match event {
            Event::Persisted(io) => self.raft.persisted(now, io),
            Event::Applied(published) => {
                self.raft.applied(now, published.applied);
                if published.term > self.published.term {
                    for batch in self.pending.take_outdated(published.term) {
                        self.batcher.requeue(batch, now.monotonic);
                    }
                }
                self.published = published;
            }
            Event::Messages(messages) => {
                for (from, message) in messages {
                    self.raft.step(now, from, message);
                }
            }
            Event::NotSent(proposals) => {
                proposals.into_iter().for_each(|proposal| self.not_sent(now.monotonic, proposal));
            }
            Event::Unreachable(members) => {
                for member in members {
                    self.raft.unreachable(member);
                    if self.raft.soft_state().leader == Some(member) {
                        // The unreachable member is the leader. Proposals that were forwarded to it may be lost, so new
                        // proposals must not wait for them.
                        self.pending.stop_counting();
                    }
                }
            }
            Event::SnapshotSent { to, number, arrived } => self.snapshot_sent(now, to, number, arrived),
            Event::LogRead { to, from, read } => {
                if read.is_err() {
                    self.snapshots.unreadable(from);
                }
                self.raft.log_read(now, to, from, read);
            }
            Event::SnapshotWritten(outcome) => self.snapshot_written(now, outcome),
            Event::SnapshotUnreadable(index) => self.snapshots.lost(index),
            Event::Space(measured) => self.space_measured(now, measured),
            Event::RemovalVerified(verdict) => self.raft.removal_verified(now, verdict),
            Event::Reads(waiters) => self.rounds.add(now.monotonic, waiters),
            Event::Proposals(proposals) => self.batcher.add(now.monotonic, proposals),
            Event::Control(control) => self.control(now, control),
            Event::Deadline => {}
            Event::Stop => self.ended = Some(Ended::Stopped),
        }
    }

    /// Runs the second half of a turn: ticks the core if its deadline has passed, answers expired requests, executes all outputs,
    /// begins new work and reports the status.
    fn advance(&mut self, now: Now) {
        if now.monotonic >= self.raft.deadline() {
            self.raft.tick(now);
        }
        self.expire(now.monotonic);
        self.execute_outputs(now);
        // New work begins after the outputs, because an output may end earlier work or report another leader.
        self.propose(now);
        self.begin_reads(now);
        self.snapshot_if_due(now);
        self.execute_outputs(now);
        self.answer_controls(now);
        self.follow_level(now);
        self.measure_if_due(now.monotonic);
        if self.configurations.refresh(&self.raft) {
            self.peers.configure(Arc::clone(&self.configurations.in_force.0));
            self.prefer(now);
        }
        self.flush();
        for proposal in std::mem::take(&mut self.unsent) {
            self.not_sent(now.monotonic, proposal);
        }
        let space = self.space();
        self.reporter.report(now.monotonic, &self.raft, &self.configurations, &self.published, space, &self.shared);
    }

    /// Passes the IDs of the preferred leaders to the core. The settings give names, and the configuration maps names to member
    /// IDs.
    fn prefer(&mut self, now: Now) {
        if self.prefer_leaders.is_empty() {
            return;
        }
        let members = self.configurations.in_force.0.members.iter();
        let preferred = members.filter(|(_, info)| self.prefer_leaders.contains(&info.name)).map(|(id, _)| *id);
        self.raft.prefer(now, preferred.collect());
    }

    fn propose(&mut self, now: Now) {
        while let Some(batch) = self.batcher.next(now.monotonic, self.pending.in_flight()) {
            let name = ProposalId(self.next_proposal);
            self.next_proposal = self.next_proposal.wrapping_add(1);
            let payload = raft::Payload::Normal(batch.payload.clone());
            // The batch is added to `pending` before the core gets the proposal, because in a cluster of one member the
            // apply thread may apply the entry before `propose` returns.
            let commands = batch.waiters.len();
            self.pending.insert(now.monotonic, name, self.raft.soft_state().term, batch);
            if let Err(refusal) = self.raft.propose(now, vec![(name, payload)]) {
                if refusal == RaftRefusal::NoSpace {
                    let refused = self.pending.take_proposal(name);
                    refused.into_iter().for_each(|batch| self.refuse_for_space(now.monotonic, batch));
                    continue;
                }
                if !matches!(refusal, RaftRefusal::NoLeader | RaftRefusal::Transferring) {
                    tracing::debug!(%refusal, "a proposal was refused and will be retried");
                }
                if let Some(batch) = self.pending.take_proposal(name) {
                    self.batcher.requeue(batch, now.monotonic + RETRY_DELAY);
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
        self.next_expiry = now + RETRY_DELAY;
        let knows_leader = self.raft.soft_state().leader.is_some();
        self.pending.stop_counting_after(now, self.election_timeout);
        let expired = self.pending.take_expired(now);
        self.answer(expired, ProposeError::TimedOut);
        let unproposed = if knows_leader { ProposeError::Overloaded } else { ProposeError::NoLeader };
        self.batcher.expire(now, unproposed, &mut self.replies, &self.shared.admission);
        let unread = if knows_leader { ReadError::TimedOut } else { ReadError::NoLeader };
        self.rounds.expire(now, unread, &mut self.replies);
        self.barrier.expire(now, &mut self.replies);
    }

    /// Time at which the driver must act even if no event arrives.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        // While requests are pending, the driver wakes periodically to answer the requests whose deadline has passed.
        let expiry = (!self.is_idle()).then_some(self.next_expiry);
        [
            expiry,
            self.batcher.retry_at(),
            self.rounds.retry_at(),
            self.controls.deadline(),
            self.snapshots.deadline(),
            self.space.deadline(),
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
            // A new applied index wakes the core if the core may then propose commands, settle commands whose outcome
            // is uncertain, begin a snapshot, answer a raise of the level, or release more entries. Otherwise the
            // report of the new index waits for the next event.
            applied: !proposals
                || !self.batcher.is_idle()
                || self.pending.has_uncounted()
                || self.snapshots.is_wanted()
                || self.controls.raise.is_some()
                || self.raft.commit() > self.sent_to_apply,
        }
    }

    /// Sends the messages and answers of this turn and queues its log jobs. The messages may leave before the write begins,
    /// because the core withholds messages that must wait for the disk (Raft thesis §10.2.1).
    fn flush(&mut self) {
        self.peers.send(&mut self.sends, &mut self.unsent);
        self.log.append(&mut self.log_jobs);
        self.replies.flush(&self.shared.lanes);
    }

    fn finish(&mut self) {
        if let Some(Ended::Removed(index)) = self.ended {
            // The tombstone comes after all writes of the core's last turn, because nothing can be written to the disk of a
            // removed member.
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

    /// Answers all commands of `batches` with the error `reason`.
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
