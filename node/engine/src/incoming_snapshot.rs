//! Owns the reception of a snapshot from another member: makes the snapshot durable, then notifies the core. Does not own the
//! connection (the program) or the decision to install the snapshot (`raft`).

use bytes::Bytes;
use raft::{Body, MemberId, Message, SnapshotMeta, Term};
use storage::{SnapshotError, Snapshots, StorageError};

use crate::inbox::InboxRefusal;
use crate::shared::Shared;

/// A snapshot as its sender describes it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Member that sends the snapshot.
    pub from: MemberId,
    /// The sender's term.
    pub term: Term,
    /// Metadata of the snapshot.
    pub meta: SnapshotMeta,
    /// Size of the content in bytes.
    pub size_bytes: u64,
    /// CRC-32C of the content.
    pub crc32c: u32,
}

/// Why a received snapshot was not kept. After [`KeepError::NotDiscarded`] the snapshot is still on the disk; after any
/// other error no part of the snapshot is left.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The snapshot could not be written, or its content does not match the offer.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The core could not be notified. The snapshot was deleted, because a core that is not notified never installs or
    /// deletes the snapshot.
    #[error("the core cannot be notified of the snapshot: {0}")]
    NotDelivered(InboxRefusal),
    /// The core could not be notified, and the snapshot could not be deleted. The member's next start deletes the snapshot.
    #[error("the core cannot be notified of the received snapshot, and the snapshot cannot be deleted: {0}")]
    NotDiscarded(StorageError),
}

/// Writes the snapshot to the disk while it arrives and makes it durable, then notifies the core, which decides whether to
/// install the snapshot.
///
/// # Errors
/// Returns why the snapshot was not kept, for instance because it is shorter than offered or the core does not run.
pub fn keep(
    snapshots: &Snapshots,
    shared: &Shared,
    offered: Offered,
    received: impl Iterator<Item = Bytes>,
) -> Result<(), KeepError> {
    let Offered { from, term, meta, size_bytes, crc32c } = offered;
    let last = meta.last;
    let mut receiver = snapshots.receive(meta.clone())?;
    for bytes in received {
        receiver.write(&bytes)?;
    }
    receiver.finish(size_bytes, crc32c)?;
    let arrived = Message { term, body: Body::InstallSnapshot(meta) };
    shared.inbox.messages(from, true, vec![arrived]).map_err(|refused| match snapshots.discard_received(last) {
        Ok(()) => KeepError::NotDelivered(refused),
        Err(reason) => KeepError::NotDiscarded(reason),
    })
}
