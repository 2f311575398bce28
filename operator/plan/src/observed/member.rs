//! Members' reports about themselves, the configuration and a restore. Owns the plain types. Does not own the wire
//! format (the shell's `member/convert.rs` reads it).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::ids::{ClusterId, MemberId};
use crate::names;
use crate::observed::failure::FailureCause;

/// Answer to the call that asks a member to describe itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The member answered.
    Report(Box<Report>),
    /// The member did not answer, or has no pod to call.
    Silent {
        /// Time of the first unanswered call since the member answered this operator or the leader, or since this
        /// operator started.
        since: Timestamp,
        /// Explanation for people.
        error: String,
    },
}

/// A member's description of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The member's ID; `None` if the member belongs to another cluster, because it does not report its ID then.
    pub id: Option<MemberId>,
    /// The member's phase.
    pub phase: MemberPhase,
    /// The member's cluster; `None` while the member is blank.
    pub cluster: Option<ClusterId>,
    /// The member's role in Raft.
    pub role: RaftRole,
    /// The leader, as far as the member knows.
    pub leader: Option<MemberId>,
    /// The member's term.
    pub term: u64,
    /// The member's commit index.
    pub commit: u64,
    /// Index of the last entry in the member's log.
    pub last: u64,
    /// The configuration in force on this member. It is not linearizable, and is possibly not committed yet.
    pub configuration: Option<Configuration>,
    /// Replication progress of the other members; empty unless the member leads.
    pub progress: BTreeMap<MemberId, Progress>,
    /// Version of the member's program.
    pub version: String,
    /// The reason why a restore failed, or the damage that was found.
    pub error: Option<String>,
    /// Progress of a restore.
    pub restore: Option<RestoreProgress>,
    /// The cluster's feature level, as far as the member has applied it; at least 1.
    pub level: u32,
    /// The highest feature level that the member's program supports; at least 1.
    pub supports: u32,
    /// Space of the member's volume; `None` if the member does not watch it.
    pub space: Option<Space>,
    /// Progress of a repair; `None` unless the member repairs its disk.
    pub repair: Option<RepairProgress>,
    /// Whether the alarm CORRUPT is raised, as far as the member knows: members' keyspaces differ.
    pub corrupt: bool,
}

impl Report {
    /// The report of a member that says nothing but its phase, as it does to a caller without the cluster's token.
    #[must_use]
    pub fn of_phase(phase: MemberPhase) -> Self {
        Self {
            id: None,
            phase,
            cluster: None,
            role: RaftRole::Unknown,
            leader: None,
            term: 0,
            commit: 0,
            last: 0,
            configuration: None,
            progress: BTreeMap::new(),
            version: String::new(),
            error: None,
            restore: None,
            level: 1,
            supports: 1,
            space: None,
            repair: None,
            corrupt: false,
        }
    }
}

/// Phase in the life of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberPhase {
    /// The volume has an ID and belongs to no cluster.
    Blank,
    /// The member fills its volume from a backup.
    Restoring,
    /// The member is part of a cluster, or waits for a cluster to add it.
    Member,
    /// The member was removed by a committed configuration.
    Removed,
    /// The member's disk is damaged, and neither a restart nor another member repairs the damage.
    Damaged,
    /// The member's disk holds what only a newer program reads. Nothing is lost.
    TooNew,
    /// The member fetches from other members what its disk has lost. It neither votes nor serves.
    Repairing,
}

/// Role of a member in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftRole {
    /// The member reported no role, or a role that this version does not know.
    Unknown,
    /// The member votes, and follows a leader.
    Follower,
    /// The member follows a leader and has no vote.
    Learner,
    /// The member asks the voters whether it could win an election.
    PreCandidate,
    /// The member asks the voters for their votes.
    Candidate,
    /// The member leads, and orders all writes.
    Leader,
    /// The member is stopping. If it leads, it transfers leadership first.
    ShuttingDown,
}

impl Report {
    /// Returns whether the member reports that it leads. A member that shuts down may still lead for a moment.
    #[must_use]
    pub fn reports_to_lead(&self) -> bool {
        self.role == RaftRole::Leader
            || (self.role == RaftRole::ShuttingDown && self.id.is_some() && self.leader == self.id)
    }
}

/// A leader's knowledge of another member's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Highest index that is known to be durable on the member's disk.
    pub matched: u64,
    /// Whether the member answered within the last election timeout.
    pub active: bool,
    /// Whether the member waits for a snapshot.
    pub snapshotting: bool,
}

/// Progress of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Number of restored bytes on the volume.
    pub bytes_done: u64,
    /// Number of bytes in the backup; 0 while unknown.
    pub bytes_total: u64,
    /// The reason why the restore stopped; `None` while it runs.
    pub cause: Option<FailureCause>,
}

/// Space of the volume that holds a member's log and snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size of the volume, in bytes.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
    /// Bytes that the member keeps free for a snapshot and for deletions.
    pub reserve: u64,
    /// Whether less than the reserve is free. The member does not campaign then, and transfers leadership.
    pub below: bool,
    /// Whether the member leads and refuses puts, because no quorum of voters is above its reserve.
    pub writes_refused: bool,
}

/// Progress of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairProgress {
    /// Number of bytes that were fetched.
    pub bytes_done: u64,
    /// Number of bytes to fetch; 0 while unknown.
    pub bytes_total: u64,
    /// Time since the last byte arrived.
    pub stalled: Duration,
    /// What is repaired, and from which member.
    pub what: String,
}

/// Name and addresses of a member, which are replicated with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Name of the member, such as `demo-1`.
    pub name: String,
    /// URL at which other members reach the member.
    pub peer_url: String,
    /// URL at which clients reach the member.
    pub client_url: String,
}

/// A configuration of the cluster: its voters and learners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Index of the configuration's log entry. A change succeeds only if it names this index.
    pub index: u64,
    /// The voters. In a joint configuration, the voters of the incoming half.
    pub voters: BTreeSet<MemberId>,
    /// The voters of the outgoing half of a joint configuration; empty otherwise.
    pub outgoing: BTreeSet<MemberId>,
    /// Members that follow without a vote.
    pub learners: BTreeSet<MemberId>,
    /// Voters of the outgoing half that become learners.
    pub learners_next: BTreeSet<MemberId>,
    /// Name and addresses of every voter and learner.
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// IDs of former members, which never return.
    pub removed: BTreeSet<MemberId>,
}

impl Configuration {
    /// Returns whether the configuration is joint. In a joint configuration, both halves must agree to every entry.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty() || !self.learners_next.is_empty()
    }

    /// Returns whether `id` has a vote in either half.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// The role by which Services and the disruption budget select the pod of `id`.
    #[must_use]
    pub fn role(&self, id: MemberId) -> names::Role {
        if self.is_voter(id) { names::Role::Voter } else { names::Role::Learner }
    }

    /// Returns whether `id` is a voter or a learner in either half.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }

    /// IDs of all voters and learners in both halves.
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

    /// Returns whether `id` was removed and can never be a voter or learner again. Only then is it safe to delete the
    /// member's objects.
    #[must_use]
    pub fn is_gone_for_good(&self, id: MemberId) -> bool {
        self.removed.contains(&id) && !self.contains(id)
    }
}
