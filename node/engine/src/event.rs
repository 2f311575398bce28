//! Owns the complete list of events that can wake the core's thread. Does not own the queue of events (`inbox.rs`) or the
//! reaction to an event (`driver/run.rs`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use mvcc::FeatureLevel;
use raft::{
    Change, Configuration, Entry, Index, IoId, MemberId, Message, ProposalId, RemovalVerdict, Term, Unreadable,
};
use storage::MemberSpace;
use tokio::sync::oneshot;

use crate::error::{ChangeError, RaiseError, SnapshotWriteError, TransferError};
use crate::log_reads::{LeaderLog, LogReply};
use crate::propose::admission::Proposal;
use crate::published::Published;
use crate::reply::ReadWaiter;

/// An event for the core.
#[derive(Debug)]
pub(crate) enum Event {
    /// Every write up to `IoId` is durable.
    Persisted(IoId),
    /// A view was published. It contains the effects of all entries up to its index.
    Applied(Arc<Published>),
    /// Messages from other members.
    Messages(Vec<(MemberId, Message)>),
    /// These proposals certainly never left this member.
    NotSent(Vec<ProposalId>),
    /// The connections to these members broke.
    Unreachable(Vec<MemberId>),
    /// The snapshot transfer with this number ended.
    SnapshotSent { to: MemberId, number: u64, arrived: Result<(), ()> },
    /// Entries for a member that lags were read from the log on disk, from the index on, or cannot be read.
    LogRead { to: MemberId, from: Index, read: Result<Vec<Entry>, Unreadable> },
    /// The writing of a snapshot of this member's state has ended. The value is the index of the durable snapshot, or
    /// the reason why no snapshot was written.
    SnapshotWritten(Result<Index, SnapshotWriteError>),
    /// The durable snapshot that ends at this index cannot be read.
    SnapshotUnreadable(Index),
    /// The volume was measured, or cannot be measured.
    Space(io::Result<MemberSpace>),
    /// What the other voters say of this member's removal.
    RemovalVerified(RemovalVerdict),
    /// Linearizable reads that wait for a quorum round.
    Reads(Vec<ReadWaiter>),
    /// Commands that wait to be proposed in an entry.
    Proposals(Vec<Proposal>),
    /// An administrative call.
    Control(Control),
    /// The core's deadline has passed.
    Deadline,
    /// The member stops: the core must end.
    Stop,
}

/// An administrative call that the core itself answers.
#[derive(Debug)]
pub(crate) enum Control {
    /// Change membership. The answer follows once the entry is committed. `supports` holds the feature levels that new
    /// members have said they support.
    Change {
        change: Change,
        supports: BTreeMap<MemberId, FeatureLevel>,
        reply: oneshot::Sender<Result<Index, ChangeError>>,
    },
    /// Raise the feature level, to the highest one that all members support if `to` is `None`. The answer follows once
    /// the raise is applied.
    RaiseLevel { to: Option<FeatureLevel>, reply: oneshot::Sender<Result<FeatureLevel, RaiseError>> },
    /// Transfer leadership. The answer follows once another member leads.
    Transfer { target: Option<MemberId>, reply: oneshot::Sender<Result<MemberId, TransferError>> },
    /// Return the committed configuration and the configuration in force (leader only).
    Configuration { reply: oneshot::Sender<Result<Configurations, Option<MemberId>>> },
    /// Return the term and the last entry of this member's log, and the bytes of the entries after this index (leader only).
    LeaderLog { after: Index, reply: oneshot::Sender<Result<LeaderLog, Option<MemberId>>> },
    /// Read durable entries from one index to another, as long as their payloads fit into `bytes`.
    ReadLog { from: Index, through: Index, bytes: usize, reply: LogReply },
}

/// The configurations that a leader knows.
#[derive(Clone, Debug)]
pub struct Configurations {
    /// The latest committed configuration and the index of its entry.
    pub committed: (Arc<Configuration>, Index),
    /// The configuration in force, committed or not, and the index of its entry.
    pub in_force: (Arc<Configuration>, Index),
    /// The leader's term.
    pub term: Term,
}
