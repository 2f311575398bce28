//! What the driver must do, in the order in which it comes out. Owns the words, no decision.

use crate::ids::{EntryId, Index, IoId, MemberId, ProposalId, ReadContext, Term};
use crate::message::{Entry, HardState, Message, SnapshotMeta};

/// One write to the log, acknowledged through [`crate::Raft::persisted`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Name of this write; cumulative: acknowledging it acknowledges all before it.
    pub io: IoId,
    /// Term and vote, when they changed. Durable before or together with `entries`, never after (Raft thesis §3.8).
    pub hard_state: Option<HardState>,
    /// Consecutive entries. When the first stands at or below the log's last index, everything from there on is
    /// truncated first.
    pub entries: Vec<Entry>,
}

/// What the core asks of its driver, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make this durable. A driver may merge several into one write and one sync, in order.
    Persist(Persist),
    /// Safe to send now: whatever must wait for the disk has been withheld until [`crate::Raft::persisted`], so no driver
    /// can leak a vote or an acknowledgement. Loss, delay and duplication are allowed.
    Send {
        /// To whom.
        to: MemberId,
        /// What.
        message: Message,
    },
    /// Stream the newest snapshot to a member whose log cannot be repaired any more; its `last.index` must be at least
    /// `at_least`. Report the end through [`crate::Raft::snapshot_sent`]. The receiver's driver feeds
    /// [`crate::Body::InstallSnapshot`] to its core, in this term, when all bytes are there and verified.
    SendSnapshot {
        /// To whom.
        to: MemberId,
        /// The sender's term, to be carried along.
        term: Term,
        /// Oldest snapshot that helps.
        at_least: Index,
    },
    /// Replace state machine and log by this received snapshot, durably, and write `hard_state` with it; acknowledged
    /// through [`crate::Raft::persisted`]. Everything persisted before is superseded.
    InstallSnapshot {
        /// Name of this write.
        io: IoId,
        /// Who sent it.
        from: MemberId,
        /// Term and vote, when they changed.
        hard_state: Option<HardState>,
        /// Which snapshot.
        meta: SnapshotMeta,
    },
    /// A received snapshot is of no use (stale, or nothing new): its files may go.
    DiscardSnapshot {
        /// Who sent it.
        from: MemberId,
        /// Its last entry.
        last: EntryId,
    },
    /// Committed: apply in this order, then say so through [`crate::Raft::applied`].
    Apply(Vec<Entry>),
    /// These reads are linearizable once `index` is applied.
    ReadReady {
        /// The batch.
        context: ReadContext,
        /// Read at or after this index.
        index: Index,
    },
    /// Leadership could not be confirmed; the asker may try again.
    ReadFailed {
        /// The batch.
        context: ReadContext,
    },
    /// This proposal did not enter the log, or was overwritten before it committed: it has not happened and will not.
    Dropped {
        /// The proposer's name for it.
        proposal: ProposalId,
        /// Why.
        reason: DropReason,
    },
    /// The state at `index` may be captured as a snapshot now; then call [`crate::Raft::snapshot_taken`].
    SnapshotDue {
        /// Applied and durable.
        index: Index,
    },
    /// Role, leader or term changed; for status and metrics.
    Changed(SoftState),
    /// This member is in neither half of the committed configuration at `index`: write its tombstone and stop. A
    /// [`Output::Persist`] may follow in the same turn; the tombstone comes behind it.
    Removed {
        /// Where it was removed.
        index: Index,
    },
}

/// Why a proposal is known not to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Nobody leads, as far as this member knows.
    NoLeader,
    /// Another member leads now and did not take it over.
    LeaderChanged,
    /// Leadership is being handed over.
    Transferring,
    /// Too many bytes are proposed and not yet committed.
    Overloaded,
}

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// A follower without a vote.
    Learner,
    /// Asks whether a campaign could succeed.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

/// What is not kept across restarts but is worth knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftState {
    /// What this member is.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// Its term.
    pub term: Term,
}
