//! Writes entries in batches, each with one commit frame and one sync. Owns the length of batches, the order of the steps, and the
//! rule that entries follow each other without a gap. Does not own the bytes of a batch (`record.rs`).

use raft::{Entry, EntryId, Index};

use crate::error::{StorageError, is_full};
use crate::wal::Wal;
use crate::wal::record::{self, Place};
use crate::wal::segment;

/// Maximum size of a batch in bytes, except that a longer entry has a batch of its own. It bounds the memory that writing a batch
/// and reading it back takes.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Maximum size in bytes of a buffer that is kept after a batch is written.
const SCRATCH_KEPT: usize = 4 * 1024 * 1024;

impl Wal {
    /// Makes the entries durable, in as few batches as their length permits. Each entry has the next index, or an index that the log
    /// already holds. In the second case the new entry supersedes the old entries at and above its index. After an error, the first
    /// of the entries may be in the log.
    pub(crate) fn append(&mut self, entries: &[&Entry]) -> Result<(), StorageError> {
        self.latch.check()?;
        check_order(self.last, entries)?;
        let mut rest = entries;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest));
            self.append_batch(batch)?;
            rest = later;
        }
        Ok(())
    }

    /// Makes all of the entries durable, or none of them.
    fn append_batch(&mut self, entries: &[&Entry]) -> Result<(), StorageError> {
        let size = record::batch_size(entries.iter().map(|e| stored_length(e)), self.unit()) as u64;
        // The segment must also have space for the open frame of the next batch, which is written after this batch.
        let needed = size + self.unit();
        let fits = |end: u64| end + needed <= self.options.segment_bytes || end == self.unit();
        let has_space = self.active.is_some() && self.segments.last().is_some_and(|s| fits(s.end));
        if !has_space {
            self.next_segment(None, needed)?;
        }
        self.extend(needed)?;
        self.write(entries, size)
    }

    /// Extends the active segment until `needed` bytes exist after the last batch.
    fn extend(&mut self, needed: u64) -> Result<(), StorageError> {
        let unit = self.unit();
        let (Some(active), Some(segment)) = (self.active.as_mut(), self.segments.last()) else {
            unreachable!("a batch is written to an active segment")
        };
        let end = segment.end + needed;
        if end <= active.allocated {
            return Ok(());
        }
        let target = segment::allocation(active.allocated, end, self.options.segment_bytes, unit);
        match active.file.preallocate(active.allocated, target) {
            Ok(()) => {
                self.preallocated += target - active.allocated;
                active.allocated = target;
                Ok(())
            }
            Err(e) if is_full(&e) => {
                let full = StorageError::Full { path: segment.path.clone() };
                // Removing a purged segment frees space, which the purge did not.
                let Some(oldest) = self.recyclable.pop_front() else { return Err(full) };
                self.latch.guard("remove", &oldest, self.disk.remove(&oldest))?;
                self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))?;
                self.extend(needed)
            }
            Err(e) => self.latch.guard("extend", &segment.path, Err(e)),
        }
    }

    fn write(&mut self, entries: &[&Entry], size: u64) -> Result<(), StorageError> {
        let (Some(active), Some(segment)) = (self.active.as_mut(), self.segments.last_mut()) else {
            unreachable!("a batch is written to an active segment")
        };
        let place = segment.place(self.next_batch);
        let chain = record::encode_batch(&mut self.scratch, place, entries.iter().copied())?;
        assert_eq!(self.scratch.len() as u64, size, "space was made for a batch of another size");
        let path = &segment.path;
        self.latch.guard("write", path, active.file.write_at(place.offset, &self.scratch))?;
        self.latch.guard("sync", path, active.file.sync())?;

        let end = place.offset + self.scratch.len() as u64;
        let next = Place { number: place.number + 1, offset: end, chain, ..place };
        // The open frame of the next batch shows to a later start that the batch before the frame was synced. The frame itself is
        // not synced, because the system most likely writes the frame back before the batch can be damaged. If the frame is
        // missing, a damaged last batch looks like a torn batch.
        let frame = record::fill_pages(record::open_frame(next), next.unit);
        self.latch.guard("write", path, active.file.write_at(end, &frame))?;

        self.written += size;
        segment.end = end;
        segment.chain = chain;
        segment.max_index = segment.max_index.max(entries.iter().map(|e| e.id.index).max());
        self.extents.add(self.last.index, segment.header.seq, place, entries.iter().copied());
        self.next_batch += 1;
        self.last = entries.last().map_or(self.last, |e| e.id);
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        self.assert_consistent();
        Ok(())
    }
}

/// Number of entries at the start that fit into one batch, at least 1.
pub(super) fn batch_length(entries: &[&Entry]) -> usize {
    let mut size = 0;
    let fits = |entry: &&&Entry| {
        size += record::record_size(stored_length(entry));
        size <= BATCH_BYTES
    };
    entries.iter().take_while(fits).count().max(1)
}

pub(super) fn stored_length(entry: &Entry) -> usize {
    match crate::codec::payload_parts(&entry.payload) {
        Ok((_, body)) => body.len(),
        // The size does not matter, because the encoder refuses this entry.
        Err(_) => 0,
    }
}

/// Asserts that an entry's term is at least the term of the entry before it. A leader appends entries with its own term, and
/// terms only grow (Raft thesis, figure 3.2).
fn terms_never_decrease(before: EntryId, entry: EntryId) {
    assert!(
        entry.index != before.index.next() || entry.term >= before.term,
        "the term of entry {} decreases from {} to {}",
        entry.index.0,
        before.term.0,
        entry.term.0
    );
}

/// Refuses entries that leave a gap.
fn check_order(mut last: EntryId, entries: &[&Entry]) -> Result<(), StorageError> {
    for Entry { id, .. } in entries {
        if id.index == Index(0) || id.index > last.index.next() {
            return Err(StorageError::OutOfOrder { last: last.index, found: id.index });
        }
        terms_never_decrease(last, *id);
        last = *id;
    }
    Ok(())
}
