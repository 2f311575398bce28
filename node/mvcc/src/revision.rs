//! Owns the two revisions and their order: the main one, which clients see, and the full one, which names a single change.
//! Does not own who gets which: that is `apply`.

use std::fmt;

/// A store revision, as clients see it: every command that changes a key makes one (etcd's `ResponseHeader.revision`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of an empty store.
    pub const FIRST: Revision = Revision(1);
    /// The compaction mark of a store that was never compacted; etcd shows it as −1.
    pub const NEVER: Revision = Revision(-1);
    /// No store gets further; far beyond what can be written, and far from where arithmetic ends.
    pub(crate) const MAX: Revision = Revision(i64::MAX >> 1);

    /// The one that the next changing command makes.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one change: the revision of its command, and its place among that command's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FullRevision {
    /// The revision that clients see; shared by all changes of one command.
    pub(crate) main: Revision,
    /// 0 for the command's first change, then 1, 2, ...
    pub(crate) sub: u32,
}
