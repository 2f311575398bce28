//! Description of a snapshot, and errors of snapshots. Owns these types, which the other modules of `snapshot` share.

use raft::{Index, SnapshotMeta};

use crate::codec::EncodeError;
use crate::error::{Damage, Newer, StorageError};

/// Source of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOrigin {
    /// This member took the snapshot of its own state, so the member's log reaches the snapshot's last entry.
    Taken,
    /// The snapshot came from another member or a backup. When installed, it replaces the state and the log.
    Received,
}

/// A complete snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Last entry, time and configuration that the snapshot covers.
    pub meta: SnapshotMeta,
    /// Length of the payload, in bytes.
    pub bytes: u64,
    /// CRC32C of the payload.
    pub crc32c: u32,
    /// Source of the snapshot.
    pub origin: SnapshotOrigin,
}

/// Why a snapshot was not written, received or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed. The variant of [`StorageError`] says what to do.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bytes on disk differ from the bytes that were written.
    #[error("{0}: take another snapshot, or replace this member")]
    Damaged(Damage),
    /// A newer version of this program wrote the snapshot.
    #[error("{0}: start a newer version")]
    TooNew(Newer),
    /// The received bytes differ from the bytes that the sender offered. The received bytes were removed.
    #[error(
        "{bytes} bytes with crc32c {crc32c:08x} were received, {expected_bytes} with {expected_crc32c:08x} were offered"
    )]
    NotAsOffered {
        /// Length of the received payload, in bytes.
        bytes: u64,
        /// Checksum of the received payload.
        crc32c: u32,
        /// Length of the offered payload, in bytes.
        expected_bytes: u64,
        /// Checksum of the offered payload.
        expected_crc32c: u32,
    },
    /// The snapshot does not exist, or was removed.
    #[error("there is no snapshot that ends at, or reaches, index {index}")]
    Missing {
        /// Last index of the requested snapshot. For `Snapshots::open_newest`, the lowest last index that the caller
        /// accepts.
        index: Index,
    },
}

impl From<EncodeError> for SnapshotError {
    fn from(error: EncodeError) -> Self {
        Self::Storage(error.into())
    }
}
