//! Owns the two kinds of revision and their order: the main one, which clients see, and the full one, which names a single
//! change. Does not own their assignment to commands (`apply`, `write`).

use std::fmt;

/// A revision of the store, as clients see it (etcd's `ResponseHeader.revision`). Each command that changes a key makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of an empty store.
    pub const FIRST: Revision = Revision(1);
    /// The compaction mark of a store that was never compacted; etcd reports it as −1.
    pub const NEVER: Revision = Revision(-1);
    /// The highest revision that an image or a bump may set. It is far above any that commands can reach, and far below the
    /// largest `i64`, so that arithmetic on revisions cannot overflow.
    pub(crate) const MAX: Revision = Revision(i64::MAX >> 1);

    /// The revision that the next command with a change makes.
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

/// The name of one change: the revision of its command, and its number among the changes of that command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FullRevision {
    /// The revision that clients see; all changes of a command share it.
    pub(crate) main: Revision,
    /// 0 for the first change of the command, one more for each next one.
    pub(crate) sub: u32,
}
