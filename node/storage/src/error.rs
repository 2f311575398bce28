//! Errors of opening, writing and reading a directory. Owns the messages of the errors, and the latch that makes a disk error
//! final.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use raft::Index;

use crate::codec::{DecodeError, EncodeError};
use crate::identity::{ClusterId, Identity};

/// The reason why a directory was not opened. The failed start changed no data that an earlier run may have
/// acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock of the directory.
    #[error("{path} is in use by another process: two members must never share a directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes that were durable cannot be read any more. A member with this error must neither vote nor lead.
    #[error("{damage}: this member must not vote; replace it, so that it gets an empty volume and the cluster's data")]
    Damaged {
        /// Identity of the member, if the file `identity` is readable.
        identity: Option<Box<Identity>>,
        /// Place and kind of the damage.
        damage: Damage,
    },
    /// A newer version of this program wrote the directory. Nothing is damaged.
    #[error("{newer}: start a newer version")]
    TooNew {
        /// Identity of the member, if this program reads the file `identity`.
        identity: Option<Box<Identity>>,
        /// What this program does not know.
        newer: Newer,
    },
    /// The file system failed.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// A value that only a newer version of this program knows. The checksum of its bytes matches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} holds {what} {found}, which this version does not know", path = path.display())]
pub struct Newer {
    /// The file.
    pub path: PathBuf,
    /// Name of the field.
    pub what: &'static str,
    /// Value of the field.
    pub found: u32,
}

impl Newer {
    /// The error of a start that found this value, before the identity is known.
    pub(crate) fn at_start(path: &Path, what: &'static str, found: u32) -> OpenError {
        OpenError::TooNew { identity: None, newer: Newer { path: path.to_owned(), what, found } }
    }
}

/// Damage to bytes that were durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file or directory.
    pub path: PathBuf,
    /// Offset of the damage in the file, in bytes.
    pub offset: u64,
    /// Kind of damage.
    pub kind: DamageKind,
}

impl DamageKind {
    /// The kind for bytes that match their checksum and are not the value that `what` names.
    pub(crate) fn undecodable(what: &'static str, reason: DecodeError) -> Self {
        match reason {
            DecodeError::Unknown { what, found } => Self::Newer { what, found },
            DecodeError::Truncated | DecodeError::Trailing(_) | DecodeError::Malformed(_) => Self::Contents(what),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.path.display(), self.offset, self.kind)
    }
}

/// A kind of damage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// Bytes do not match their checksum.
    #[error("a checksum does not match")]
    Checksum,
    /// Bytes match their checksum, but no writer writes such bytes.
    #[error("impossible contents: {0}")]
    Contents(&'static str),
    /// Bytes match their checksum, and hold a value that only a newer version of this program knows. A start reports it
    /// as [`OpenError::TooNew`].
    #[error("{what} {found} is not known to this version")]
    Newer {
        /// Name of the field.
        what: &'static str,
        /// Value of the field.
        found: u8,
    },
    /// A file is missing. It must exist, because every member has it or another file refers to it.
    #[error("the file is missing")]
    Missing,
    /// Entries between the snapshot's end and the first entry of the log are missing.
    #[error("the log starts at index {first}, but the newest readable snapshot ends at {snapshot}")]
    Gap {
        /// First index of the log.
        first: Index,
        /// Last index that the snapshot covers.
        snapshot: Index,
    },
    /// The log ends before the last entry that the member's own snapshot covers, so entries were lost.
    #[error("the log does not hold index {snapshot}, at which this member took a snapshot")]
    LogEndsBeforeSnapshot {
        /// Last index that the snapshot covers.
        snapshot: Index,
    },
    /// The durable term is older than the term of an entry in the log, so a vote may have been lost.
    #[error("term and vote are older than the log")]
    HardStateOlderThanLog,
    /// The directory holds data but no identity.
    #[error("the directory holds data but no identity, so it is not blank")]
    NoIdentity,
    /// The member was isolated ([`crate::isolation::isolate`]). Its files are whole.
    #[error("{reason}")]
    Isolated {
        /// Why the member was isolated.
        reason: String,
    },
    /// The file was written by another member.
    #[error("the file belongs to another member")]
    Foreign,
}

/// A disk operation that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} {path}: {cause}", path = path.display())]
pub struct Failure {
    /// Verb that names the operation.
    pub action: &'static str,
    /// File or directory of the operation.
    pub path: PathBuf,
    /// Kind of error, as the file system reports it.
    pub kind: io::ErrorKind,
    /// Message of the file system.
    pub cause: String,
}

impl Failure {
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { action, path: path.to_owned(), kind: error.kind(), cause: error.to_string() }
    }
}

/// Why a write was not made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// A write or sync failed, now or earlier, so the contents of the disk are unknown. Every later call returns the same error.
    /// The process must end, because only a new start reads the true contents of the disk.
    #[error("{0}: the state of the disk is unknown, this process must end")]
    Failed(Failure),
    /// No space is left. A new term and vote and the first of the entries may be durable already. The caller can try again
    /// when there is space.
    #[error("no space left to extend {path}: free space or enlarge the volume", path = path.display())]
    Full {
        /// File that could not grow.
        path: PathBuf,
    },
    /// The file system failed in an operation on which nothing durable depends, such as a read or a write to a draft.
    #[error("{0}")]
    Refused(Failure),
    /// The volume is blank, or its member was removed. Nothing was written.
    #[error("this volume belongs to no cluster: it is blank, or its member was removed")]
    NotMember,
    /// The member was removed permanently. Nothing was written.
    #[error("this volume belongs to a removed member: start the member on an empty volume")]
    Removed,
    /// The volume belongs to a member of another cluster. Nothing was written.
    #[error("this member already belongs to cluster {cluster}")]
    AlreadyMember {
        /// Cluster that the volume belongs to.
        cluster: ClusterId,
    },
    /// Entries are not consecutive. The log is unchanged, but a new term and vote may be durable already.
    #[error("entry {found} does not follow {last}")]
    OutOfOrder {
        /// Index of the last entry before the refused entry.
        last: Index,
        /// Index of the refused entry.
        found: Index,
    },
    /// An entry, configuration or name exceeds a limit of the format. A new term and vote and the entries before it may be
    /// durable already.
    #[error("too large to be stored: {0}")]
    TooLarge(&'static str),
    /// There is no received snapshot with the requested last entry. Nothing was written.
    #[error("there is no received snapshot that ends at index {index}")]
    NoSnapshot {
        /// Last index of the missing snapshot.
        index: Index,
    },
}

/// Callback that is called once, when the contents of the disk become unknown. The process must then end, no matter which write
/// failed, because only a new start reads the true contents of the disk.
#[derive(Clone)]
pub struct OnFailure(Arc<dyn Fn(&Failure) + Send + Sync>);

impl OnFailure {
    /// Creates a callback that calls `end` on the thread whose write failed.
    pub fn call(end: impl Fn(&Failure) + Send + Sync + 'static) -> Self {
        Self(Arc::new(end))
    }
}

impl Default for OnFailure {
    /// A callback that does nothing, for callers that themselves end the process on [`StorageError::Failed`].
    fn default() -> Self {
        Self::call(|_| {})
    }
}

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

/// The first failure that made the contents of the disk unknown. All writers to one directory share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch {
    failure: Arc<OnceLock<Failure>>,
    on_failure: OnFailure,
}

impl Latch {
    pub(crate) fn new(on_failure: OnFailure) -> Self {
        Self { failure: Arc::default(), on_failure }
    }

    pub(crate) fn check(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            Some(failure) => Err(StorageError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    /// Records a failure as final, unless an earlier failure is recorded. Returns the recorded failure, so that every caller
    /// reports the cause and not a consequence.
    pub(crate) fn set(&self, failure: Failure) -> StorageError {
        let mut is_first = false;
        let first = self.failure.get_or_init(|| {
            is_first = true;
            failure
        });
        if is_first {
            (self.on_failure.0)(first);
        }
        StorageError::Failed(first.clone())
    }

    /// Passes on the result of a disk operation. A failure is recorded as final.
    pub(crate) fn guard<T>(&self, action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, StorageError> {
        result.map_err(|e| self.set(Failure::of(action, path)(e)))
    }
}

impl From<EncodeError> for StorageError {
    fn from(error: EncodeError) -> Self {
        let EncodeError::TooLarge(what) = error;
        Self::TooLarge(what)
    }
}

/// Returns whether an operation failed because no space was left. Such an operation may succeed later.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
