//! Owns the state and dispatches inputs; decisions live in the rooms beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::election::timeout::Timeout;
use crate::ids::{EntryId, Index, IoId, MemberId, Now, ProposalId, ReadContext, Term};
use crate::invariants::Watch;
use crate::log::Log;
use crate::log::tail::Unwritten;
use crate::membership::change::{Change, ChangeError};
use crate::membership::configuration::Configuration;
use crate::membership::history::History;
use crate::message::{Body, Entry, HardState, Message, Payload, SnapshotMeta};
use crate::outbox::Outbox;
use crate::output::{Output, Role, SoftState};
use crate::read::leader_lease::Clocks;
use crate::read::read_index::Forwarded;
use crate::replication::progress::{Progress, State};
use crate::replication::proposal::Seen;
use crate::role::Standing;

/// What a member's disk holds at its start.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Term and vote.
    pub hard_state: HardState,
    /// The newest snapshot. A member that never took one has the default meta with the configuration it was
    /// bootstrapped with (empty for one that is to be added to a running cluster).
    pub snapshot: SnapshotMeta,
    /// The log behind the snapshot (it may reach back before it); consecutive.
    pub entries: Vec<Entry>,
}

/// One member's consensus.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    /// As of the latest input; the monotonic part never goes back.
    pub(crate) now: Now,
    pub(crate) clocks: Clocks,
    /// Changed only through [`Raft::set_hard_state`].
    pub(crate) hard: HardState,
    /// The write that carries `hard`; `None`: the next one will.
    pub(crate) hard_io: Option<IoId>,
    pub(crate) log: Log,
    pub(crate) history: History,
    pub(crate) standing: Standing,
    /// Of this term.
    pub(crate) leader: Option<MemberId>,
    pub(crate) timeout: Timeout,
    /// Until then nobody but a leader's chosen successor gets a vote.
    pub(crate) trusts_until: Duration,
    pub(crate) outbox: Outbox,
    pub(crate) forwarded: Forwarded,
    /// This member's own proposals, as leader, whose fate is open: by the entry that carries them.
    pub(crate) proposed: BTreeMap<(Index, Term), ProposalId>,
    /// Who should lead rather than others.
    pub(crate) preferred: BTreeSet<MemberId>,
    /// Next hand-over to a preferred member, at the earliest, whoever leads meanwhile.
    pub(crate) preference_due: Duration,
    /// Proposals that other members handed over.
    pub(crate) seen: Seen,
    pub(crate) snapshot_asked: Index,
    /// Removed for good: takes part in nothing any more.
    pub(crate) removed: bool,
    pub(crate) watch: Watch,
    /// An input came since the last flush.
    pub(crate) unsettled: bool,
    pub(crate) shown: SoftState,
}

/// Why a proposal was refused at once. It did not enter the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Nobody leads, as far as this member knows.
    #[error("no leader")]
    NoLeader,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Too many bytes are proposed and not yet committed.
    #[error("too many proposals are not committed yet")]
    Overloaded,
    /// No-ops and configurations are the core's own entries.
    #[error("no-ops and configurations cannot be proposed")]
    Reserved,
}

/// Why leadership is not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Only a leader hands over.
    #[error("this member does not lead")]
    NotLeader,
    /// The target has no vote.
    #[error("{target} is not a voter")]
    NotVoter {
        /// Whom leadership was to go to.
        target: MemberId,
    },
    /// Another transfer is under way.
    #[error("leadership is already being handed over to {target}")]
    InFlight {
        /// To whom.
        target: MemberId,
    },
    /// No other voter was heard from lately.
    #[error("no other voter answered lately: there is nobody to hand over to")]
    NoTarget,
}

/// What a leader knows of a member (etcd-io/raft's Progress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressReport {
    /// Durable shared prefix.
    pub matched: Index,
    /// Next index to send.
    pub next: Index,
    /// Heard from within an election timeout.
    pub active: bool,
    /// Waits for a snapshot to arrive.
    pub snapshotting: bool,
}

impl Raft {
    /// A member as its disk left it; starts as follower (or learner).
    ///
    /// # Errors
    /// An impossible configuration, or a log with a gap; names the field.
    pub fn new(config: Config, restored: Restored, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        let Restored { hard_state, snapshot, entries } = restored;
        let mut history = History::new(snapshot.configuration_index, Arc::clone(&snapshot.configuration));
        let log = Log::restored(&snapshot, entries)?;
        for entry in log.kept() {
            history.appended(entry);
        }
        let mut raft = Self {
            timeout: Timeout::new(config.election_timeout, config.seed, now.monotonic),
            now,
            clocks: Clocks::new(now),
            hard: hard_state,
            hard_io: Some(IoId::default()),
            snapshot_asked: log.snapshot(),
            log,
            history,
            standing: Standing::Follower,
            leader: None,
            // A lease that this member's answers are part of may still run: a crash must not let it vote sooner.
            trusts_until: now.monotonic.saturating_add(config.election_timeout),
            outbox: Outbox::default(),
            forwarded: Forwarded::default(),
            proposed: BTreeMap::new(),
            preferred: BTreeSet::new(),
            preference_due: Duration::ZERO,
            seen: Seen::started_in(hard_state.term),
            removed: false,
            watch: Watch::default(),
            unsettled: true,
            shown: SoftState { role: Role::Follower, leader: None, term: hard_state.term },
            config,
        };
        raft.shown = raft.soft_state();
        if raft.was_quorum_alone() {
            // Nobody else could lead, so there is nobody to wait for.
            raft.timeout.expire(now.monotonic);
        }
        raft.check();
        Ok(raft)
    }

    // Inputs.

    /// A message arrived. Duplicated, late and reordered ones are fine; nonsense is ignored.
    pub fn step(&mut self, now: Now, from: MemberId, message: Message) {
        self.begin(now);
        let snapshot = match &message.body {
            Body::InstallSnapshot(meta) => Some(meta.last),
            _ => None,
        };
        if self.admits(from, &message) {
            self.dispatch(from, message);
        } else if let Some(last) = snapshot {
            self.outbox.push(Output::DiscardSnapshot { from, last });
        }
        self.check();
    }

    /// Time passed; cheap when nothing is due. Call at [`Raft::deadline`] or later.
    pub fn tick(&mut self, now: Now) {
        self.begin(now);
        self.expire_forwarded_reads();
        if self.is_leader() {
            self.tick_leader();
        } else if self.silence_ends_at() <= self.now.monotonic {
            self.on_silence();
        }
        self.check();
    }

    /// Proposes payloads, in order; a follower forwards them to its leader. Each later shows in [`Output::Apply`] (found
    /// by what it carries) or in [`Output::Dropped`], or its outcome stays unknown.
    ///
    /// # Errors
    /// None of them entered the log.
    pub fn propose(&mut self, now: Now, proposals: Vec<(ProposalId, Payload)>) -> Result<(), ProposeError> {
        self.begin(now);
        let outcome = self.start_proposals(proposals);
        self.check();
        outcome
    }

    /// Changes membership (leader only). Succeeds with the index of the entry that carries it, or of the configuration
    /// in force when that already is what was asked for, or leads there. The joint configuration, if one is needed, is left
    /// automatically (Raft thesis §4.3).
    ///
    /// # Errors
    /// Nothing entered the log.
    pub fn change(&mut self, now: Now, change: Change) -> Result<Index, ChangeError> {
        self.begin(now);
        let outcome = self.start_change(change);
        self.check();
        outcome
    }

    /// Hands leadership over (Raft thesis §3.10); `None`: to the voter with the longest log among those heard from.
    /// Proposals are refused until it happened or timed out. Asking for the transfer that is under way, or for one to the
    /// leader itself, changes nothing and succeeds.
    ///
    /// # Errors
    /// Nothing was started.
    pub fn transfer(&mut self, now: Now, target: Option<MemberId>) -> Result<MemberId, TransferError> {
        self.begin(now);
        let outcome = self.start_transfer(target);
        self.check();
        outcome
    }

    /// Names the members that should lead rather than others, such as those of one zone: they are a little quicker to campaign,
    /// and another leader hands over to one that keeps up (Raft thesis §3.10). A wish, not a rule: whoever else can win may
    /// lead meanwhile. To be told to every member, and again after a restart; nobody is preferred at first.
    pub fn prefer(&mut self, now: Now, members: BTreeSet<MemberId>) {
        self.begin(now);
        self.preferred = members;
        self.check();
    }

    /// Asks for a linearizable read; answered by [`Output::ReadReady`] or [`Output::ReadFailed`]. A context is never
    /// reused by a member, not across restarts either.
    pub fn read(&mut self, now: Now, context: ReadContext) {
        self.begin(now);
        self.start_read(context);
        self.check();
    }

    // Acknowledgements.

    /// Everything up to and including `io` is durable.
    pub fn persisted(&mut self, now: Now, io: IoId) {
        self.begin(now);
        self.log.tail.persisted(io);
        self.outbox.persisted(io, self.hard.term);
        self.count_own_vote();
        self.advance_commit();
        self.check();
    }

    /// Everything up to and including `index` is applied.
    pub fn applied(&mut self, now: Now, index: Index) {
        self.begin(now);
        self.log.applied_to(index);
        self.check();
    }

    /// A snapshot of the state at `index` (as of [`Output::SnapshotDue`] or later) is durable. Purges the log behind it,
    /// but for a trailing rest; returns the first index that is kept, which the driver may purge its files up to.
    pub fn snapshot_taken(&mut self, index: Index) -> Index {
        self.unsettled = true;
        let first = self.purge_behind_snapshot(index);
        self.check();
        first
    }

    /// The snapshot lane to `to` ended; `arrived`: the receiver acknowledged every byte.
    pub fn snapshot_sent(&mut self, now: Now, to: MemberId, arrived: Result<(), ()>) {
        self.begin(now);
        self.end_snapshot(to, arrived);
        self.check();
    }

    /// The connection to `to` broke: what was in flight may be lost.
    pub fn unreachable(&mut self, to: MemberId) {
        self.unsettled = true;
        if self.leader == Some(to) {
            self.fail_forwarded_reads();
        }
        if let Standing::Leader(leader) = &mut self.standing
            && let Some(progress) = leader.peers.get_mut(&to)
        {
            progress.lost();
        }
    }

    // The one output.

    /// What to do next, in order; `None` until the next input.
    pub fn next_output(&mut self) -> Option<Output> {
        if self.outbox.is_empty() && std::mem::take(&mut self.unsettled) {
            self.flush();
        }
        self.outbox.pop()
    }

    // Queries.

    /// When [`Raft::tick`] has something to do, on the monotonic clock; [`Duration::MAX`]: never, until another input.
    pub fn deadline(&self) -> Duration {
        let own = match &self.standing {
            Standing::Leader(leader) => self.leader_deadline(leader),
            _ => self.silence_ends_at(),
        };
        own.min(self.forwarded.deadline())
    }

    /// Role, leader, term.
    pub fn soft_state(&self) -> SoftState {
        let role = match &self.standing {
            Standing::Follower if self.may_campaign() => Role::Follower,
            Standing::Follower => Role::Learner,
            Standing::PreCandidate(_) => Role::PreCandidate,
            Standing::Candidate(_) => Role::Candidate,
            Standing::Leader(_) => Role::Leader,
        };
        SoftState { role, leader: self.leader, term: self.hard.term }
    }

    /// Commit index.
    pub fn commit(&self) -> Index {
        self.log.commit()
    }

    /// The log's last entry.
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// The configuration in force and the index of its entry.
    pub fn configuration(&self) -> (&Configuration, Index) {
        let (index, configuration) = self.history.latest();
        (configuration, *index)
    }

    /// The latest committed configuration and the index of its entry.
    pub fn committed_configuration(&self) -> (&Configuration, Index) {
        let (index, configuration) = self.history.at(self.log.commit());
        (configuration, *index)
    }

    /// The meta of a snapshot of the state at `index`; `None` if `index` is not in the log, not applied, or not durable: a
    /// committed entry may be applied before the own disk has it, but a snapshot must not be ahead of its log.
    pub fn snapshot_meta(&self, index: Index) -> Option<SnapshotMeta> {
        self.meta_at(index)
    }

    /// What the leader knows of everyone else; empty elsewhere.
    pub fn progress(&self) -> BTreeMap<MemberId, ProgressReport> {
        let Standing::Leader(leader) = &self.standing else { return BTreeMap::new() };
        let report = |progress: &Progress| ProgressReport {
            matched: progress.matched(),
            next: progress.next(),
            active: progress.is_active(self.now.monotonic, self.config.election_timeout),
            snapshotting: matches!(progress.state, State::Snapshot { .. }),
        };
        leader.peers.iter().map(|(id, progress)| (*id, report(progress))).collect()
    }

    // What the rooms share.

    /// Term or vote change; durable with the next write, which whoever promises anything waits for.
    pub(crate) fn set_hard_state(&mut self, hard: HardState) {
        assert!(hard.term >= self.hard.term, "the term never falls");
        assert!(hard.term > self.hard.term || self.hard.vote.is_none(), "one vote per term");
        self.hard = hard;
        self.hard_io = None;
    }

    /// The write that term and vote are in.
    pub(crate) fn hard_state_io(&self) -> IoId {
        self.hard_io.unwrap_or(self.outbox.next_io())
    }

    /// Term and vote for the write `io`, if none carries them yet.
    pub(crate) fn hard_state_to_write(&mut self, io: IoId) -> Option<HardState> {
        if self.hard_io.is_some() {
            return None;
        }
        self.hard_io = Some(io);
        Some(self.hard)
    }

    /// The write that the log up to `index` is in.
    pub(crate) fn write_of(&self, index: Index) -> IoId {
        match self.log.tail.write_of(index) {
            Ok(write) => write.unwrap_or_default(),
            Err(Unwritten) => self.outbox.next_io(),
        }
    }

    fn begin(&mut self, now: Now) {
        let monotonic = self.now.monotonic.max(now.monotonic);
        self.now = Now { monotonic, wall_ms: now.wall_ms };
        if self.config.lease_reads {
            self.clocks.compare(self.now, self.config.clock_drift, self.config.leader_lease);
        }
        self.unsettled = true;
    }

    /// When a follower or candidate gives up waiting; a member that may not campaign only forgets its leader.
    fn silence_ends_at(&self) -> Duration {
        let waits = !self.removed && (self.leader.is_some() || self.may_campaign());
        if waits { self.timeout.due() } else { Duration::MAX }
    }
}
