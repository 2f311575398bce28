//! What members say to each other, and what they keep. Owns the shapes; codecs and checks live elsewhere.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{EntryId, Index, MemberId, ProposalId, ReadContext, Term};
use crate::membership::configuration::Configuration;
use crate::output::DropReason;

/// One position of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Term and index.
    pub id: EntryId,
    /// When the leader created it, milliseconds since the Unix epoch; grows strictly along the log.
    pub time_ms: u64,
    /// What it carries.
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// The first entry of every leader's term; commits what came before (Raft thesis §3.6.2).
    Noop,
    /// A batch of client commands, opaque to consensus.
    Normal(Bytes),
    /// The configuration that is in force from this entry on, committed or not (Raft thesis §4.1).
    Configuration(Arc<Configuration>),
    /// Commits and applies like a batch, but carries nothing: a proposer waits behind everything before it.
    Barrier,
}

impl Payload {
    /// Bytes of client data; what the limits count.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Normal(bytes) => bytes.len(),
            Self::Noop | Self::Barrier | Self::Configuration(_) => 0,
        }
    }

    /// Whether it carries no client data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What must survive a restart besides the log (Raft thesis §3.3, figure 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Whom this member voted for in that term.
    pub vote: Option<MemberId>,
}

/// What a snapshot says of the log that it replaces (Raft thesis §5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry that it contains.
    pub last: EntryId,
    /// That entry's time stamp.
    pub time_ms: u64,
    /// The latest configuration at or before `last`.
    pub configuration: Arc<Configuration>,
    /// Index of the entry which that configuration came from.
    pub configuration_index: Index,
}

/// A message between members. The transport adds sender, receiver and cluster, and refuses strangers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's term; for pre-votes the term it would campaign in.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// "Would you vote for me?" Changes nothing at the receiver (Raft thesis §9.6).
    PreVote {
        /// The sender's last entry.
        last: EntryId,
    },
    /// Answer to [`Body::PreVote`]; a grant carries the asked term, a refusal the receiver's own.
    PreVoteReply {
        /// Whether the receiver would.
        granted: bool,
    },
    /// RequestVote (Raft thesis §3.4).
    Vote {
        /// The sender's last entry.
        last: EntryId,
        /// The sitting leader asked for this election, so its recency is no reason to refuse (Raft thesis §3.10).
        transfer: bool,
    },
    /// Answer to [`Body::Vote`]; a grant leaves only after the vote is durable.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// AppendEntries.
    Append(Append),
    /// Answer to an append or an installed snapshot.
    AppendReply(AppendReply),
    /// "I lead": sent when there is nothing to append, and to gather a quorum round.
    Heartbeat {
        /// The leader's commit index, never past what the receiver is known to match.
        commit: Index,
        /// Round that the answer proves leadership for; never reused by a leader in its term. 0: no answer is wanted, this
        /// only tells the commit index.
        round: u64,
    },
    /// Answer to [`Body::Heartbeat`].
    HeartbeatReply {
        /// The round of the heartbeat.
        round: u64,
    },
    /// The whole state up to `meta.last` has arrived at the receiver by the snapshot lane; may it be installed?
    InstallSnapshot(SnapshotMeta),
    /// A follower asks the leader to confirm a read (Raft thesis §6.4).
    ReadIndex {
        /// The asker's own name for it.
        context: ReadContext,
    },
    /// Answer to [`Body::ReadIndex`].
    ReadIndexReply {
        /// As asked.
        context: ReadContext,
        /// Read at or after this index; `None`: the receiver could not confirm it, ask again.
        index: Option<Index>,
    },
    /// A follower hands proposals to the leader.
    Propose {
        /// Each with the name that its proposer knows it by.
        proposals: Vec<(ProposalId, Payload)>,
    },
    /// These proposals did not enter the log and will not. Only the leader that they were sent to, in the term that they
    /// were sent in, may say so.
    ProposeRefused {
        /// The proposer's names for them.
        proposals: Vec<ProposalId>,
        /// Why.
        reason: DropReason,
    },
    /// The leader hands over: campaign at once, if your durable log reaches `last` (Raft thesis §3.10).
    TimeoutNow {
        /// The leader's last entry when it sent this.
        last: EntryId,
    },
    /// The receiver was removed by the configuration committed at `index`.
    Removed {
        /// Where it was removed.
        index: Index,
    },
}

/// AppendEntries (Raft thesis figure 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// The entry just before `entries`.
    pub prev: EntryId,
    /// Consecutive entries after `prev`; may be empty to probe.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub commit: Index,
    /// As in [`Body::Heartbeat`].
    pub round: u64,
}

/// How an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendReply {
    /// The logs agree, durably, up to `matched`.
    Accepted {
        /// Durable shared prefix, never past the message's own last entry.
        matched: Index,
        /// The round of the append.
        round: u64,
    },
    /// The receiver does not hold `prev`.
    Rejected {
        /// The refused `prev.index`.
        prev: Index,
        /// Where the logs may meet: the receiver's last entry at or below `prev` whose term is at most `prev.term`
        /// (conflict index and term; Raft thesis §3.5 "fast backup", etcd-io/raft's both-sides skip).
        hint: EntryId,
        /// The round of the append.
        round: u64,
    },
}
