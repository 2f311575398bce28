//! Bytes that survive: log, term and vote, identity, snapshots, and the binary form of what they hold.
//!
//! Owns formats, checksums and the order of writes and syncs. Every byte passes a [`Disk`], so that the same code runs on
//! files ([`FileDisk`]) and, in tests, on a disk that loses, tears and damages bytes on purpose (crate `memory-disk`). Does
//! not own threads, clocks, randomness (IDs and salts come in through [`Options`]) or any decision of the protocol.

mod checksum;
pub mod codec;
pub mod disk;
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the one module that implements Disk on files")]
pub mod file;

pub mod identity;

pub mod error;

mod replace;

mod hard_state;
mod identity_file;
pub mod snapshot;
mod wal;

pub mod storage;

pub use disk::{Disk, DiskFile};
pub use error::{Damage, DamageKind, Failure, OnFailure, OpenError, StorageError};
pub use file::FileDisk;
pub use identity::{ClusterId, ClusterIdentity, Identity};
pub use snapshot::{
    SnapshotError, SnapshotInfo, SnapshotOrigin, SnapshotReader, SnapshotReceiver, SnapshotWriter, Snapshots,
};
pub use storage::{Options, Recovered, Start, Storage};
