//! Owns what happens to a snapshot that another member sends: it becomes durable, then the core is notified. Does not own the
//! connection it comes over or the decision to install it.

use bytes::Bytes;
use raft::{Body, MemberId, Message, SnapshotMeta, Term};
use storage::{SnapshotError, Snapshots, StorageError};

use crate::inbox::InboxRefusal;
use crate::shared::Shared;

/// What a sender claims of its snapshot.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The sender.
    pub from: MemberId,
    /// The sender's term.
    pub term: Term,
    /// What the snapshot contains.
    pub meta: SnapshotMeta,
    /// Bytes of its content.
    pub size_bytes: u64,
    /// CRC-32C of its content.
    pub crc32c: u32,
}

/// Why a snapshot was not kept. Nothing of it is left on the disk unless the error says so.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The disk did not take the snapshot, or what arrived is not what was offered.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The core takes no messages, so no one would ever install or delete the snapshot.
    #[error("the core takes no messages ({0})")]
    NotDelivered(InboxRefusal),
    /// The core takes no messages, and the disk did not let go of the snapshot: the next start deletes it.
    #[error("the core takes no messages, and the received snapshot was not deleted: {0}")]
    NotDiscarded(StorageError),
}

/// Makes the snapshot durable as it arrives, then notifies the core, which decides whether to install it.
///
/// # Errors
/// Returns why the snapshot was not kept. That includes an end before the offered size, and a core that takes no messages.
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
    shared.inbox.messages(from, vec![arrived]).map_err(|refused| match snapshots.discard_received(last) {
        Ok(()) => KeepError::NotDelivered(refused),
        Err(reason) => KeepError::NotDiscarded(reason),
    })
}
