//! Owns a member's status report, which the member creates without contact with other members, and the rule that
//! decides whether the member serves clients. Does not own how often the report is refreshed (`driver/report.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mvcc::FeatureLevel;
use raft::{Configuration, Index, MemberId, ProgressReport, Role, Term};
use storage::ClusterId;

use crate::level::SUPPORTED;
use crate::parameters::FetchProgress;

/// Phase of a member's life (admin.proto `Phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The volume belongs to no cluster. It holds nothing but the member ID.
    Blank,
    /// A restore is filling the volume.
    Restoring,
    /// The member belongs to a cluster.
    Member,
    /// A committed configuration removed the member. The member's tombstone is on disk, and the member serves no clients.
    Removed,
    /// The member's disk is damaged, and a restart does not repair the damage. The member neither votes nor serves clients.
    Damaged,
    /// The member's disk holds what only a newer program reads. Nothing is lost, but the member neither votes nor
    /// serves clients.
    TooNew,
    /// The member's disk has lost a part of the log that other members hold. The member fetches it from them, and
    /// neither votes nor serves clients until the log is whole.
    Repairing,
}

impl Phase {
    /// All phases, in the order of admin.proto.
    pub const ALL: [Self; 7] =
        [Self::Blank, Self::Restoring, Self::Member, Self::Removed, Self::Damaged, Self::TooNew, Self::Repairing];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "blank",
            Self::Restoring => "restoring",
            Self::Member => "a member",
            Self::Removed => "removed",
            Self::Damaged => "damaged",
            Self::TooNew => "too old for its data",
            Self::Repairing => "repairing its log",
        })
    }
}

/// Status of a restore.
#[derive(Clone)]
pub struct RestoreStatus {
    /// Name of the backup.
    pub backup: String,
    /// Function that returns how much of the backup has been fetched.
    pub progress: FetchProgress,
    /// Reason, in one word, why the last attempt failed; empty if none has failed.
    pub cause: String,
}

impl fmt::Debug for RestoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreStatus")
            .field("backup", &self.backup)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// Space of the volume that holds the log and the snapshots (admin.proto `Space`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size of the volume, in bytes.
    pub total_bytes: u64,
    /// Bytes that the member may still write.
    pub free_bytes: u64,
    /// Bytes that the member keeps free for a snapshot and for deletions.
    pub reserve_bytes: u64,
    /// True if less than the reserve is free.
    pub below: bool,
    /// True on a leader that refuses puts, because no quorum of voters is above its reserve.
    pub writes_refused: bool,
}

/// Status of a repair (admin.proto `Repair`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// Bytes fetched so far.
    pub bytes_done: u64,
    /// Bytes to fetch; 0 while unknown.
    pub bytes_total: u64,
    /// Time since the last byte arrived.
    pub stalled: Duration,
    /// What is repaired, and from which member.
    pub what: String,
}

/// A status report, at most a few tens of milliseconds old. Because it may be outdated, no decision about safety may rely on it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Member ID. Never changes.
    pub member: MemberId,
    /// Cluster ID; `None` while the member is blank.
    pub cluster: Option<ClusterId>,
    /// The member's name in the configuration.
    pub name: String,
    /// Phase of the member's life.
    pub phase: Phase,
    /// The highest feature level that the member's program supports.
    pub supports: FeatureLevel,
    /// True if the member prepares to stop: it transfers leadership if it leads.
    pub draining: bool,
    /// Role in consensus.
    pub role: Role,
    /// Leader; `None` if the member knows no leader.
    pub leader: Option<MemberId>,
    /// Current term.
    pub term: Term,
    /// Commit index.
    pub commit: Index,
    /// Applied index of the published view.
    pub applied: Index,
    /// Index of the last entry in the log.
    pub last: Index,
    /// Configuration in force on this member.
    pub configuration: Arc<Configuration>,
    /// Index of the entry that holds `configuration`.
    pub configuration_index: Index,
    /// Latest committed configuration that this member knows.
    pub committed: Arc<Configuration>,
    /// Index of the entry that holds `committed`.
    pub committed_index: Index,
    /// On the leader, the replication progress of each other member. Empty on a member that does not lead.
    pub progress: BTreeMap<MemberId, ProgressReport>,
    /// Index of the last entry in the newest durable snapshot.
    pub snapshot: Index,
    /// Status of the restore; `None` for a member that never received a restore request.
    pub restore: Option<RestoreStatus>,
    /// Space of the volume; `None` if the member does not watch it.
    pub space: Option<Space>,
    /// Status of the repair; `None` unless the phase is [`Phase::Repairing`].
    pub repair: Option<RepairStatus>,
    /// Why a restore failed, which damage was found, or what is too new, and what to do about it. Empty if there is no
    /// error.
    pub error: String,
}

/// Why a member does not serve clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServing {
    /// The member waits to be added to its cluster, so its store is empty.
    #[error("the member has not been added to its cluster yet")]
    NotAdded,
    /// The member is in a phase in which it serves no clients.
    #[error("the member serves no cluster ({0})")]
    Phase(Phase),
}

impl Status {
    /// Returns whether the member serves clients. A member that waits to be added to its cluster does not serve, because its
    /// empty store is not the cluster's store.
    ///
    /// # Errors
    /// Returns the reason why the member does not serve clients.
    pub fn serving(&self) -> Result<(), NotServing> {
        match self.phase {
            Phase::Member if self.role == Role::Learner && !self.configuration.contains(self.member) => {
                Err(NotServing::NotAdded)
            }
            Phase::Member => Ok(()),
            phase => Err(NotServing::Phase(phase)),
        }
    }

    /// Status of a member that runs no consensus, for instance because its disk is empty or unreadable.
    #[must_use]
    pub fn idle(member: MemberId, name: String, phase: Phase) -> Self {
        Self {
            member,
            cluster: None,
            name,
            phase,
            supports: SUPPORTED,
            draining: false,
            role: Role::Follower,
            leader: None,
            term: Term(0),
            commit: Index(0),
            applied: Index(0),
            last: Index(0),
            configuration: Arc::default(),
            configuration_index: Index(0),
            committed: Arc::default(),
            committed_index: Index(0),
            progress: BTreeMap::new(),
            snapshot: Index(0),
            restore: None,
            space: None,
            repair: None,
            error: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_of_a_cluster_serves() {
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Member) {
            let status = Status::idle(MemberId(1), String::new(), phase);
            assert_eq!(status.serving(), Err(NotServing::Phase(phase)));
        }
        assert_eq!(Status::idle(MemberId(1), String::new(), Phase::Member).serving(), Ok(()));
    }

    #[test]
    fn a_learner_serves_only_once_a_configuration_contains_it() {
        let mut status = Status::idle(MemberId(1), String::new(), Phase::Member);
        status.role = Role::Learner;
        assert_eq!(status.serving(), Err(NotServing::NotAdded));
        status.configuration = Arc::new(Configuration { learners: [MemberId(1)].into(), ..Configuration::default() });
        assert_eq!(status.serving(), Ok(()));
    }
}
