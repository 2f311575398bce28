//! Planted bugs of the driver, the disk and the messages around the core. Owns the list. An invariant must detect each
//! bug within its budget of seeds; otherwise the simulator would prove nothing.

use raft::{AppendReply, Body, Output, Raft};

use world::disk::{Breakage, Reading};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The driver reports a write durable although the write has only begun (etcd#14370).
    AcknowledgesBeforeDurable,
    /// A restart finds an older term and vote (tikv#8381).
    ForgetsHardState,
    /// A crash loses a synced entry.
    DropsSyncedEntry,
    /// Truncated entries are present again after a crash (recycled segments).
    ResurrectsTruncated,
    /// A crash keeps entries and loses the term that was written with them (thesis §3.8).
    EntriesBeforeHardState,
    /// The state machine applies committed entries in another order than that of the log.
    AppliesOutOfOrder,
    /// Reads are served at the applied index, without ReadIndex.
    ReadsWithoutAsking,
    /// An install replaces the log, but not the state (etcd#13766).
    InstallsWithoutState,
    /// The log is purged before the snapshot that replaces it is durable.
    PurgesBeforeSnapshotIsDurable,
    /// Every vote is granted, without a comparison of the logs.
    GrantsEveryVote,
    /// A follower acknowledges one entry more than it has (openraft cecb5de8).
    AcknowledgesOneTooMany,
    /// A follower acknowledges entries that it never compared (Raft without its consistency check).
    AcceptsEveryAppend,
    /// Heartbeats carry the leader's commit index to members whose log may differ.
    TellsCommitToEverybody,
    /// A crash loses the newest segment, because its directory was never synced (etcd#6368).
    LosesNewestFile,
    /// A failed sync is repeated, and its data are reported durable (cockroach#37102).
    RetriesFailedSync,
    /// A write that failed on a full disk is reported durable.
    IgnoresFullDisk,
    /// A damaged record is treated as a torn tail, and cut off with everything synced after it (NATS 2.12.1).
    TruncatesOnDamage,
    /// A record that overwrote another record is accepted as if it belonged in that place.
    TrustsThePlace,
    /// A member whose disk was emptied restarts under its old ID (openraft's FAQ, RATIS-2523).
    RejoinsWithEmptyDisk,
    /// A snapshot combines the state of the snapshot before it with the current index (etcd#13766).
    SnapshotsOlderState,
    /// A member that cannot read its disk at a start treats the disk as empty.
    StartsEmptyWhenUnreadable,
    /// Lease and election timeout are changed together, one member after another. Meanwhile the leader's lease may be
    /// longer than the election timeout of another member.
    RollsLeaseAheadOfTimeout,
    /// A lease whose time is over is revoked, even if a client kept it alive meanwhile.
    ExpiresWithoutComparing,
    /// A read of several registers takes their values from two different moments.
    ReadsRegistersApart,
}

impl Sabotage {
    /// All variants.
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

    /// One line that describes the bug, with the implementation that had it or the rule that it breaks.
    #[must_use]
    pub fn of(self) -> &'static str {
        match self {
            Self::AcknowledgesBeforeDurable => "etcd#14370: the driver reports a write durable when it has only begun",
            Self::ForgetsHardState => "tikv#8381: a restart finds an older term and vote",
            Self::DropsSyncedEntry => "a crash loses a synced entry",
            Self::ResurrectsTruncated => "truncated entries are present again after a crash, from a recycled segment",
            Self::EntriesBeforeHardState => {
                "thesis §3.8: a crash keeps entries and loses the term that was written with them"
            }
            Self::AppliesOutOfOrder => "the state machine takes committed entries in another order",
            Self::ReadsWithoutAsking => "thesis §6.4: reads are served at the applied index, without ReadIndex",
            Self::InstallsWithoutState => "etcd#13766: an install replaces the log, but not the state",
            Self::PurgesBeforeSnapshotIsDurable => {
                "raft-engine#288: the log is purged before the snapshot that replaces it is durable"
            }
            Self::GrantsEveryVote => "thesis §3.6.1: every vote is granted, without a comparison of the logs",
            Self::AcknowledgesOneTooMany => "openraft cecb5de8: a follower acknowledges one entry more than it has",
            Self::AcceptsEveryAppend => "thesis §3.5: entries are acknowledged that were never compared",
            Self::TellsCommitToEverybody => {
                "heartbeats carry the leader's commit index to members whose log may differ"
            }
            Self::LosesNewestFile => "etcd#6368: a crash loses the newest segment, whose directory was never synced",
            Self::RetriesFailedSync => "cockroach#37102: a failed sync is repeated, and its data are reported durable",
            Self::IgnoresFullDisk => "a write that failed on a full disk is reported durable",
            Self::TruncatesOnDamage => "NATS 2.12.1: a damaged record is taken for a torn tail, and cut off",
            Self::TrustsThePlace => "a record that overwrote another one is accepted in its place",
            Self::RejoinsWithEmptyDisk => "RATIS-2523: a member whose disk was emptied restarts under its old ID",
            Self::SnapshotsOlderState => "dragonboat#369: a snapshot contains the state of the snapshot before it",
            Self::StartsEmptyWhenUnreadable => "a start that cannot read its disk treats it as empty",
            Self::ExpiresWithoutComparing => "a lease ends by a leader's clock though it was kept alive meanwhile",
            Self::ReadsRegistersApart => "a read reads its registers at two moments",
            Self::RollsLeaseAheadOfTimeout => {
                "thesis §6.4.1: a rolling change of settings leaves one member's lease longer than another's timeout"
            }
        }
    }

    /// The way in which the bug makes a crash violate the guarantees of a disk.
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

    /// How a member with the bug treats a damaged record when the member starts.
    #[must_use]
    pub fn reading(self) -> Reading {
        match self {
            Self::TruncatesOnDamage => Reading::TruncatesOnDamage,
            Self::TrustsThePlace => Reading::TrustsThePlace,
            _ => Reading::Sound,
        }
    }

    /// Changes the outputs of a core as the bug does.
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
