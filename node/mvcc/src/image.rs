//! Owns images: the whole content as bytes, for snapshots and backups. Does not own files, names or transfer: the caller passes
//! in the reader or writer. `node/docs/snapshot_format.md` describes the format.

mod chunk;
mod full;

pub use full::{ImageSummary, LoadedImage, ReadError, WriteError, read, write};

use crate::apply::Store;
use crate::outcome::CommandError;
use crate::revision::Revision;

/// Treatment of the history when the revision is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BumpedHistory {
    /// The history stays readable.
    Kept,
    /// The history is compacted at the new revision. Every client that remembers an older revision must therefore list the keys
    /// again (etcdutl's `--mark-compacted`).
    MarkedCompacted,
}

impl Store {
    /// Raises the revision, so that a new cluster never reports a revision that the cluster of the image may have reported for
    /// different content (etcdutl's `--bump-revision`). A restore into a new cluster calls this method before the first command.
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
