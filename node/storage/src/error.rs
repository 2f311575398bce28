//! Why opening, writing or keeping failed. Owns the words and the latch that makes a disk error final.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use raft::Index;

use crate::codec::EncodeError;
use crate::identity::Identity;

/// Why a directory was not opened. Nothing in it was changed that an earlier start could have acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process works in this directory.
    #[error("{path} is in use by another process: two members must never share a directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// What had been made durable cannot be read any more. Such a member must neither vote nor lead.
    #[error("{damage}: this member must not vote; replace it, so that it gets an empty volume and the cluster's data")]
    Damaged {
        /// Who it is, if that at least can be read.
        identity: Option<Box<Identity>>,
        /// Where and what.
        damage: Damage,
    },
    /// A newer version of this program wrote the directory.
    #[error("{path} has format version {found}, this program reads up to {supported}: start a newer version")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is understood.
        supported: u32,
    },
    /// The file system refused.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// Damage to something that had been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What.
    pub kind: DamageKind,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.path.display(), self.offset, self.kind)
    }
}

/// What is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// Bytes that were durable do not match their checksum.
    #[error("a checksum does not match")]
    Checksum,
    /// Checksums match, but what they cover makes no sense.
    #[error("impossible contents: {0}")]
    Contents(&'static str),
    /// A file that another one names, or that must always be there, is missing.
    #[error("the file is missing")]
    Missing,
    /// The log does not reach back to the snapshot.
    #[error("the log starts at index {first}, but the newest readable snapshot ends at {snapshot}")]
    Gap {
        /// The log's first index.
        first: Index,
        /// Where the snapshot ends.
        snapshot: Index,
    },
    /// The log lacks what the member's own snapshot shows it once had.
    #[error("the log does not hold index {snapshot}, at which this member took a snapshot")]
    LogBehindSnapshot {
        /// Where the snapshot ends.
        snapshot: Index,
    },
    /// Term and vote are older than the log, so votes may be forgotten.
    #[error("term and vote are older than the log")]
    HardStateBehindLog,
    /// There is data without an identity.
    #[error("there is data, but no identity: this volume is not blank")]
    NoIdentity,
    /// A file of another member.
    #[error("the file belongs to another member")]
    Foreign,
}

/// A disk operation that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} {path}: {cause}", path = path.display())]
pub struct Failure {
    /// What was tried.
    pub action: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// The kind of error.
    pub kind: io::ErrorKind,
    /// What the file system said.
    pub cause: String,
}

impl Failure {
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { action, path: path.to_owned(), kind: error.kind(), cause: error.to_string() }
    }
}

/// Why something was not made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A write or sync failed, now or earlier, so nobody knows what is on disk. Every later call answers the same: end the
    /// process; a new start reads what is really there.
    #[error("{0}: the state of the disk is unknown, this process must end")]
    Failed(Failure),
    /// There is no space left. Nothing was written and the log is as it was: try again when there is space.
    #[error("no space left to extend {path}: nothing was written; free space or enlarge the volume", path = path.display())]
    Full {
        /// What could not grow.
        path: PathBuf,
    },
    /// The file system refused something that nothing durable depends on, such as a draft of a snapshot or a read.
    #[error("{0}")]
    Refused(Failure),
    /// The volume is blank, or its member was removed. Nothing was written.
    #[error("this volume belongs to no cluster: it is blank, or its member was removed")]
    NotMember,
    /// The member was removed for ever. Nothing was written.
    #[error("this volume belongs to a removed member: give the member an empty one")]
    Removed,
    /// The volume has an identity already, and not this one. Nothing was written.
    #[error("this member belongs to cluster {cluster} already")]
    AlreadyMember {
        /// Which.
        cluster: crate::identity::ClusterId,
    },
    /// Entries are not consecutive. Nothing was written.
    #[error("entry {found} does not follow {last}")]
    OutOfOrder {
        /// The last entry so far.
        last: Index,
        /// The entry given.
        found: Index,
    },
    /// An entry, configuration or name is larger than the format can say. Nothing was written.
    #[error("too large to be stored: {0}")]
    TooLarge(&'static str),
    /// No received snapshot of that meta is there. Nothing was written.
    #[error("no received snapshot that ends at index {index} is there")]
    NoSnapshot {
        /// Where it was to end.
        index: Index,
    },
}

/// What is done, once, when the disk's state becomes unknown: whatever failed to be made durable, log, snapshot or identity,
/// its process must end, for only a start reads what is really there.
#[derive(Clone)]
pub struct OnFailure(Arc<dyn Fn(&Failure) + Send + Sync>);

impl OnFailure {
    /// Calls this, from whichever thread met the failure.
    pub fn call(end: impl Fn(&Failure) + Send + Sync + 'static) -> Self {
        Self(Arc::new(end))
    }
}

impl Default for OnFailure {
    /// Does nothing: the caller looks at every [`StorageError::Failed`] by itself.
    fn default() -> Self {
        Self::call(|_| {})
    }
}

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

/// The first failure that leaves the disk's state unknown; shared by everything that writes to one directory.
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

    /// Makes a failure final. The first one wins, so that everybody reports the cause and not a consequence.
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

    /// Runs a disk operation whose failure is final.
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

/// Whether an operation failed for want of space, so that it may succeed later.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
