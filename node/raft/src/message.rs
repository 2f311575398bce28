//! Messages between members, log entries, and the state that a member keeps on disk. Owns their shapes. Does not own
//! their encoding, nor which messages are accepted (`dispatch.rs`).

use std::sync::Arc;

use bytes::Bytes;

use crate::configuration::Configuration;
use crate::ids::{EntryId, Index, MemberId, ProposalId, ReadContext, Term};
use crate::standing::Standing;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Term and index.
    pub id: EntryId,
    /// Time at which the leader created the entry, in milliseconds since the Unix epoch. Strictly increases along the
    /// log.
    pub time_ms: u64,
    /// Content of the entry.
    pub payload: Payload,
}

impl Entry {
    /// Bytes of the weight of an entry without a payload.
    pub(crate) const SURCHARGE: u64 = 64;

    /// Returns the bytes by which the entry counts towards the limits on memory ([`crate::Limits`]): its payload and a
    /// surcharge, because even an empty entry uses memory.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.payload.len() as u64 + Self::SURCHARGE
    }
}

/// Content of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// The first entry of every leader's term. Its commit also commits the entries before it (Raft thesis §3.6.2).
    Noop,
    /// A batch of client commands; the core does not interpret it.
    Normal(Bytes),
    /// The configuration that is in force from this entry on, even before the entry is committed (Raft thesis §4.1).
    Configuration(Arc<Configuration>),
    /// An entry without data. When it is applied, its proposer knows that every earlier entry is applied.
    Barrier,
}

impl Payload {
    /// Returns the number of bytes of client data. The limits on payload bytes count these bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Normal(bytes) => bytes.len(),
            Self::Noop | Self::Barrier | Self::Configuration(_) => 0,
        }
    }

    /// Returns whether the payload carries no client data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// State that must survive a restart in addition to the log (Raft thesis §3.3, figure 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// Latest term that this member knows.
    pub term: Term,
    /// Member that received this member's vote in `term`.
    pub vote: Option<MemberId>,
}

/// Description of the log prefix that a snapshot replaces (Raft thesis §5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// Last entry that the snapshot contains.
    pub last: EntryId,
    /// Time stamp of the entry `last`.
    pub time_ms: u64,
    /// Latest configuration at or before `last`.
    pub configuration: Arc<Configuration>,
    /// Index of the entry that contains the configuration.
    pub configuration_index: Index,
}

/// A message between members. The transport adds sender, receiver and cluster, and rejects connections between
/// different clusters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Term of the sender; in a pre-vote, the term in which it would campaign.
    pub term: Term,
    /// Content of the message.
    pub body: Body,
}

/// Content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Asks whether the receiver would vote for the sender. Changes nothing at the receiver (Raft thesis §9.6).
    PreVote {
        /// Last entry of the sender's log.
        last: EntryId,
    },
    /// Answer to [`Body::PreVote`]. A grant carries the requested term. A refusal carries the current term of
    /// the member that refuses.
    PreVoteReply {
        /// Whether the member that answers would vote for the pre-candidate.
        granted: bool,
    },
    /// RequestVote (Raft thesis §3.4).
    Vote {
        /// Last entry of the sender's log.
        last: EntryId,
        /// Whether the current leader requested this election. If so, the receiver may grant its vote even if it
        /// recently received a message from that leader (Raft thesis §3.10).
        transfer: bool,
    },
    /// Answer to [`Body::Vote`]. A grant is sent only after the vote is durable.
    VoteReply {
        /// Whether the candidate received the vote.
        granted: bool,
    },
    /// AppendEntries.
    Append(Append),
    /// Answer to an append or to an installed snapshot.
    AppendReply(AppendReply),
    /// Asserts leadership. Sent when there is nothing to append, and to begin a round.
    Heartbeat {
        /// The leader's commit index, but at most the last index up to which the receiver's log is known to match.
        commit: Index,
        /// Round to which an answer belongs; a leader never reuses a round in its term. 0: the message carries only the
        /// commit index and expects no answer.
        round: u64,
    },
    /// Answer to [`Body::Heartbeat`].
    HeartbeatReply {
        /// Round of the heartbeat.
        round: u64,
    },
    /// All bytes of a snapshot have arrived at the receiver. The receiver's driver passes this message to its core,
    /// which decides whether to install the snapshot.
    InstallSnapshot(SnapshotMeta),
    /// A follower asks the leader to confirm a read (Raft thesis §6.4).
    ReadIndex {
        /// ID of the read, chosen by the follower.
        context: ReadContext,
    },
    /// Answer to [`Body::ReadIndex`].
    ReadIndexReply {
        /// ID of the read, chosen by the follower.
        context: ReadContext,
        /// Index that must be applied before the read. `None`: the read could not be confirmed, and the follower may
        /// retry it.
        index: Option<Index>,
    },
    /// A follower forwards proposals to the leader.
    Propose {
        /// Each proposal with the ID that its proposer chose.
        proposals: Vec<(ProposalId, Payload)>,
    },
    /// These proposals did not enter the log and never will. Only the leader that received them may send this, and only
    /// in the term in which they were sent.
    ProposeRefused {
        /// IDs of the refused proposals, as the proposers chose them.
        proposals: Vec<ProposalId>,
        /// Cause of the refusal.
        reason: DropReason,
    },
    /// The leader transfers leadership: the receiver campaigns immediately if its durable log reaches `last` (Raft
    /// thesis §3.10).
    TimeoutNow {
        /// Last entry of the leader's log when it sent this message.
        last: EntryId,
    },
    /// A committed configuration removed the receiver.
    Removed {
        /// Index of the configuration that removed the receiver.
        index: Index,
    },
    /// Space that is left on the sender's volume. A follower sends it to its leader beside each answer to a heartbeat
    /// while less than its reserve is free, and once when this ends.
    Standing(Standing),
}

/// Approximate memory of a message, an entry or a proposal without its payload, in bytes.
const OVERHEAD: usize = 64;

impl Message {
    /// Approximate memory of the message in bytes. Limits of queues count it, so that empty messages count too.
    #[must_use]
    pub fn weight(&self) -> usize {
        let parts = match &self.body {
            Body::Append(append) => append.entries.iter().map(|entry| OVERHEAD + entry.payload.len()).sum(),
            Body::Propose { proposals } => proposals.iter().map(|(_, payload)| OVERHEAD + payload.len()).sum(),
            Body::ProposeRefused { proposals, .. } => size_of_val(&proposals[..]),
            _ => 0,
        };
        OVERHEAD + parts
    }

    /// Returns the notice that the configuration committed at `index` removed the receiver.
    pub(crate) fn removal_notice(term: Term, index: Index) -> Self {
        Self { term, body: Body::Removed { index } }
    }
}

/// AppendEntries (Raft thesis figure 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// Entry just before `entries`.
    pub prev: EntryId,
    /// Consecutive entries after `prev`. A probe may have none.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub commit: Index,
    /// Round to which an answer belongs, as in [`Body::Heartbeat`].
    pub round: u64,
}

/// Answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendReply {
    /// The two logs agree up to `matched`, and the receiver's disk holds that prefix.
    Accepted {
        /// Last index of the durable common prefix; at most the last entry of the append.
        matched: Index,
        /// Round of the append.
        round: u64,
    },
    /// The receiver does not hold `prev`.
    Rejected {
        /// `prev.index` of the refused append.
        prev: Index,
        /// Entry up to which the logs may agree: the receiver's last entry at or before `prev` whose term is at most
        /// `prev.term`. The leader can therefore skip whole terms, as in etcd-io/raft (Raft thesis §3.5).
        hint: EntryId,
        /// Round of the append.
        round: u64,
    },
}

/// Reason why a proposal certainly did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// This member knows no leader.
    NoLeader,
    /// Another member leads now, and the proposal is not in its log.
    LeaderChanged,
    /// A leadership transfer is in progress.
    Transferring,
    /// Too many bytes are proposed and not yet committed.
    Overloaded,
    /// No quorum of voters has enough space for the proposal.
    NoSpace,
}
