//! Owns the state and dispatches inputs; decisions live in the rooms beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::ids::{EntryId, Index, IoId, MemberId, Now, ProposalId, ReadContext, Term};
use crate::membership::change::{Change, ChangeError};
use crate::membership::configuration::Configuration;
use crate::message::{Entry, HardState, Message, Payload, SnapshotMeta};
use crate::output::{Output, Role, SoftState};

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
#[derive(Debug)]
pub struct Raft {
    _config: Config,
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
    /// An impossible configuration; names the field.
    pub fn new(config: Config, restored: Restored, now: Now) -> Result<Self, ConfigError> {
        let _ = (restored, now);
        Ok(Self { _config: config })
    }

    // Inputs.

    /// A message arrived. Duplicated, late and reordered ones are fine.
    pub fn step(&mut self, now: Now, from: MemberId, message: Message) {
        let _ = (now, from, message);
    }

    /// Time passed; cheap when nothing is due. Call at [`Raft::deadline`] or later.
    pub fn tick(&mut self, now: Now) {
        let _ = now;
    }

    /// Proposes payloads, in order; a follower forwards them to its leader. Each later shows in [`Output::Apply`] (found
    /// by what it carries) or in [`Output::Dropped`], or its outcome stays unknown.
    ///
    /// # Errors
    /// None of them entered the log.
    pub fn propose(&mut self, now: Now, proposals: Vec<(ProposalId, Payload)>) -> Result<(), ProposeError> {
        let _ = (now, proposals);
        Err(ProposeError::NoLeader)
    }

    /// Changes membership (leader only). Succeeds with the index of the entry that carries it, or of the configuration
    /// in force when that already is what was asked for. The joint configuration, if one is needed, is left
    /// automatically (Raft thesis §4.3).
    ///
    /// # Errors
    /// Nothing entered the log.
    pub fn change(&mut self, now: Now, change: Change) -> Result<Index, ChangeError> {
        let _ = (now, change);
        Err(ChangeError::NotLeader { leader: None })
    }

    /// Hands leadership over (Raft thesis §3.10); `None`: to the voter with the longest log among those heard from.
    /// Proposals are refused until it happened or timed out.
    ///
    /// # Errors
    /// Nothing was started.
    pub fn transfer(&mut self, now: Now, target: Option<MemberId>) -> Result<MemberId, TransferError> {
        let _ = (now, target);
        Err(TransferError::NotLeader)
    }

    /// Asks for a linearizable read; answered by [`Output::ReadReady`] or [`Output::ReadFailed`]. A context is never
    /// reused by a member, not across restarts either.
    pub fn read(&mut self, now: Now, context: ReadContext) {
        let _ = (now, context);
    }

    // Acknowledgements.

    /// Everything up to and including `io` is durable.
    pub fn persisted(&mut self, now: Now, io: IoId) {
        let _ = (now, io);
    }

    /// Everything up to and including `index` is applied.
    pub fn applied(&mut self, now: Now, index: Index) {
        let _ = (now, index);
    }

    /// A snapshot of the state at `index` (as of [`Output::SnapshotDue`] or later) is durable. Purges the log behind it,
    /// but for a trailing rest; returns the first index that is kept, which the driver may purge its files up to.
    pub fn snapshot_taken(&mut self, index: Index) -> Index {
        index
    }

    /// The snapshot lane to `to` ended; `arrived`: the receiver acknowledged every byte.
    pub fn snapshot_sent(&mut self, now: Now, to: MemberId, arrived: Result<(), ()>) {
        let _ = (now, to, arrived);
    }

    /// The connection to `to` broke: what was in flight may be lost.
    pub fn unreachable(&mut self, to: MemberId) {
        let _ = to;
    }

    // The one output.

    /// What to do next, in order; `None` until the next input.
    pub fn next_output(&mut self) -> Option<Output> {
        None
    }

    // Queries.

    /// When [`Raft::tick`] has something to do, on the monotonic clock.
    pub fn deadline(&self) -> Duration {
        Duration::ZERO
    }

    /// Role, leader, term.
    pub fn soft_state(&self) -> SoftState {
        SoftState { role: Role::Follower, leader: None, term: Term(0) }
    }

    /// Commit index.
    pub fn commit(&self) -> Index {
        Index(0)
    }

    /// The log's last entry.
    pub fn last(&self) -> EntryId {
        EntryId::default()
    }

    /// The configuration in force and the index of its entry.
    pub fn configuration(&self) -> (&Configuration, Index) {
        unreachable!()
    }

    /// The latest committed configuration and the index of its entry.
    pub fn committed_configuration(&self) -> (&Configuration, Index) {
        unreachable!()
    }

    /// The meta of a snapshot of the state at `index`; `None` if `index` is not in the log, or not applied.
    pub fn snapshot_meta(&self, index: Index) -> Option<SnapshotMeta> {
        let _ = index;
        None
    }

    /// What the leader knows of everyone else; empty elsewhere.
    pub fn progress(&self) -> BTreeMap<MemberId, ProgressReport> {
        BTreeMap::new()
    }
}
