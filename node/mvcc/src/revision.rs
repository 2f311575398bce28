//! Owns the two kinds of revision and their order: the main revision, which clients see, and the full revision, which identifies
//! a single change. Does not own the assignment of revisions to commands (`apply`, `write`).

use std::fmt;

/// A revision of the store, as clients see it (etcd's `ResponseHeader.revision`). Each command that changes a key gets a new
/// revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of an empty store.
    pub const FIRST: Revision = Revision(1);
    /// The compaction mark of a store that was never compacted. etcd reports −1, too.
    pub const NEVER: Revision = Revision(-1);
    /// The highest revision that an image or a raised revision may have. Commands cannot reach it in practice, and it is far
    /// below the largest `i64`, so that arithmetic on revisions cannot overflow.
    pub(crate) const MAX: Revision = Revision(i64::MAX >> 1);

    /// The revision of the next command that changes a key.
    #[must_use]
    pub fn next(self) -> Revision {
        debug_assert!(self.0 < i64::MAX, "no command reaches the largest revision");
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one change by the revision of its command, and the number of the change within the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FullRevision {
    /// The revision that clients see. All changes of a command share it.
    pub(crate) main: Revision,
    /// Number of the change within the command, from 0.
    pub(crate) sub: u32,
}
