//! Removes old segments such that their records never reappear. Owns purge and reset of the log. Does not own the decision which
//! entries may be purged (the core).
//!
//! Only the oldest segments are removed, in order, so the remaining segments always hold a contiguous end of the log. One file is
//! kept and overwritten by the next segment, whose header has a salt that no old frame has.

use raft::{EntryId, Index};

use crate::error::StorageError;
use crate::wal::Wal;
use crate::wal::segment::{SPARE, Segment};

impl Wal {
    /// Removes the segments that hold only entries below `first_kept`. The newest segment always stays.
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
        self.retire(superseded)
    }

    /// Starts the log anew after `base`. All entries in the log before the call are superseded.
    pub(crate) fn reset(&mut self, base: EntryId) -> Result<(), StorageError> {
        self.latch.check()?;
        self.next_segment(Some(base), 0)?;
        debug_assert_eq!((self.last, self.segments.len()), (base, 1), "the log is empty after its base");
        Ok(())
    }

    /// Keeps one file as the spare file and removes the others. The directory is synced: otherwise a power loss could bring back
    /// the name of a segment whose file the next segment has overwritten.
    pub(crate) fn retire(&mut self, superseded: Vec<Segment>) -> Result<(), StorageError> {
        if superseded.is_empty() {
            return Ok(());
        }
        for segment in superseded {
            self.reads.close(segment.header.seq);
            debug_assert!(
                self.segments.iter().all(|held| held.path != segment.path),
                "segment {} still holds a part of the log",
                segment.header.seq
            );
            if self.spare.is_none() {
                let spare = self.dir.join(SPARE);
                self.latch.guard("rename", &segment.path, self.disk.rename(&segment.path, &spare))?;
                self.spare = Some(spare);
            } else {
                self.latch.guard("remove", &segment.path, self.disk.remove(&segment.path))?;
            }
        }
        self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))
    }
}
