//! Instructions to the driver, in the order in which it must carry them out. Owns their shapes. Does not own when they
//! are made (`flush.rs`).

use crate::ids::{EntryId, Index, IoId, MemberId, ProposalId, ReadContext, Term};
use crate::message::{DropReason, Entry, HardState, Message, SnapshotMeta};

/// One write to the log, acknowledged through [`crate::Raft::persisted`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Number of the write. Its acknowledgement covers all earlier writes.
    pub io: IoId,
    /// Term and vote, if they changed. Must be durable before or together with `entries` (Raft thesis §3.8).
    pub hard_state: Option<HardState>,
    /// Consecutive entries. If the first is at or before the last index of the log on disk, the log is first truncated
    /// from there on.
    pub entries: Vec<Entry>,
}

/// One instruction to the driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make this durable. A driver may merge several writes into one write and one sync, in order.
    Persist(Persist),
    /// Send this now. The core withholds whatever must wait for the disk until [`crate::Raft::persisted`], so that no
    /// driver can send a vote or an acknowledgement too early. Loss, delay and duplication are allowed.
    Send {
        /// Receiver.
        to: MemberId,
        /// Message to send.
        message: Message,
    },
    /// Stream the newest snapshot to a member that needs purged entries; its `last.index` must be at least `at_least`.
    /// Report the end through [`crate::Raft::snapshot_sent`]. When all bytes have arrived and are verified, the
    /// receiver's driver passes [`crate::Body::InstallSnapshot`] to its core, with this term.
    SendSnapshot {
        /// Receiver.
        to: MemberId,
        /// Term of the sender, to be sent along.
        term: Term,
        /// Smallest last index of a snapshot that helps the receiver.
        at_least: Index,
    },
    /// Replace state machine and log durably by this received snapshot, and write `hard_state` with it; acknowledged
    /// through [`crate::Raft::persisted`]. Supersedes everything persisted before.
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
    /// A received snapshot is stale or brings nothing new: delete its files.
    DiscardSnapshot {
        /// Sender of the snapshot.
        from: MemberId,
        /// Last entry of the snapshot.
        last: EntryId,
    },
    /// These entries are committed: apply them in this order, then call [`crate::Raft::applied`].
    Apply(Vec<Entry>),
    /// The reads are linearizable once `index` is applied.
    ReadReady {
        /// Requester's ID of the reads.
        context: ReadContext,
        /// Index at or after which to read.
        index: Index,
    },
    /// Leadership could not be confirmed; the requester may retry the reads.
    ReadFailed {
        /// Requester's ID of the reads.
        context: ReadContext,
    },
    /// The proposal did not enter the log, or was overwritten before it was committed: it has not happened and will
    /// not.
    Dropped {
        /// Proposer's ID of the proposal.
        proposal: ProposalId,
        /// Cause of the drop.
        reason: DropReason,
    },
    /// The state at `index` may be captured as a snapshot now; then call [`crate::Raft::snapshot_taken`].
    SnapshotDue {
        /// Index of an entry that is applied and durable.
        index: Index,
    },
    /// Role, leader or term changed; for status and metrics.
    Changed(SoftState),
    /// The committed configuration at `index` removed this member: write its tombstone and stop. If an
    /// [`Output::Persist`] follows in the same turn, write the tombstone after it.
    Removed {
        /// Index of that configuration.
        index: Index,
    },
}

/// Role of a member, as reported to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Follows without a vote.
    Learner,
    /// Asks whether a campaign could succeed.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

/// State that does not survive a restart, for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftState {
    /// Role of this member.
    pub role: Role,
    /// Leader of the term, if this member knows it.
    pub leader: Option<MemberId>,
    /// Term of this member.
    pub term: Term,
}
