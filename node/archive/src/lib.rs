//! Backups in S3-compatible object storage, and back. Never on the way of a write: it works on an immutable view, or on a
//! blank volume.
//!
//! Owns object names, manifests, checks and the causes of failures. Refuses to own when a backup is due, whose
//! configuration it was, and anything of the driver: plain values in, plain values out. What lies in the bucket is
//! described in `node/docs/archive_layout.md`.

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

pub use backup::{Backup, Done, backup, find};
pub use error::ArchiveError;
pub use probe::probe;
pub use progress::Progress;
pub use restore::{REVISION_BUMP, Restore, Restored, restore};
pub use store::{Access, ObjectStoreConfig, Patience};
