//! Owns images: the whole content as bytes, for snapshots and backups, and back. Does not own files, names or transfer:
//! an image is written to and read from whatever the caller gives. Byte by byte in `node/docs/snapshot_format.md`.

mod chunk;
mod full;

pub use full::{ImageSummary, LoadedImage, ReadError, WriteError, read, write};

use crate::apply::{CommandError, Store};
use crate::revision::Revision;

/// What becomes of the history when revisions are bumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BumpedHistory {
    /// It stays readable.
    Kept,
    /// It is compacted at the new revision, so that every client with an old one has to list anew (etcdutl's
    /// `--mark-compacted`).
    MarkedCompacted,
}

impl Store {
    /// Moves the revision ahead, so that no revision of the cluster that an image came from is ever given out again
    /// (etcdutl's `--bump-revision`). For a restore into a new cluster, before the first command.
    ///
    /// # Errors
    /// [`CommandError::FutureRevision`] if the revision would leave its range, or run back. Nothing changed.
    pub fn bump_revision(&mut self, by: i64, history: BumpedHistory) -> Result<(), CommandError> {
        let bumped = self.space.revision.0.checked_add(by).map(Revision);
        let bumped = bumped.filter(|&bumped| by >= 0 && bumped <= Revision::MAX).ok_or(CommandError::FutureRevision)?;
        self.space.revision = bumped;
        if history == BumpedHistory::MarkedCompacted && self.space.compacted < self.space.revision {
            self.space.compact(self.space.revision)?;
            self.compact_slice(usize::MAX);
        }
        Ok(())
    }
}
