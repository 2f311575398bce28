//! Backups to S3-compatible object storage, and restores from it. Neither delays a write, because a backup reads an
//! immutable view and a restore writes to a blank volume.
//!
//! Owns object names, manifests, checks and the causes of failures. Does not own the schedule of backups, the cluster's
//! configuration, nor any part of the driver: inputs and outputs of this crate are plain values.
//! `node/docs/archive_layout.md` describes the objects in the bucket.

mod layout;
mod manifest;

mod store;

mod backup;
mod upload;

mod download;
mod restore;

mod probe;

mod error;
mod progress;

pub use backup::{Backup, FinishedBackup, backup, find};
pub use error::ArchiveError;
pub use probe::probe;
pub use progress::Progress;
pub use restore::{REVISION_BUMP, Restore, Restored, restore};
pub use store::{Access, ObjectStoreConfig, Timeouts};
