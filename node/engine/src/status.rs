//! Owns what a member reports of itself without asking another member, and whether such a member serves clients. Does not own
//! how fresh the report is (`driver/report.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use raft::{Configuration, Index, MemberId, ProgressReport, Role, Term};
use storage::ClusterId;

use crate::record::FetchProgress;

/// What a member is over its life (admin.proto `Phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Empty volume: an ID, no cluster.
    Blank,
    /// A restore is filling the volume.
    Restoring,
    /// Part of a cluster.
    Member,
    /// Removed by a committed configuration: its tombstone is on disk and it serves nothing.
    Removed,
    /// Its disk holds damage that a restart does not mend: it neither votes nor serves.
    Damaged,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "blank",
            Self::Restoring => "restoring",
            Self::Member => "a member",
            Self::Removed => "removed",
            Self::Damaged => "damaged",
        })
    }
}

/// A restore.
#[derive(Clone)]
pub struct RestoreStatus {
    /// Which backup.
    pub backup: String,
    /// How far it is.
    pub progress: FetchProgress,
    /// Why the last attempt failed, in one word; empty if none has.
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

/// A report, a few tens of milliseconds old at most; never a base for decisions about safety.
#[derive(Clone, Debug)]
pub struct Status {
    /// Who this is; for ever.
    pub member: MemberId,
    /// Its cluster; `None` while blank.
    pub cluster: Option<ClusterId>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub phase: Phase,
    /// Set once the member was told to stop: it is about to hand over what it holds.
    pub draining: bool,
    /// Its role in consensus.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// Its term.
    pub term: Term,
    /// Its commit index.
    pub commit: Index,
    /// Everything up to here is in the published view.
    pub applied: Index,
    /// Its last entry.
    pub last: Index,
    /// The configuration in force here and the index of its entry.
    pub configuration: Arc<Configuration>,
    /// See `configuration`.
    pub configuration_index: Index,
    /// The latest committed configuration known here and the index of its entry.
    pub committed: Arc<Configuration>,
    /// See `committed`.
    pub committed_index: Index,
    /// What a leader knows of the others; empty elsewhere.
    pub progress: BTreeMap<MemberId, ProgressReport>,
    /// Last entry in the newest durable snapshot.
    pub snapshot: Index,
    /// How far a restore is, or why the last attempt failed; `None` for a member that never was asked to restore.
    pub restore: Option<RestoreStatus>,
    /// Why a restore failed or what damage was found, and what to do; empty if all is well.
    pub error: String,
}

/// Why a member does not serve clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServing {
    /// The member waits to be added to its cluster, so it holds nothing yet.
    #[error("the member was not added to its cluster yet")]
    NotAdded,
    /// The member is in a phase in which it serves no cluster.
    #[error("the member serves no cluster ({0})")]
    Phase(Phase),
}

impl Status {
    /// Whether the member serves clients. A member that waits to be added to its cluster must not answer as if its empty
    /// store were the cluster's.
    ///
    /// # Errors
    /// Returns the reason if it does not.
    pub fn serving(&self) -> Result<(), NotServing> {
        match self.phase {
            Phase::Member if self.role == Role::Learner && !self.configuration.contains(self.member) => {
                Err(NotServing::NotAdded)
            }
            Phase::Member => Ok(()),
            phase => Err(NotServing::Phase(phase)),
        }
    }

    /// What a member with an empty or unreadable disk says.
    #[must_use]
    pub fn idle(member: MemberId, name: String, phase: Phase) -> Self {
        Self {
            member,
            cluster: None,
            name,
            phase,
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
            error: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_of_a_cluster_serves() {
        for phase in [Phase::Blank, Phase::Restoring, Phase::Removed, Phase::Damaged] {
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
