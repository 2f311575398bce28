//! Owns the reasons why a member refused or could not finish a call: one enum per operation. Does not own gRPC codes: the API
//! maps each reason to a code.

use std::io;

use mvcc::FeatureLevel;
use raft::{Index, MemberId};
use storage::SnapshotError;

use crate::status::Phase;

/// Reason why a proposed command has no known result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written: the commit timeout passed, and this member knew no leader at that time.
    #[error("no leader: nothing was written")]
    NoLeader,
    /// Nothing was written: the leader changed, and the command is not in the new leader's log.
    #[error("the leader changed: nothing was written")]
    LeaderChanged,
    /// Nothing was written: too many commands are waiting.
    #[error("too many requests are waiting: nothing was written")]
    Overloaded,
    /// Nothing was written: no quorum of voters has enough space on its volumes.
    #[error("no quorum of voters has enough disk space: nothing was written")]
    NoSpace,
    /// Nothing was written: the command is larger than the limit for one command.
    #[error("the command takes {bytes} bytes, but at most {limit} fit into one log entry: nothing was written")]
    TooLarge {
        /// Size of the command in bytes, as the quota counts it.
        bytes: usize,
        /// Maximum size of a command in bytes.
        limit: usize,
    },
    /// The command was not committed within the commit timeout. The outcome is unknown: the command may still be applied.
    #[error("not committed in time: the outcome is unknown")]
    TimedOut,
    /// The member is stopping or has stopped. If the command was already proposed, its outcome is unknown.
    #[error("the member is stopping: the outcome is unknown")]
    Stopping,
    /// Nothing was written: the member serves no clients in this phase.
    #[error("the member serves no cluster ({phase}): nothing was written")]
    NotServing {
        /// The member's phase.
        phase: Phase,
    },
}

/// Why a linearizable read could not be confirmed. A read can always be retried safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The read timeout passed, and this member knew no leader at that time.
    #[error("no leader: the read could not be confirmed")]
    NoLeader,
    /// A leader is known but did not confirm the read in time, or this member did not apply the confirmed index in time.
    #[error("the read could not be confirmed in time")]
    TimedOut,
    /// Too many reads are waiting.
    #[error("too many reads are waiting")]
    Overloaded,
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopping,
    /// The member serves no clients in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// The member's phase.
        phase: Phase,
    },
}

/// Reason why a membership change has no known result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The leader refused the change; nothing entered the log.
    #[error(transparent)]
    Refused(#[from] raft::ChangeRefusal),
    /// A member that the change adds runs a program that does not support the cluster's feature level; nothing entered
    /// the log.
    #[error(
        "{name} ({member}) supports feature level {supports}, and the cluster is at {level}: \
         start a newer version of it"
    )]
    TooOld {
        /// The member.
        member: MemberId,
        /// Name of the member.
        name: String,
        /// Highest level that the member supports.
        supports: FeatureLevel,
        /// Level of the cluster.
        level: FeatureLevel,
    },
    /// The change entered the log at `index` but did not commit in time. Read the configuration to learn the outcome.
    #[error("the change at index {index} was not committed in time: its outcome is unknown, read the configuration")]
    Unknown {
        /// Index of the change in this member's log.
        index: Index,
    },
    /// Too many administrative calls are waiting; nothing entered the log.
    #[error("too many administrative calls are waiting")]
    Overloaded,
    /// The member is stopping; the outcome is unknown.
    #[error("the member is stopping: the outcome is unknown, read the configuration from another member")]
    Stopping,
    /// The member serves no clients in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// The member's phase.
        phase: Phase,
    },
}

/// Why the feature level was not raised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaiseError {
    /// This member does not lead. The caller must call the leader.
    #[error(
        "this member does not lead; {}",
        leader.map_or_else(|| "no leader is known".to_owned(), |id| format!("ask {id}"))
    )]
    NotLeader {
        /// The leader, if known.
        leader: Option<MemberId>,
    },
    /// This leader has not applied an entry of its term yet, so that it may not know the level that a predecessor
    /// raised.
    #[error("the leader has applied nothing of its own term yet: try again in a moment")]
    TermNotCommitted,
    /// A membership change or another raise is in progress.
    #[error("a change of the members or another raise of the level is not finished yet")]
    InFlight,
    /// This program does not support the level.
    #[error("this program supports feature level {supports}, not {to}: start a newer version")]
    TooOld {
        /// Highest level that this program supports.
        supports: FeatureLevel,
        /// The level that was asked for.
        to: FeatureLevel,
    },
    /// A member of the configuration does not support the level, or does not say that it does.
    #[error("{name} ({member}) {}", supports.map_or_else(
        || "is not connected, so that it is not known what it supports: wait for it, or remove it".to_owned(),
        |level| format!("supports only feature level {level}: start a newer version of it"),
    ))]
    LevelHeld {
        /// The member that holds the level.
        member: MemberId,
        /// Name of the member.
        name: String,
        /// Highest level that the member supports, if it is known.
        supports: Option<FeatureLevel>,
    },
    /// The core refused the proposal; nothing entered the log.
    #[error(transparent)]
    Refused(#[from] raft::ProposeRefusal),
    /// The raise entered the log but was not applied in time. It may still be applied.
    #[error("the raise was not applied in time: its outcome is unknown, read the level")]
    Unknown,
    /// Too many administrative calls are waiting; nothing entered the log.
    #[error("too many administrative calls are waiting")]
    Overloaded,
    /// The member is stopping; the outcome is unknown.
    #[error("the member is stopping: the outcome is unknown, read the level from another member")]
    Stopping,
    /// The member serves no clients in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// The member's phase.
        phase: Phase,
    },
}

/// Why leadership was not transferred.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The transfer was refused; nothing was started.
    #[error(transparent)]
    Refused(#[from] raft::TransferRefusal),
    /// This member did not learn of another leader in time. This member may still be the leader.
    #[error("no other member was seen to lead in time")]
    TimedOut,
    /// Too many administrative calls are waiting.
    #[error("too many administrative calls are waiting")]
    Overloaded,
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopping,
    /// The member serves no clients in this phase.
    #[error("the member serves no cluster ({phase})")]
    NotServing {
        /// The member's phase.
        phase: Phase,
    },
}

/// Why the configuration could not be read linearizably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// This member does not lead. The caller must call the leader.
    #[error("this member does not lead; {}", leader.map_or_else(|| "no leader is known".to_owned(), |id| format!("ask {id}")))]
    NotLeader {
        /// The leader, if known.
        leader: Option<MemberId>,
    },
    /// The read could not be confirmed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a blank member did not accept a cluster identity. The member's disk is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The request does not name this member.
    #[error("the request does not name this member, {member}: nothing was written")]
    NotNamed {
        /// This member.
        member: MemberId,
    },
    /// The member already has another cluster identity.
    #[error(
        "the member already has another cluster identity, of cluster {cluster}: give it an empty volume to use it elsewhere"
    )]
    AnotherIdentity {
        /// ID of the member's cluster, in hexadecimal.
        cluster: String,
    },
    /// The member is not blank.
    #[error("the member is {phase}: only a blank member can get a cluster identity")]
    NotBlank {
        /// The member's phase.
        phase: Phase,
    },
    /// The program does not support the cluster's feature level.
    #[error("this program supports feature level {supports}, and the cluster is at {level}: start a newer version")]
    TooOld {
        /// Highest level that this program supports.
        supports: FeatureLevel,
        /// Level of the cluster.
        level: FeatureLevel,
    },
    /// The request contradicts itself.
    #[error("the request cannot be used: {reason}")]
    Invalid {
        /// Message for people: the contradiction, and what is required instead.
        reason: String,
    },
    /// The identity could not be written to the disk.
    #[error("the cluster identity could not be made durable: {reason}")]
    Disk {
        /// The disk's error.
        reason: String,
    },
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopping,
}

/// Why no snapshot of this member's state was written. The log is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotWriteError {
    /// The snapshot could not be written to the disk.
    #[error(transparent)]
    Storage(#[from] SnapshotError),
    /// The state could not be encoded as an image.
    #[error(transparent)]
    Image(#[from] mvcc::image::WriteError),
    /// The buffered end of the image could not be written.
    #[error("the end of the snapshot could not be written: {0}")]
    Flush(#[from] io::Error),
}

/// Why the state in a snapshot could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotLoadError {
    /// The snapshot could not be read from the disk.
    #[error(transparent)]
    Storage(#[from] SnapshotError),
    /// The content of the snapshot is not a valid image.
    #[error("snapshot at {index}: {source}")]
    Image {
        /// Index of the last entry in the snapshot.
        index: Index,
        /// Error in the content.
        source: mvcc::image::ReadError,
    },
    /// The state has a feature level that this program does not support.
    #[error(
        "the snapshot at {index} has feature level {level}, this program supports {supports}: start a newer version"
    )]
    TooNew {
        /// Index of the last entry in the snapshot.
        index: Index,
        /// Level of the state.
        level: FeatureLevel,
        /// Highest level that this program supports.
        supports: FeatureLevel,
    },
    /// The content of the snapshot is the state at a different index than the header of the snapshot says.
    #[error("the snapshot at {claimed} holds the state at {found}")]
    WrongIndex {
        /// Index of the last entry, according to the snapshot's header.
        claimed: Index,
        /// Index of the last entry, according to the content.
        found: Index,
    },
}

impl SnapshotLoadError {
    /// Returns whether a newer program wrote the snapshot. Otherwise it is damaged or cannot be read.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            Self::Storage(source) => matches!(source, SnapshotError::TooNew(_)),
            Self::Image { source, .. } => source.is_newer(),
            Self::TooNew { .. } => true,
            Self::WrongIndex { .. } => false,
        }
    }
}
