//! Owns images: the whole content as bytes, for snapshots and backups. Does not own files, names or transfer: the caller
//! gives the reader or writer. The bytes are described in `node/docs/snapshot_format.md`.

mod chunk;
mod full;

pub use full::{ImageSummary, LoadedImage, ReadError, WriteError, read, write};

use crate::apply::Store;
use crate::outcome::CommandError;
use crate::revision::Revision;

/// The treatment of the history when the revision is bumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BumpedHistory {
    /// The history stays readable.
    Kept,
    /// The history is compacted at the new revision, so that every client that remembers an older revision has to list again
    /// (etcdutl's `--mark-compacted`).
    MarkedCompacted,
}

impl Store {
    /// Raises the revision, so that the new cluster gives out no revision that the cluster of the image may have given out
    /// (etcdutl's `--bump-revision`). Used by a restore into a new cluster, before the first command.
    ///
    /// # Errors
    /// Returns [`CommandError::FutureRevision`] if the revision would fall or leave its range. Nothing changed.
    pub fn bump_revision(&mut self, by: i64, history: BumpedHistory) -> Result<(), CommandError> {
        let bumped = self.space.revision.0.checked_add(by).map(Revision);
        let bumped = bumped.filter(|&bumped| by >= 0 && bumped <= Revision::MAX).ok_or(CommandError::FutureRevision)?;
        self.space.revision = bumped;
        if history == BumpedHistory::MarkedCompacted && self.space.compacted < self.space.revision {
            self.space.compact(self.space.revision)?;
            self.compact_slice(usize::MAX);
            assert!(self.space.removal.is_none(), "an unlimited slice removes everything that is compacted");
        }
        assert!(self.space.compacted <= self.space.revision, "compaction mark is at or below the revision");
        Ok(())
    }
}
