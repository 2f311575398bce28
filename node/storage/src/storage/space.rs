//! Space on the volume of a member's directory: how much is free, and what the member gives back when it is short. Owns both.
//! Does not own the limit below which space is short, or what follows from it (the engine).

use std::io;

use crate::error::StorageError;
use crate::storage::Storage;

/// Number of snapshots to keep while space is short.
const KEPT_WHEN_SHORT: usize = 1;

/// Space on the volume of a member's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSpace {
    /// Size of the volume, in bytes.
    pub total_bytes: u64,
    /// Bytes that the member may still write, as the file system says, and the bytes of the snapshots that are being written or
    /// received at the moment. These are what space is reserved for, so that they do not count as used before they are complete.
    /// Purged files that wait to be overwritten and older snapshots count as used.
    pub free_bytes: u64,
    /// Length in bytes at which the log continues in a new segment.
    pub segment_bytes: u64,
    /// Whether the member saves space ([`Storage::save_space`]).
    pub saves: bool,
}

impl Storage {
    /// Measures the volume.
    ///
    /// # Errors
    /// Returns any error of the file system.
    pub fn space(&self) -> io::Result<MemberSpace> {
        let volume = self.disk.space(&self.dir)?;
        Ok(MemberSpace {
            total_bytes: volume.total_bytes,
            free_bytes: volume.free_bytes.saturating_add(self.snapshots.draft_bytes()).min(volume.total_bytes),
            segment_bytes: self.options.segment_bytes,
            saves: self.saves_space,
        })
    }

    /// Begins or ends to save space. While the member saves space, purged files of the log are removed instead of overwritten,
    /// and only the newest snapshot is kept, with the log after it. What was kept until then is removed. A repeated call changes
    /// nothing.
    ///
    /// # Errors
    /// Returns [`StorageError::Failed`] if the file system fails.
    pub fn save_space(&mut self, saves: bool) -> Result<(), StorageError> {
        if std::mem::replace(&mut self.saves_space, saves) == saves {
            return Ok(());
        }
        let (snapshots, segments) =
            if saves { (KEPT_WHEN_SHORT, 0) } else { (self.options.snapshots_kept, self.options.recycled_segments) };
        self.snapshots.keep(snapshots)?;
        if let Some(member) = &mut self.member {
            member.wal.keep_recycled(segments);
            let first_kept = member.first_kept;
            self.purge(first_kept)?;
        }
        Ok(())
    }
}
