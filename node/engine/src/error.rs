//! Owns why a member refused or could not finish what a caller asked: one enum per operation. Does not own gRPC codes: the API maps
//! them.

use std::io;

use raft::{Index, MemberId};
use storage::SnapshotError;

use crate::status::Phase;

/// Why a command was not committed, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written: no leader was known until the commit timeout.
    #[error("no leader: nothing was written")]
    NoLeader,
    /// Nothing was written: leadership moved, and the new leader did not take the command over.
    #[error("the leader changed: nothing was written")]
    LeaderChanged,
    /// Nothing was written: too many commands wait already.
    #[error("too many requests wait already: nothing was written")]
    Overloaded,
    /// Nothing was written: the command is larger than one log entry may be.
    #[error("the command takes {bytes} bytes, at most {limit} fit one log entry: nothing was written")]
    TooLarge {
        /// Its keys and values.
        bytes: usize,
        /// Possible.
        limit: usize,
    },
    /// Not committed within the commit timeout. The outcome is unknown: it may still happen.
    #[error("not committed in time: the outcome is unknown")]
    TimedOut,
    /// The member stops or has stopped. The outcome is unknown if the command was under way.
    #[error("the member is stopping: the outcome is unknown")]
    Stopping,
    /// Nothing was written: the member serves nobody in this phase.
    #[error("the member serves no cluster ({phase}): nothing was written")]
    NotServing {
        /// What it is instead.
        phase: Phase,
    },
}

/// Why a linearizable read could not be confirmed. Reading is always safe to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader was known until the read timeout.
    #[error("no leader: the read could not be confirmed")]
    NoLeader,
    /// A leader is known but did not confirm the read in time, or this member is behind it.
    #[error("the read could not be confirmed in time")]
    TimedOut,
    /// Too many reads wait already.
    #[error("too many reads wait already")]
    Overloaded,
    /// The member stops.
    #[error("the member is stopping")]
    Stopping,
    /// The member serves nobody in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// What it is instead.
        phase: Phase,
    },
}

/// Why a membership change is not known to be committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The leader refused it; nothing entered the log.
    #[error(transparent)]
    Refused(#[from] raft::ChangeRefusal),
    /// It entered the log at `index` but was not seen to commit in time: read the configuration to learn its outcome.
    #[error("the change at index {index} was not committed in time: its outcome is unknown, read the configuration")]
    Unknown {
        /// Where it stands in this member's log.
        index: Index,
    },
    /// Too many administrative calls wait already; nothing entered the log.
    #[error("too many administrative calls wait already")]
    Overloaded,
    /// The member stops; the outcome is unknown.
    #[error("the member is stopping: the outcome is unknown, read the configuration elsewhere")]
    Stopping,
    /// The member serves nobody in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// What it is instead.
        phase: Phase,
    },
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Nothing was started.
    #[error(transparent)]
    Refused(#[from] raft::TransferRefusal),
    /// Nobody else was seen to lead in time; this member may lead on.
    #[error("no other member was seen to lead in time")]
    TimedOut,
    /// Too many administrative calls wait already.
    #[error("too many administrative calls wait already")]
    Overloaded,
    /// The member stops.
    #[error("the member is stopping")]
    Stopping,
    /// The member serves nobody in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// What it is instead.
        phase: Phase,
    },
}

/// Why the configuration could not be read linearizably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// Ask the leader.
    #[error("this member does not lead; {}", leader.map_or_else(|| "no leader is known".to_owned(), |id| format!("ask {id}")))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<MemberId>,
    },
    /// The read could not be confirmed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a blank member did not take a record. Its disk is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The record does not name this member.
    #[error("the record does not name this member, {member}: nothing was written")]
    NotNamed {
        /// This member.
        member: MemberId,
    },
    /// The member took another record before.
    #[error(
        "the member already took another record, of cluster {cluster}: give it an empty volume to use it elsewhere"
    )]
    AnotherRecord {
        /// Cluster of the record that it holds, in hexadecimal.
        cluster: String,
    },
    /// The member is past being given a record.
    #[error("the member is {phase}: it takes no record")]
    NotBlank {
        /// What it is.
        phase: Phase,
    },
    /// The record contradicts itself.
    #[error("the record cannot be used: {reason}")]
    Invalid {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The disk refused.
    #[error("the record could not be made durable: {reason}")]
    Disk {
        /// What the disk said.
        reason: String,
    },
    /// The member stops.
    #[error("the member is stopping")]
    Stopping,
}

/// Why no snapshot of this member's state was written. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotWriteError {
    /// The disk did not take the snapshot.
    #[error(transparent)]
    Storage(#[from] SnapshotError),
    /// The state could not be put into the form that it has in a snapshot.
    #[error(transparent)]
    Image(#[from] mvcc::image::WriteError),
    /// The last bytes could not be written.
    #[error("the end of the snapshot could not be written: {0}")]
    Flush(#[from] io::Error),
}

/// Why the state in a snapshot could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotLoadError {
    /// The disk did not give the snapshot.
    #[error(transparent)]
    Storage(#[from] SnapshotError),
    /// The content of the snapshot is no state.
    #[error("snapshot at {index}: {source}")]
    Image {
        /// Last entry in the snapshot.
        index: Index,
        /// What is wrong with the content.
        source: mvcc::image::ReadError,
    },
    /// The content is the state at another index than the snapshot claims.
    #[error("the snapshot at {claimed} holds the state at {found}")]
    WrongIndex {
        /// Last entry in the snapshot, as its header says.
        claimed: Index,
        /// Last entry in the content.
        found: Index,
    },
}
