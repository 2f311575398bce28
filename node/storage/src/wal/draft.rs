//! A segment that is written as a draft and becomes a part of the log only when it is complete. Owns its bytes and the order of the
//! steps that publish it. Does not own what it continues, or whose entries it holds (`storage/repair.rs`).
//!
//! It may be longer than other segments, because one rename publishes all of it.

use std::path::{Path, PathBuf};

use raft::{Entry, EntryId};

use crate::disk::{Disk, DiskFile};
use crate::error::{Latch, StorageError, is_full};
use crate::replace::discard;
use crate::wal::append::batch_length;
use crate::wal::record::{self, Place};
use crate::wal::segment::{self, DRAFT, Header};

/// Number of bytes that are written between two syncs, so that the last one does not stall the disk.
const SYNC_BYTES: usize = 8 * 1024 * 1024;

/// A segment that no start reads yet.
#[derive(Debug)]
pub(crate) struct SegmentDraft {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    seq: u64,
    place: Place,
    last: EntryId,
    latch: Latch,
    unsynced: usize,
    scratch: Vec<u8>,
}

impl SegmentDraft {
    /// Creates the draft, and replaces one that was left.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, header: &Header, latch: Latch) -> Result<Self, StorageError> {
        latch.check()?;
        let path = dir.join(DRAFT);
        discard(disk, &path, &latch)?;
        let file = match disk.create(&path) {
            Err(e) if is_full(&e) => return Err(StorageError::Full { path }),
            other => latch.guard("create", &path, other)?,
        };
        let (place, last, seq) = (header.first_place(), header.base, header.seq);
        let draft = Self { file, path, seq, place, last, latch, unsynced: 0, scratch: Vec::new() };
        draft.write(0, &header.encode_unit())?;
        Ok(draft)
    }

    /// The last entry of the log that ends with this segment.
    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        match self.file.write_at(offset, bytes) {
            // Nothing depends on the bytes of a draft. The next attempt writes them again.
            Err(e) if is_full(&e) => Err(StorageError::Full { path: self.path.clone() }),
            other => self.latch.guard("write", &self.path, other),
        }
    }

    /// Adds entries in as few batches as their length permits. After an error, some of the batches may be in the draft.
    ///
    /// # Errors
    /// Returns [`StorageError::OutOfOrder`] if an index is not the next one, or if a term decreases.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<(), StorageError> {
        let entries: Vec<&Entry> = entries.iter().collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest));
            self.append_batch(batch)?;
            rest = later;
        }
        Ok(())
    }

    fn append_batch(&mut self, batch: &[&Entry]) -> Result<(), StorageError> {
        let mut last = self.last;
        for Entry { id, .. } in batch {
            if id.index != last.index.next() || id.term < last.term {
                return Err(StorageError::OutOfOrder { last: last.index, found: id.index });
            }
            last = *id;
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        let chain = record::encode_batch(&mut bytes, self.place, batch.iter().copied())?;
        self.write(self.place.offset, &bytes)?;
        self.unsynced += bytes.len();
        let Place { number, offset, .. } = self.place;
        self.place = Place { number: number + 1, offset: offset + bytes.len() as u64, chain, ..self.place };
        self.last = last;
        self.scratch = bytes;
        if self.unsynced >= SYNC_BYTES {
            self.latch.guard("sync", &self.path, self.file.sync())?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Makes the segment the newest one of the log. The open frame after the last batch shows to a start that the batch is durable.
    pub(crate) fn publish(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        let frame = record::fill_pages(record::open_frame(self.place), self.place.unit);
        self.write(self.place.offset, &frame)?;
        let path = dir.join(segment::name(self.seq));
        self.latch.guard("sync", &self.path, self.file.sync())?;
        self.latch.guard("rename", &self.path, disk.rename(&self.path, &path))?;
        self.latch.guard("sync", dir, disk.sync_dir(dir))
    }
}
