//! Writes a snapshot: first a draft with checksums, then a sync, and only then the final name. Owns a draft until the draft is
//! complete. Dropping an incomplete draft removes its file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use raft::{Index, SnapshotMeta};

use crate::checksum;
use crate::disk::DiskFile;
use crate::error::{Failure, StorageError, is_full};
use crate::snapshot::format::{CHUNK_BYTES, HEADER_ALIGN, Header, Trailer};
use crate::snapshot::info::{SnapshotError, SnapshotInfo, SnapshotOrigin};
use crate::snapshot::{Shared, Snapshots};

/// Number of bytes after which a draft is synced, so that a sync of the log never waits for a whole snapshot.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
struct Draft {
    snapshots: Snapshots,
    meta: SnapshotMeta,
    origin: SnapshotOrigin,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Offset of the next write.
    offset: u64,
    /// Bytes written since the last sync.
    unsynced: u64,
    header_crc: u32,
    /// Payload bytes that are not written yet. Always less than a chunk.
    pending: Vec<u8>,
    payload_bytes: u64,
    payload_crc: u32,
    chunks: Vec<u32>,
    /// True if the file stays when the draft is dropped.
    is_complete: bool,
}

impl Draft {
    fn start(snapshots: Snapshots, meta: SnapshotMeta, origin: SnapshotOrigin) -> Result<Self, SnapshotError> {
        let shared = &snapshots.0;
        shared.latch.check()?;
        let header = Header { member: shared.member, origin, meta: meta.clone() }.encode()?;
        let path = snapshots.draft_path();
        let file = shared.disk.create(&path).map_err(|e| refused(&path, e))?;
        let mut draft = Self {
            meta,
            origin,
            file,
            path,
            offset: 0,
            unsynced: 0,
            header_crc: Header::crc(&header),
            pending: Vec::new(),
            payload_bytes: 0,
            payload_crc: checksum::of(&[]),
            chunks: Vec::new(),
            is_complete: false,
            snapshots,
        };
        debug_assert!(header.len().is_multiple_of(HEADER_ALIGN), "the payload starts where readers expect it");
        draft.put(&header)?;
        Ok(draft)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_at(self.offset, bytes).map_err(|e| refused(&self.path, e))?;
        self.offset += bytes.len() as u64;
        self.snapshots.0.draft_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        self.leave_space_to_the_log()
    }

    /// Gives up a snapshot of this member's own state before it takes the last space from the log, which deletions need.
    fn leave_space_to_the_log(&self) -> Result<(), StorageError> {
        let Shared { disk, dir, floor_bytes, .. } = &*self.snapshots.0;
        let is_short = || disk.space(dir).is_ok_and(|space| space.free_bytes < *floor_bytes);
        if self.origin == SnapshotOrigin::Taken && is_short() {
            return Err(StorageError::Full { path: self.path.clone() });
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.snapshots.0.latch.guard("sync", &self.path, self.file.sync())?;
        self.unsynced = 0;
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        self.snapshots.0.latch.check()?;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == CHUNK_BYTES {
                self.end_chunk()?;
            }
        }
        debug_assert!(self.pending.len() < CHUNK_BYTES, "a full chunk is written at once");
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), StorageError> {
        let chunk = std::mem::take(&mut self.pending);
        debug_assert!(!chunk.is_empty(), "an empty chunk has no place in the payload");
        debug_assert!(
            self.payload_bytes == self.chunks.len() as u64 * CHUNK_BYTES as u64,
            "only the last chunk of a payload is short"
        );
        self.chunks.push(checksum::of(&chunk));
        self.payload_crc = checksum::chained(self.payload_crc, &chunk);
        self.payload_bytes += chunk.len() as u64;
        self.put(&chunk)?;
        self.pending = chunk;
        self.pending.clear();
        Ok(())
    }

    /// Writes the end of the payload and the checksums, and makes the draft durable.
    fn seal(&mut self) -> Result<SnapshotInfo, StorageError> {
        debug_assert!(!self.is_complete, "a draft has one trailer");
        if !self.pending.is_empty() {
            self.end_chunk()?;
        }
        let trailer = Trailer {
            payload_bytes: self.payload_bytes,
            chunk_bytes: CHUNK_BYTES as u32,
            payload_crc: self.payload_crc,
            header_crc: self.header_crc,
            chunks: std::mem::take(&mut self.chunks),
        };
        self.put(&trailer.encode())?;
        self.sync()?;
        Ok(SnapshotInfo {
            meta: self.meta.clone(),
            bytes: self.payload_bytes,
            crc32c: self.payload_crc,
            origin: self.origin,
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.snapshots.0.draft_bytes.fetch_sub(self.offset, Ordering::Relaxed);
        if !self.is_complete {
            // The error is ignored, because the next start removes all drafts.
            let _ = self.snapshots.0.disk.remove(&self.path);
        }
    }
}

/// Error of a write to a draft. The error is not final, because nothing durable depends on a draft.
fn refused(path: &Path, error: io::Error) -> StorageError {
    if is_full(&error) {
        StorageError::Full { path: path.to_owned() }
    } else {
        StorageError::Refused(Failure::of("write", path)(error))
    }
}

/// Writes a snapshot of the member's own state. If the writer is dropped before [`SnapshotWriter::finish`], no snapshot is left.
#[derive(Debug)]
pub struct SnapshotWriter(Draft);

impl Snapshots {
    /// Starts to write a snapshot of this member's own state.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the draft could not be created. Nothing was written.
    pub fn begin(&self, meta: SnapshotMeta) -> Result<SnapshotWriter, SnapshotError> {
        debug_assert!(meta.last.index > Index(0), "a snapshot covers at least one entry");
        debug_assert!(meta.configuration_index <= meta.last.index, "a snapshot covers the entry of its configuration");
        Draft::start(self.clone(), meta, SnapshotOrigin::Taken).map(SnapshotWriter)
    }

    /// Starts to receive a snapshot from another member or from a backup.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the draft could not be created. Nothing was written.
    pub fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, SnapshotError> {
        Draft::start(self.clone(), meta, SnapshotOrigin::Received).map(SnapshotReceiver)
    }
}

impl SnapshotWriter {
    /// Appends to the payload.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if a write failed. Discard the draft then; the member's state is unchanged.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        Ok(self.0.write(bytes)?)
    }

    /// Makes the snapshot durable under its final name. Removes the oldest snapshots beyond the number to keep.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the snapshot was not made durable. The draft was removed.
    pub fn finish(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let info = self.0.seal()?;
        self.0.snapshots.publish(&self.0.path, &info)?;
        self.0.is_complete = true;
        Ok(info)
    }
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Receives a snapshot. If the receiver is dropped before [`SnapshotReceiver::finish`], no snapshot is left.
#[derive(Debug)]
pub struct SnapshotReceiver(Draft);

impl SnapshotReceiver {
    /// Appends to the payload.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if a write failed. Discard the draft then; the member's state is unchanged.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        Ok(self.0.write(bytes)?)
    }

    /// Number of payload bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.payload_bytes + self.0.pending.len() as u64
    }

    /// Compares the payload with the sender's offer and makes it durable. The snapshot then waits until it is installed
    /// ([`crate::Storage::install_snapshot`]) or starts a new member ([`crate::Start::Snapshot`]).
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the payload differs from the offer or was not made durable. The draft was removed.
    pub fn finish(mut self, expected_bytes: u64, expected_crc32c: u32) -> Result<SnapshotInfo, SnapshotError> {
        let info = self.0.seal()?;
        if (info.bytes, info.crc32c) != (expected_bytes, expected_crc32c) {
            let (bytes, crc32c) = (info.bytes, info.crc32c);
            return Err(SnapshotError::NotAsOffered { bytes, crc32c, expected_bytes, expected_crc32c });
        }
        Ok(self.keep(info))
    }

    /// Does the same as [`Self::finish`], for a payload that the caller has verified by other means.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the payload was not made durable. The draft was removed.
    pub fn finish_verified(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let info = self.0.seal()?;
        Ok(self.keep(info))
    }

    fn keep(&mut self, info: SnapshotInfo) -> SnapshotInfo {
        self.0.is_complete = true;
        let mut state = self.0.snapshots.state();
        state.received.push((info.clone(), self.0.path.clone()));
        info
    }
}

impl io::Write for SnapshotReceiver {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
