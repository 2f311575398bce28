//! Instructions to the driver, in the order in which the driver must carry them out. Owns their shapes. Does not own
//! when they are created (`flush.rs`).

use crate::ids::{EntryId, Index, IoId, MemberId, ProposalId, ReadContext, Term};
use crate::message::{DropReason, Entry, HardState, Message, SnapshotMeta};

/// One write to the log. The driver acknowledges it through [`crate::Raft::persisted`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Number of the write. Its acknowledgement covers all earlier writes.
    pub io: IoId,
    /// Term and vote, if they changed. Must be durable before or together with `entries` (Raft thesis §3.8).
    pub hard_state: Option<HardState>,
    /// Consecutive entries. If the first is at or before the last index of the log on disk, the driver first truncates
    /// the log from that index on.
    pub entries: Vec<Entry>,
}

/// One instruction to the driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make this write durable. A driver may merge several writes, in order, into one write and one sync.
    Persist(Persist),
    /// Send this message now. If a message depends on a write, the core issues this output only after
    /// [`crate::Raft::persisted`] has acknowledged the write. No driver can therefore send a vote or an acknowledgement
    /// too early. Messages may be lost, delayed or duplicated.
    Send {
        /// Receiver.
        to: MemberId,
        /// Message to send.
        message: Message,
    },
    /// Stream the newest snapshot to a member that needs entries which this member can no longer read. The `last.index` of the snapshot must be at
    /// least `at_least`. Report the end of the stream through [`crate::Raft::snapshot_sent`]. When all bytes have
    /// arrived and are verified, the receiver's driver passes [`crate::Body::InstallSnapshot`] with this term to its
    /// core.
    SendSnapshot {
        /// Receiver.
        to: MemberId,
        /// Term of the sender, which the stream carries.
        term: Term,
        /// Lower bound for the snapshot's last index; an older snapshot does not help the receiver.
        at_least: Index,
    },
    /// Durably replace state machine and log by this received snapshot, and write `hard_state` with it. Acknowledge
    /// through [`crate::Raft::persisted`]. The snapshot supersedes all earlier writes of entries.
    InstallSnapshot {
        /// Number of the write.
        io: IoId,
        /// Sender of the snapshot.
        from: MemberId,
        /// Term and vote, if they changed.
        hard_state: Option<HardState>,
        /// Description of the snapshot.
        meta: SnapshotMeta,
    },
    /// A received snapshot is outdated or contains nothing new: delete its files.
    DiscardSnapshot {
        /// Sender of the snapshot.
        from: MemberId,
        /// Last entry of the snapshot.
        last: EntryId,
    },
    /// These entries are committed: apply them in this order, then call [`crate::Raft::applied`].
    Apply(Vec<Entry>),
    /// The entries from `first` to `last` are committed and durable, but no longer in memory: read them from the log on
    /// disk and apply them in this order, after the entries of earlier outputs and before those of later ones. Then call
    /// [`crate::Raft::applied`]. The range weighs a few MiB at most, unless a single entry is larger.
    ApplyStored {
        /// Index of the first entry.
        first: Index,
        /// Index of the last entry.
        last: Index,
    },
    /// Read entries from the log on disk for a member that lags, and pass them to [`crate::Raft::log_read`]. Read after
    /// the writes and before the purges that were requested later. The answer contains the entry at `from`, and later
    /// ones up to `through` as long as their payloads fit into `bytes`.
    ReadLog {
        /// The member that lags. The core asks for one read at a time for each member.
        to: MemberId,
        /// Index of the first entry to read.
        from: Index,
        /// Index of the last entry to read.
        through: Index,
        /// Maximum payload bytes; a single larger entry is read alone.
        bytes: usize,
    },
    /// The reads may be served as soon as `index` is applied; they are then linearizable.
    ReadReady {
        /// ID of the reads, chosen by the requester.
        context: ReadContext,
        /// Index that must be applied before the reads are answered.
        index: Index,
    },
    /// The leader could not confirm its leadership; the requester may retry the reads.
    ReadFailed {
        /// ID of the reads, chosen by the requester.
        context: ReadContext,
    },
    /// The proposal did not enter the log, or was overwritten before it was committed. It did not happen and never
    /// will.
    Dropped {
        /// ID of the proposal, chosen by the proposer.
        proposal: ProposalId,
        /// Reason why the proposal was dropped.
        reason: DropReason,
    },
    /// A snapshot of the state at `index` may be captured now. When the snapshot is durable, call
    /// [`crate::Raft::snapshot_taken`].
    SnapshotDue {
        /// Index of an entry that is applied and durable.
        index: Index,
    },
    /// Role, leader or term changed. Intended for status and metrics.
    Changed(SoftState),
    /// Another member says that this member was removed. Ask the other voters of the configuration in force whether that
    /// is so, and report what they say through [`crate::Raft::removal_verified`], once. The core may then ask again at
    /// once, so a driver waits longer after each verification.
    VerifyRemoval,
    /// The committed configuration at `index` removed this member: write its tombstone and stop. If an
    /// [`Output::Persist`] follows before `next_output` returns `None`, carry out that write first and then write the
    /// tombstone.
    Removed {
        /// Index of the configuration that removed this member.
        index: Index,
    },
}

/// Reason why entries that [`Output::ReadLog`] names cannot be read: they are purged, or damaged on the disk. The member
/// that needs them gets a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the entries are purged or damaged")]
pub struct Unreadable;

/// Role of a member, as reported to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Follows a leader and has no vote.
    Learner,
    /// Asks other voters whether a campaign could succeed.
    PreCandidate,
    /// Requests votes.
    Candidate,
    /// Leads.
    Leader,
}

/// State that is lost at a restart; for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftState {
    /// Role of this member.
    pub role: Role,
    /// Leader of the term, if this member knows it.
    pub leader: Option<MemberId>,
    /// Term of this member.
    pub term: Term,
}
