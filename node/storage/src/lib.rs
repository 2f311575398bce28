//! Bytes that survive: log, term and vote, identity, snapshots, and the binary form of what they hold.
//!
//! Owns formats, checksums and the order of writes and syncs; every byte passes a [`Disk`], so that the same code runs on
//! files ([`FileDisk`]) and on a disk that loses, tears and rots on purpose ([`memory::MemoryDisk`]). Refuses to own
//! threads, clocks, randomness (IDs and salts come in through [`Options`]) and any decision of the protocol.

mod checksum;
pub mod codec;
pub mod disk;
pub mod file;

pub mod error;

mod replace;

mod hard_state;
pub mod identity;
pub mod snapshot;
mod wal;

pub mod storage;

pub use disk::{Disk, DiskFile};
pub use error::{Damage, DamageKind, Failure, OnFailure, OpenError, StorageError};
pub use file::FileDisk;
pub use identity::{ClusterId, ClusterRecord, Identity};
pub use snapshot::{Origin, SnapshotError, SnapshotInfo, SnapshotReader, SnapshotReceiver, SnapshotWriter, Snapshots};
pub use storage::{Options, Recovered, Start, Storage};
