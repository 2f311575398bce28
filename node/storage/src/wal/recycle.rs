//! Forgetting old segments without bringing their records back. Owns purge and reset; what may be purged is decided by
//! the core.
//!
//! Only the oldest segments go, in order, so what is left is always a whole end of the log. One file is kept for the
//! next segment; its new header carries a salt that no old frame has.

use raft::{EntryId, Index};

use crate::error::StorageError;
use crate::wal::Wal;
use crate::wal::segment::{SPARE, Segment};

impl Wal {
    /// Gives up segments that hold nothing at or above `first_kept`. Never the newest one.
    pub(crate) fn purge(&mut self, first_kept: Index) -> Result<(), StorageError> {
        self.latch.check()?;
        let kept = self.segments.len().saturating_sub(1);
        let behind = self.segments[..kept].iter().take_while(|s| Self::is_behind(s, first_kept)).count();
        let superseded: Vec<_> = self.segments.drain(..behind).collect();
        self.retire(superseded)
    }

    /// Starts the log anew after `base`; everything in it so far is superseded.
    pub(crate) fn reset(&mut self, base: EntryId) -> Result<(), StorageError> {
        self.latch.check()?;
        self.next_segment(Some(base), 0)
    }

    /// Keeps one file as a spare and removes the others. Synced, or a power loss could bring back the name of a segment
    /// whose file had been overwritten as the next one.
    pub(crate) fn retire(&mut self, superseded: Vec<Segment>) -> Result<(), StorageError> {
        if superseded.is_empty() {
            return Ok(());
        }
        for segment in superseded {
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
