//! Planted bugs: what a careless driver, disk or core would do. Owns the list; each must be caught by an invariant
//! within its budget of seeds, or the simulator proves nothing.

use raft::{AppendReply, Body, Output, Raft};

use world::disk::{Breakage, Reading};

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
    /// A crash takes the newest file of the log, as its directory was never synced (etcd#6368).
    LosesNewestFile,
    /// A failed sync is repeated, and what it covered is taken for durable (cockroach#37102).
    RetriesFailedSync,
    /// A write that failed on a full disk is taken for durable.
    IgnoresFullDisk,
    /// A damaged record is taken for a torn tail, and cut off with everything synced after it (NATS 2.12.1).
    TruncatesOnDamage,
    /// A record that was written over another is taken for that one.
    TrustsThePlace,
    /// A member whose disk was emptied starts anew under its old name (openraft's FAQ, RATIS-2523).
    RejoinsWithEmptyDisk,
    /// A snapshot has the state of the one before, and the index of today (etcd#13766).
    SnapshotsOlderState,
    /// A start that cannot read its disk takes it for a new one.
    StartsEmptyWhenUnreadable,
    /// Lease and election timeout are changed together, member by member, so that a lease outlasts another's timeout.
    RollsLeaseAheadOfTimeout,
    /// A leader ends a lease whose time is over without a look at whether it was kept alive meanwhile.
    ExpiresWithoutComparing,
    /// A read takes its registers at two moments.
    ReadsRegistersApart,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 24] = [
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
        Self::LosesNewestFile,
        Self::RetriesFailedSync,
        Self::IgnoresFullDisk,
        Self::TruncatesOnDamage,
        Self::TrustsThePlace,
        Self::RejoinsWithEmptyDisk,
        Self::SnapshotsOlderState,
        Self::StartsEmptyWhenUnreadable,
        Self::RollsLeaseAheadOfTimeout,
        Self::ExpiresWithoutComparing,
        Self::ReadsRegistersApart,
    ];

    /// Whose bug it was, or which rule it breaks, in a line.
    #[must_use]
    pub fn of(self) -> &'static str {
        match self {
            Self::AcknowledgesBeforeDurable => "etcd#14370: the driver calls a write durable when it only began",
            Self::ForgetsHardState => "tikv#8381: a restart finds term and vote as they once were",
            Self::DropsSyncedEntry => "a crash takes an entry that was synced",
            Self::ResurrectsTruncated => "a crash brings back entries that were truncated, from a recycled file",
            Self::EntriesBeforeHardState => "thesis §3.8: a crash keeps entries and loses the term they came with",
            Self::AppliesOutOfOrder => "the state machine takes committed entries in another order",
            Self::ReadsWithoutAsking => "thesis §6.4: reads are served from whatever is applied",
            Self::InstallsWithoutState => "etcd#13766: the log is installed, the state is not",
            Self::PurgesBeforeSnapshotIsDurable => {
                "raft-engine#288: the log is purged before the snapshot that replaces it is durable"
            }
            Self::GrantsEveryVote => "thesis §3.6.1: every vote is granted, whatever the candidate's log",
            Self::AcknowledgesOneTooMany => "openraft cecb5de8: a follower acknowledges one entry more than it has",
            Self::AcceptsEveryAppend => "thesis §3.5: entries are acknowledged that were never compared",
            Self::TellsCommitToEverybody => "heartbeats tell the leader's commit index to members whose log may differ",
            Self::LosesNewestFile => {
                "etcd#6368: a crash takes the newest file of the log, whose directory was never synced"
            }
            Self::RetriesFailedSync => "cockroach#37102: a failed sync is repeated and believed",
            Self::IgnoresFullDisk => "a write that failed on a full disk is taken for durable",
            Self::TruncatesOnDamage => "NATS 2.12.1: a damaged record is taken for a torn tail, and cut off",
            Self::TrustsThePlace => "a record that was written over another is taken for that one",
            Self::RejoinsWithEmptyDisk => "RATIS-2523: a member whose disk was emptied starts anew under its old name",
            Self::SnapshotsOlderState => "dragonboat#369: a snapshot has the state of the one before it",
            Self::StartsEmptyWhenUnreadable => "a start that cannot read its disk takes log, term and vote for empty",
            Self::ExpiresWithoutComparing => "a lease ends by a leader's clock though it was kept alive meanwhile",
            Self::ReadsRegistersApart => "a read of several registers takes them at two moments",
            Self::RollsLeaseAheadOfTimeout => {
                "thesis §6.4.1: a rolling change of settings leaves one member's lease longer than another's timeout"
            }
        }
    }

    /// What it does to disks.
    #[must_use]
    pub fn breakage(self) -> Breakage {
        match self {
            Self::ForgetsHardState => Breakage::ForgetsHardState,
            Self::DropsSyncedEntry => Breakage::DropsSyncedEntry,
            Self::ResurrectsTruncated => Breakage::ResurrectsTruncated,
            Self::EntriesBeforeHardState => Breakage::EntriesBeforeHardState,
            Self::LosesNewestFile => Breakage::LosesNewestFile,
            _ => Breakage::Sound,
        }
    }

    /// How it reads disks.
    #[must_use]
    pub fn reading(self) -> Reading {
        match self {
            Self::TruncatesOnDamage => Reading::TruncatesOnDamage,
            Self::TrustsThePlace => Reading::TrustsThePlace,
            _ => Reading::Sound,
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
            _ => {}
        }
    }
}
