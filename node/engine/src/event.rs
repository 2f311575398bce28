//! Everything that can wake the core's thread, in one closed list. Owns no queue (`inbox`) and no reaction (`run`).

use std::sync::Arc;

use raft::{Change, Configuration, Index, IoId, MemberId, Message, Term};
use tokio::sync::oneshot;

use crate::error::{ChangeError, SnapshotWriteError, TransferError};
use crate::propose::admission::Proposal;
use crate::published::Published;
use crate::reply::ReadWaiter;

/// Something that happened, for the core to hear of.
#[derive(Debug)]
pub(crate) enum Event {
    /// Everything up to `IoId` is durable.
    Persisted(IoId),
    /// A view was published; it holds everything up to its index.
    Applied(Arc<Published>),
    /// Members said something.
    Messages(Vec<(MemberId, Message)>),
    /// Connections to these members broke.
    Unreachable(Vec<MemberId>),
    /// The snapshot transfer of this number ended.
    SnapshotSent { to: MemberId, number: u64, arrived: Result<(), ()> },
    /// A snapshot of the state at this index is durable, or the reason why none is.
    SnapshotWritten(Result<Index, SnapshotWriteError>),
    /// Linearizable reads wait for a round.
    Reads(Vec<ReadWaiter>),
    /// Commands wait for an entry.
    Proposals(Vec<Proposal>),
    /// A door asks.
    Control(Control),
    /// The deadline that the core asked for has passed.
    Deadline,
    /// The inbox was closed: finish.
    Stop,
}

/// What the doors ask of the core itself.
#[derive(Debug)]
pub(crate) enum Control {
    /// Change membership; answered when the entry is committed.
    Change { change: Change, reply: oneshot::Sender<Result<Index, ChangeError>> },
    /// Hand leadership over; answered when another member leads.
    Transfer { target: Option<MemberId>, reply: oneshot::Sender<Result<MemberId, TransferError>> },
    /// Both configurations, from the leader.
    Configuration { reply: oneshot::Sender<Result<Configurations, Option<MemberId>>> },
}

/// The configurations that a leader knows.
#[derive(Clone, Debug)]
pub struct Configurations {
    /// The one that is committed, and the index of its entry.
    pub committed: (Arc<Configuration>, Index),
    /// The one in force, committed or not, and the index of its entry.
    pub in_force: (Arc<Configuration>, Index),
    /// The leader's term.
    pub term: Term,
}
