//! Description of a snapshot and the errors of snapshots. Owns these types, which the modules beside it share.

use raft::{Index, SnapshotMeta};

use crate::codec::EncodeError;
use crate::error::{Damage, StorageError};

/// Source of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOrigin {
    /// This member took it of its own state, so its log reaches the snapshot's last entry.
    Taken,
    /// Another member or a backup sent it. It replaces state and log.
    Received,
}

/// A complete snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Last entry, time and configuration that the snapshot covers.
    pub meta: SnapshotMeta,
    /// Length of the payload, bytes.
    pub bytes: u64,
    /// CRC32C of the payload.
    pub crc32c: u32,
    /// Source of the snapshot.
    pub origin: SnapshotOrigin,
}

/// Why a snapshot was not written, received or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed; see [`StorageError`] for what to do.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bytes on disk are not those that were written.
    #[error("{0}: take another snapshot, or replace this member")]
    Damaged(Damage),
    /// The received bytes are not those that the sender offered. They were removed.
    #[error(
        "{bytes} bytes with crc32c {crc32c:08x} were received, {expected_bytes} with {expected_crc32c:08x} were offered"
    )]
    NotAsOffered {
        /// Length of the received payload, bytes.
        bytes: u64,
        /// Checksum of the received payload.
        crc32c: u32,
        /// Length of the offered payload, bytes.
        expected_bytes: u64,
        /// Checksum of the offered payload.
        expected_crc32c: u32,
    },
    /// The snapshot never existed or was removed.
    #[error("there is no snapshot that ends at, or reaches, index {index}")]
    Missing {
        /// Last index of the missing snapshot.
        index: Index,
    },
}

impl From<EncodeError> for SnapshotError {
    fn from(error: EncodeError) -> Self {
        Self::Storage(error.into())
    }
}
