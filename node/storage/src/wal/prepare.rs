//! Fills space for later batches with zeros while nothing waits to be written, so that a batch seldom has to. Owns how much. Does not own
//! when the log is idle (the caller), or what a batch does that finds no space (`append.rs`).
//!
//! Once the log has purged segments, new ones overwrite their files, and nothing is reserved any more.

use crate::error::{StorageError, is_full};
use crate::wal::Wal;
use crate::wal::segment;

impl Wal {
    /// Extends the active segment if its space is soon used up. Changes nothing on a full disk: a batch that needs the space reports
    /// that, and only a batch may take the files of purged segments.
    pub(crate) fn prepare(&mut self) -> Result<(), StorageError> {
        self.latch.check()?;
        let (unit, segment_bytes) = (self.unit(), self.options.segment_bytes);
        let (Some(active), Some(segment)) = (self.active.as_mut(), self.segments.last()) else { return Ok(()) };
        let target = segment::allocation(active.allocated, segment.end, segment_bytes, unit);
        // An overwritten file may be longer than segments are now.
        let step = target.saturating_sub(active.allocated);
        let left = active.allocated - segment.end;
        if step == 0 || left >= step / 2 {
            return Ok(());
        }
        let path = &segment.path;
        // A sync of space that was only reserved takes half as long again as one of written space.
        match active.file.fill_with_zeros(active.allocated, target) {
            Err(e) if is_full(&e) => return Ok(()),
            other => self.latch.guard("extend", path, other)?,
        }
        // The sync of the next batch would otherwise also write the file's new length.
        self.latch.guard("sync", path, active.file.sync())?;
        self.preallocated += step;
        active.allocated = target;
        self.assert_consistent();
        Ok(())
    }
}
