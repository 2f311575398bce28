//! The queries that a driver may make at any time. Owns the reported types. Changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::configuration::Configuration;
use crate::ids::{EntryId, Index, MemberId};
use crate::message::SnapshotMeta;
use crate::output::{Role, SoftState};
use crate::raft::Raft;
use crate::standing::Standing;
use crate::state::progress::PeerProgress;
use crate::state::role::RoleState;

/// What a leader knows about another member (etcd-io/raft's Progress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressReport {
    /// Last index of the durable log prefix that the member is known to share with the leader.
    pub matched: Index,
    /// Next index to send.
    pub next: Index,
    /// Whether the member answered within an election timeout.
    pub active: bool,
    /// Whether the member needs a snapshot or has yet to install one.
    pub snapshotting: bool,
}

impl Raft {
    /// Time on the monotonic clock at which [`Raft::tick`] must be called; [`Duration::MAX`] if time alone changes
    /// nothing.
    pub fn deadline(&self) -> Duration {
        let own = match &self.role {
            RoleState::Leader(leader) => self.leader_deadline(leader),
            _ => self.silence_ends_at(),
        };
        own.min(self.forwarded.deadline())
    }

    /// Returns role, leader and term.
    pub fn soft_state(&self) -> SoftState {
        let role = match &self.role {
            RoleState::Follower if self.has_vote() => Role::Follower,
            RoleState::Follower => Role::Learner,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        };
        SoftState { role, leader: self.leader.id(), term: self.hard.term() }
    }

    /// Returns the commit index.
    pub fn commit(&self) -> Index {
        self.log.commit()
    }

    /// Returns the ID of the last entry of the log.
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// Returns the number of payload bytes of the entries after `index`. For entries that are not in memory this is an estimate.
    pub fn payload_bytes_after(&self, index: Index) -> u64 {
        self.log.payload_bytes_after(index)
    }

    /// Returns the configuration in force, and the index of its entry.
    pub fn configuration(&self) -> (&Configuration, Index) {
        let (index, configuration) = self.history.latest();
        (configuration, *index)
    }

    /// Returns the latest committed configuration, and the index of its entry.
    pub fn committed_configuration(&self) -> (&Configuration, Index) {
        let (index, configuration) = self.history.at(self.log.commit());
        (configuration, *index)
    }

    /// Returns the description of a snapshot of the state at `index`. The caller passes the time stamp of that entry,
    /// because the entry may no longer be in memory. Returns `None` if the entry is purged, not applied or not durable.
    /// An entry may be applied before this member's disk holds it, but a snapshot must not be ahead of the log on disk.
    pub fn snapshot_meta(&self, index: Index, time_ms: u64) -> Option<SnapshotMeta> {
        self.meta_at(index, time_ms)
    }

    /// Returns the best standing that a quorum of voters has, this leader included; `None` if this member does not lead. A
    /// leader refuses what this standing leaves no space for.
    pub fn quorum_standing(&self) -> Option<Standing> {
        self.standing_of_quorum()
    }

    /// Returns the bytes of entries in memory ([`crate::Entry::weight`]).
    pub fn log_bytes(&self) -> u64 {
        self.log.held_bytes()
    }

    /// Returns the leader's knowledge of every other member; empty if this member does not lead.
    pub fn progress(&self) -> BTreeMap<MemberId, ProgressReport> {
        let RoleState::Leader(leader) = &self.role else { return BTreeMap::new() };
        let report = |progress: &PeerProgress| ProgressReport {
            matched: progress.matched(),
            next: progress.next(),
            active: progress.is_active(self.clocks.monotonic(), self.config.election_timeout),
            snapshotting: progress.needs_snapshot(),
        };
        leader.peers().iter().map(|(id, progress)| (*id, report(progress))).collect()
    }
}
