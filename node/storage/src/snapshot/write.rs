//! Writing a snapshot: draft, checksums, sync, and only then its name. Owns a draft until it is whole; one that is
//! dropped before leaves nothing.

use std::io;
use std::path::PathBuf;

use raft::SnapshotMeta;

use crate::checksum;
use crate::disk::DiskFile;
use crate::error::{Failure, StorageError, is_full};
use crate::snapshot::format::{CHUNK_BYTES, Header, Trailer};
use crate::snapshot::{Origin, SnapshotError, SnapshotInfo, Snapshots};

/// A draft is synced in steps of this many bytes, so that the log's own syncs never wait behind a whole snapshot.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
struct Draft {
    snapshots: Snapshots,
    meta: SnapshotMeta,
    origin: Origin,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Where the next chunk goes.
    offset: u64,
    unsynced: u64,
    header_crc: u32,
    /// Not written yet, less than a chunk.
    pending: Vec<u8>,
    payload_bytes: u64,
    payload_crc: u32,
    chunks: Vec<u32>,
    /// Its file is to stay.
    whole: bool,
}

impl Draft {
    fn start(snapshots: Snapshots, meta: SnapshotMeta, origin: Origin) -> Result<Self, SnapshotError> {
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
            whole: false,
            snapshots,
        };
        draft.put(&header)?;
        Ok(draft)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_at(self.offset, bytes).map_err(|e| refused(&self.path, e))?;
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
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
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), StorageError> {
        let chunk = std::mem::take(&mut self.pending);
        self.chunks.push(checksum::of(&chunk));
        self.payload_crc = checksum::chained(self.payload_crc, &chunk);
        self.payload_bytes += chunk.len() as u64;
        self.put(&chunk)?;
        self.pending = chunk;
        self.pending.clear();
        Ok(())
    }

    /// Ends the payload and makes the draft durable.
    fn seal(&mut self) -> Result<SnapshotInfo, StorageError> {
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
        if !self.whole {
            // Best effort: what cannot be removed now goes at the next start.
            let _ = self.snapshots.0.disk.remove(&self.path);
        }
    }
}

/// A failed write of a draft harms nothing but the draft, so it is not final.
fn refused(path: &std::path::Path, error: io::Error) -> StorageError {
    if is_full(&error) {
        StorageError::Full { path: path.to_owned() }
    } else {
        StorageError::Refused(Failure::of("write", path)(error))
    }
}

/// Writes a snapshot of the member's own state. Dropped before [`SnapshotWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter(Draft);

impl SnapshotWriter {
    pub(super) fn start(snapshots: Snapshots, meta: SnapshotMeta) -> Result<Self, SnapshotError> {
        Draft::start(snapshots, meta, Origin::Taken).map(Self)
    }

    /// Appends to the payload.
    ///
    /// # Errors
    /// The snapshot is lost; the member's state is not.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        Ok(self.0.write(bytes)?)
    }

    /// Makes it durable, and the newest one; the oldest beyond those to be kept go.
    ///
    /// # Errors
    /// There is no such snapshot.
    pub fn finish(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let info = self.0.seal()?;
        self.0.snapshots.publish(&self.0.path, &info)?;
        self.0.whole = true;
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

/// Receives a snapshot from outside. Dropped before [`SnapshotReceiver::finish`], it leaves nothing.
#[derive(Debug)]
pub struct SnapshotReceiver(Draft);

impl SnapshotReceiver {
    pub(super) fn start(snapshots: Snapshots, meta: SnapshotMeta) -> Result<Self, SnapshotError> {
        Draft::start(snapshots, meta, Origin::Received).map(Self)
    }

    /// Appends to the payload.
    ///
    /// # Errors
    /// The snapshot is lost; the member's state is not.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        Ok(self.0.write(bytes)?)
    }

    /// Payload bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.payload_bytes + self.0.pending.len() as u64
    }

    /// Checks it against what was offered and makes it durable. It waits to be installed
    /// ([`crate::Storage::install_snapshot`]) or to start a new member ([`crate::Start::Snapshot`]).
    ///
    /// # Errors
    /// It is not what was offered, or was not made durable; it is thrown away.
    pub fn finish(mut self, expected_bytes: u64, expected_crc32c: u32) -> Result<SnapshotInfo, SnapshotError> {
        let info = self.0.seal()?;
        if (info.bytes, info.crc32c) != (expected_bytes, expected_crc32c) {
            let (bytes, crc32c) = (info.bytes, info.crc32c);
            return Err(SnapshotError::NotAsOffered { bytes, crc32c, expected_bytes, expected_crc32c });
        }
        Ok(self.keep(info))
    }

    /// As [`Self::finish`], for a payload that the caller has verified by other means.
    ///
    /// # Errors
    /// It was not made durable; it is thrown away.
    pub fn finish_verified(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let info = self.0.seal()?;
        Ok(self.keep(info))
    }

    fn keep(&mut self, info: SnapshotInfo) -> SnapshotInfo {
        self.0.whole = true;
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
