//! Members' reports: about themselves, the configuration, a restore. Owns the plain types. Does not own how they travel (the
//! shell's `member/convert.rs`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use crate::ids::{ClusterId, MemberId};
use crate::names;
use crate::observed::failure::FailureCause;

/// Answer to the call that asks a member to describe itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It answered.
    Report(Box<Report>),
    /// It did not answer, or has no pod to call.
    Silent {
        /// Time of the first call without an answer since this operator started.
        since: Timestamp,
        /// Explanation for people.
        error: String,
    },
}

/// A member's description of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its ID; `None` if it belongs to another cluster, as it does not report its ID then.
    pub id: Option<MemberId>,
    /// Its phase.
    pub phase: MemberPhase,
    /// Its cluster; `None` while blank.
    pub cluster: Option<ClusterId>,
    /// Its role in Raft.
    pub role: RaftRole,
    /// The leader, as far as it knows.
    pub leader: Option<MemberId>,
    /// Its term.
    pub term: u64,
    /// Its commit index.
    pub commit: u64,
    /// Last index of its log.
    pub last: u64,
    /// The configuration in force on this member; neither linearizable nor necessarily committed.
    pub configuration: Option<Configuration>,
    /// Leader only: replication progress of the other members.
    pub progress: BTreeMap<MemberId, Progress>,
    /// Version of its program.
    pub version: String,
    /// Why a restore failed, or what damage was found.
    pub error: Option<String>,
    /// Progress of a restore.
    pub restore: Option<RestoreProgress>,
}

/// MemberPhase of a member's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberPhase {
    /// Empty volume: an ID, no cluster.
    Blank,
    /// A restore fills the volume.
    Restoring,
    /// Part of a cluster, or waiting for one to add it.
    Member,
    /// Removed by a committed configuration.
    Removed,
    /// Its disk holds damage that a restart does not repair.
    Damaged,
}

/// RaftRole of a member in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftRole {
    /// Not reported.
    Unknown,
    /// Votes and follows.
    Follower,
    /// Follows without a vote.
    Learner,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads: orders all writes.
    Leader,
    /// Transfers leadership if it leads, and stops.
    ShuttingDown,
}

impl Report {
    /// Whether it reports that it leads. While it shuts down it may still lead for a moment.
    #[must_use]
    pub fn reports_to_lead(&self) -> bool {
        self.role == RaftRole::Leader
            || (self.role == RaftRole::ShuttingDown && self.id.is_some() && self.leader == self.id)
    }
}

/// A leader's knowledge of another member's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Highest index known to be on its disk.
    pub matched: u64,
    /// Whether it answered within an election timeout.
    pub active: bool,
    /// Whether it waits for a snapshot.
    pub snapshotting: bool,
}

/// Progress of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Bytes on the volume.
    pub bytes_done: u64,
    /// Bytes of the backup; 0 while unknown.
    pub bytes_total: u64,
    /// Why it stopped; `None` while it runs.
    pub cause: Option<FailureCause>,
}

/// Name and addresses of a member, as replicated with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Such as `demo-1`.
    pub name: String,
    /// URL at which members reach it.
    pub peer_url: String,
    /// URL at which clients reach it.
    pub client_url: String,
}

/// A configuration of the cluster: its voters and learners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Index of its log entry. Changes are compare-and-swapped on it.
    pub index: u64,
    /// The voters; while joint, the incoming half.
    pub voters: BTreeSet<MemberId>,
    /// The outgoing half while joint; empty otherwise.
    pub outgoing: BTreeSet<MemberId>,
    /// Members that follow without a vote.
    pub learners: BTreeSet<MemberId>,
    /// Voters of the outgoing half that become learners.
    pub learners_next: BTreeSet<MemberId>,
    /// Name and addresses of everyone.
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// IDs of former members, which never return.
    pub removed: BTreeSet<MemberId>,
}

impl Configuration {
    /// Whether both halves must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty() || !self.learners_next.is_empty()
    }

    /// Whether `id` has a vote in either half.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// The role by which Services and the disruption budget select the pod of `id`.
    #[must_use]
    pub fn role(&self, id: MemberId) -> names::Role {
        if self.is_voter(id) { names::Role::Voter } else { names::Role::Learner }
    }

    /// Whether `id` takes part in any way.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }

    /// Everyone who takes part in any way.
    #[must_use]
    pub fn everyone(&self) -> BTreeSet<MemberId> {
        let all: BTreeSet<MemberId> = [&self.voters, &self.outgoing, &self.learners, &self.learners_next]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        debug_assert!(all.iter().all(|id| self.contains(*id)), "the list and the test agree on who takes part");
        all
    }

    /// Whether `id` was removed and can never take part again: the only safe ground to delete its objects.
    #[must_use]
    pub fn is_gone_for_good(&self, id: MemberId) -> bool {
        self.removed.contains(&id) && !self.contains(id)
    }
}
