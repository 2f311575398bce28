//! Durable data of a member: log, term and vote, identity and snapshots, and the binary form of their contents.
//!
//! Owns formats, checksums and the order of writes and syncs. Every byte is read and written through a [`Disk`], so that the same
//! code runs on files ([`FileDisk`]) and, in tests, on a disk that loses, tears and damages bytes on purpose (crate
//! `memory-disk`). Does not own threads, clocks, randomness (the caller passes IDs and salts in [`Options`]) or any decision of
//! the protocol.

mod checksum;
pub mod codec;
pub mod disk;
pub mod entries;
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the one module that implements Disk on files")]
pub mod file;

pub mod identity;

pub mod error;

mod replace;

mod hard_state;
mod identity_file;
pub mod isolation;
pub mod snapshot;
mod wal;

pub mod storage;

pub use disk::{Disk, DiskFile, DiskReader, VolumeSpace};
pub use error::{Damage, DamageKind, Failure, Newer, OnFailure, OpenError, StorageError};
pub use file::FileDisk;
pub use identity::{ClusterId, ClusterIdentity, Identity};
pub use snapshot::{
    SnapshotError, SnapshotInfo, SnapshotOrigin, SnapshotReader, SnapshotReceiver, SnapshotWriter, Snapshots,
};
pub use storage::repair::LogRepair;
pub use storage::{MemberSpace, Options, Recovered, Start, Storage};
pub use wal::append::BATCH_BYTES;
pub use wal::format::LogFormat;
pub use wal::outline::LogOutline;
pub use wal::read::ReadFault;
