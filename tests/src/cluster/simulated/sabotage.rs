//! Planted bugs: what a careless driver, disk or core would do. Owns the list; each must be caught by an invariant within its
//! budget of seeds, or the simulator proves nothing.

use raft::{AppendReply, Body, Output, Raft};

use crate::world::disk::Breakage;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The driver says that a write is durable when it only began (etcd#14370).
    AcknowledgesBeforeDurable,
    /// A restart finds term and vote as they once were (tikv#8381).
    ForgetsHardState,
    /// A crash takes an entry that was synced.
    DropsSyncedEntry,
    /// A crash brings back entries that were truncated (recycled segments).
    ResurrectsTruncated,
    /// A crash keeps entries and loses the term they came with (thesis §3.8).
    EntriesBeforeHardState,
    /// The state machine takes committed entries in another order.
    AppliesOutOfOrder,
    /// Reads are served from whatever is applied (no ReadIndex).
    ReadsWithoutAsking,
    /// The log is installed, the state is not (etcd#13766).
    InstallsWithoutState,
    /// The log is purged before the snapshot that replaces it is durable.
    PurgesBeforeSnapshotIsDurable,
    /// Every vote is granted, whatever the candidate's log.
    GrantsEveryVote,
    /// A follower acknowledges one entry more than it has (openraft cecb5de8).
    AcknowledgesOneTooMany,
    /// A follower acknowledges entries that it never compared (Raft without its consistency check).
    AcceptsEveryAppend,
    /// Heartbeats tell the leader's commit index to members whose log may differ.
    TellsCommitToEverybody,
    /// Reads are confirmed by answers to earlier rounds (etcd#20418).
    AnswersRoundsNeverHeard,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AcknowledgesBeforeDurable,
        Self::ForgetsHardState,
        Self::DropsSyncedEntry,
        Self::ResurrectsTruncated,
        Self::EntriesBeforeHardState,
        Self::AppliesOutOfOrder,
        Self::ReadsWithoutAsking,
        Self::InstallsWithoutState,
        Self::PurgesBeforeSnapshotIsDurable,
        Self::GrantsEveryVote,
        Self::AcknowledgesOneTooMany,
        Self::AcceptsEveryAppend,
        Self::TellsCommitToEverybody,
        Self::AnswersRoundsNeverHeard,
    ];

    /// What it does to disks.
    #[must_use]
    pub fn breakage(self) -> Breakage {
        match self {
            Self::ForgetsHardState => Breakage::ForgetsHardState,
            Self::DropsSyncedEntry => Breakage::DropsSyncedEntry,
            Self::ResurrectsTruncated => Breakage::ResurrectsTruncated,
            Self::EntriesBeforeHardState => Breakage::EntriesBeforeHardState,
            _ => Breakage::Sound,
        }
    }

    /// What it does to a core's outputs.
    pub fn tamper(self, outputs: &mut [Output], raft: &Raft) {
        for output in outputs {
            if let Output::Send { message, .. } = output {
                self.tamper_with(&mut message.body, raft);
            }
        }
    }

    fn tamper_with(self, body: &mut Body, raft: &Raft) {
        match (self, body) {
            (Self::GrantsEveryVote, Body::VoteReply { granted } | Body::PreVoteReply { granted }) => *granted = true,
            (Self::AcknowledgesOneTooMany, Body::AppendReply(AppendReply::Accepted { matched, .. })) => {
                *matched = matched.next();
            }
            (Self::AcceptsEveryAppend, Body::AppendReply(reply)) => {
                if let AppendReply::Rejected { prev, round, .. } = *reply {
                    *reply = AppendReply::Accepted { matched: prev, round };
                }
            }
            (Self::TellsCommitToEverybody, Body::Heartbeat { commit, .. }) => {
                *commit = (*commit).max(raft.commit());
            }
            (Self::AnswersRoundsNeverHeard, Body::HeartbeatReply { round }) => *round += 1,
            _ => {}
        }
    }
}
