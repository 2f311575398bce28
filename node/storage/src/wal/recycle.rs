//! Removes old segments such that their records never reappear. Owns purge and reset of the log. Does not own the decision which
//! entries may be purged (the core).
//!
//! Only the oldest segments are purged, in order, so the remaining segments always hold a contiguous end of the log. A few purged
//! segments keep their names and contents until new segments overwrite their files, whose headers have salts that no old frame has.
//! To a start, also one of an earlier program, they are a longer log.

use std::path::{Path, PathBuf};

use raft::{EntryId, Index};

use crate::error::StorageError;
use crate::wal::Wal;
use crate::wal::segment::Segment;

impl Wal {
    /// Purges the segments that hold only entries below `first_kept`. The newest segment always stays.
    pub(crate) fn purge(&mut self, first_kept: Index) -> Result<(), StorageError> {
        self.latch.check()?;
        debug_assert!(first_kept <= self.last.index.next(), "a purge below {} of a log that ends before", first_kept.0);
        let kept = self.segments.len().saturating_sub(1);
        let is_old = |segment: &&Segment| segment.max_index.is_none_or(|max| max < first_kept);
        let count = self.segments[..kept].iter().take_while(is_old).count();
        let superseded: Vec<_> = self.segments.drain(..count).collect();
        if let Some(newest) = superseded.last() {
            self.extents.purge_through(newest.header.seq);
        }
        debug_assert!(!self.segments.is_empty(), "the newest segment stays, because it holds the end of the log");
        let mut surplus = Vec::new();
        for segment in superseded {
            self.reads.close(segment.header.seq);
            // A repair writes one segment whatever its length. Its file would stay as long in each use.
            let is_long = segment.end > self.options.segment_bytes.saturating_mul(2);
            if is_long { surplus.push(segment.path) } else { self.recyclable.push_back(segment.path) }
        }
        let count = self.recyclable.len().saturating_sub(self.options.recycled_segments);
        surplus.extend(self.recyclable.drain(..count));
        self.remove(surplus)
    }

    /// Sets the maximum number of purged segments whose files are kept. Takes effect with the next purge.
    pub(crate) fn keep_recycled(&mut self, count: usize) {
        self.options.recycled_segments = count;
    }

    /// Starts the log anew after `base`. All entries in the log before the call are superseded.
    pub(crate) fn reset(&mut self, base: EntryId) -> Result<(), StorageError> {
        self.latch.check()?;
        self.next_segment(Some(base), 0)?;
        let purged = std::mem::take(&mut self.recyclable);
        self.remove(purged.into())?;
        debug_assert_eq!((self.last, self.segments.len()), (base, 1), "the log is empty after its base");
        Ok(())
    }

    /// Removes segments that a new segment superseded. They are not kept: if the newest segment were lost, they would look like the
    /// log.
    pub(crate) fn discard(&mut self, superseded: Vec<Segment>) -> Result<(), StorageError> {
        for segment in &superseded {
            self.reads.close(segment.header.seq);
        }
        self.remove(superseded.into_iter().map(|segment| segment.path).collect())
    }

    fn remove(&self, paths: Vec<PathBuf>) -> Result<(), StorageError> {
        if paths.is_empty() {
            return Ok(());
        }
        for path in &paths {
            debug_assert!(self.segments.iter().all(|held| held.path != *path), "{} is needed", path.display());
            self.latch.guard("remove", path, self.disk.remove(path))?;
        }
        self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))
    }

    /// Renames the oldest purged segment to `draft`, if there is one, and returns whether there is one. The directory is synced before
    /// the file is overwritten: otherwise a power loss could bring back its old name, and a start would find damage.
    pub(crate) fn recycle(&mut self, draft: &Path) -> Result<bool, StorageError> {
        let Some(oldest) = self.recyclable.pop_front() else { return Ok(false) };
        self.latch.guard("rename", &oldest, self.disk.rename(&oldest, draft))?;
        self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))?;
        Ok(true)
    }
}
