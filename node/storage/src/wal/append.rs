//! One batch, one commit frame, one sync. Owns the order of a write; see [`crate::wal::record`] for its bytes.

use raft::{Entry, EntryId, Index};

use crate::disk::SECTOR;
use crate::error::{StorageError, is_full};
use crate::wal::Wal;
use crate::wal::record::{self, Place};
use crate::wal::segment::{self, HEADER_SIZE};

/// A batch's buffer larger than this is given back after the write, bytes.
const SCRATCH_KEPT: usize = 4 * 1024 * 1024;

impl Wal {
    /// Makes entries durable, all or none. They follow each other, or go back to an index that the log already has: then
    /// everything from there on is superseded.
    pub(crate) fn append(&mut self, entries: &[&Entry]) -> Result<(), StorageError> {
        self.latch.check()?;
        if entries.is_empty() {
            return Ok(());
        }
        check_order(self.last.index, entries)?;
        let size = record::batch_size(entries.iter().map(|e| stored_length(e))) as u64;
        // The open frame of the batch after this one is written with it.
        let needed = size + SECTOR as u64;
        let fits = |end: u64| end + needed <= self.options.segment_bytes || end == HEADER_SIZE as u64;
        let has_room = self.active.is_some() && self.segments.last().is_some_and(|s| fits(s.end));
        if !has_room {
            self.next_segment(None, needed)?;
        }
        self.extend(needed)?;
        self.write(entries)
    }

    /// Makes sure that `needed` bytes behind the last batch exist.
    fn extend(&mut self, needed: u64) -> Result<(), StorageError> {
        let (Some(active), Some(segment)) = (self.active.as_mut(), self.segments.last()) else {
            return Ok(());
        };
        let end = segment.end + needed;
        if end <= active.allocated {
            return Ok(());
        }
        let target = segment::allocation(active.allocated, end, self.options.segment_bytes);
        match active.file.preallocate(active.allocated, target) {
            Ok(()) => {
                active.allocated = target;
                Ok(())
            }
            Err(e) if is_full(&e) => {
                let full = StorageError::Full { path: segment.path.clone() };
                // The old file that waits to be the next segment is room, too; a purge may have made no other.
                let Some(spare) = self.spare.take() else { return Err(full) };
                self.latch.guard("remove", &spare, self.disk.remove(&spare))?;
                self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))?;
                self.extend(needed)
            }
            Err(e) => self.latch.guard("extend", &segment.path, Err(e)),
        }
    }

    fn write(&mut self, entries: &[&Entry]) -> Result<(), StorageError> {
        let (Some(active), Some(segment)) = (self.active.as_mut(), self.segments.last_mut()) else {
            return Ok(());
        };
        let place =
            Place { salt: segment.header.salt, number: self.next_batch, offset: segment.end, chain: segment.chain };
        let chain = record::encode_batch(&mut self.scratch, place, entries.iter().copied())?;
        let path = &segment.path;
        self.latch.guard("write", path, active.file.write_at(place.offset, &self.scratch))?;
        self.latch.guard("sync", path, active.file.sync())?;

        let end = place.offset + self.scratch.len() as u64;
        let next = Place { salt: place.salt, number: place.number + 1, offset: end, chain };
        // Not synced: by its mere presence it tells a later start that the batch before it was. Most likely it reaches
        // the disk before anything can rot, and without it a torn last batch is what it looks like.
        self.latch.guard("write", path, active.file.write_at(end, &record::open_frame(next)))?;

        segment.end = end;
        segment.chain = chain;
        segment.max_index = segment.max_index.max(entries.iter().map(|e| e.id.index).max());
        self.next_batch += 1;
        self.last = entries.last().map_or(self.last, |e| e.id);
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        Ok(())
    }
}

fn stored_length(entry: &Entry) -> usize {
    match crate::codec::payload_parts(&entry.payload) {
        Ok((_, body)) => body.len(),
        // Refused when it is encoded.
        Err(_) => 0,
    }
}

fn check_order(mut last: Index, entries: &[&Entry]) -> Result<(), StorageError> {
    for Entry { id: EntryId { index, .. }, .. } in entries {
        if *index == Index(0) || *index > last.next() {
            return Err(StorageError::OutOfOrder { last, found: *index });
        }
        last = *index;
    }
    Ok(())
}
