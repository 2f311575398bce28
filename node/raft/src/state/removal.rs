//! What this member knows about its own removal. Does not own what follows from it (`membership/removal.rs`).

use crate::ids::Index;

/// What this member knows about its own removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Removal {
    /// The cluster removed this member permanently. It no longer takes part in the cluster.
    pub(crate) is_removed: bool,
    /// The newest notice that is neither verified nor refuted.
    pub(crate) hint: Option<Hint>,
    /// The driver verifies a removal at the moment.
    pub(crate) is_asked: bool,
}

impl Removal {
    /// Returns whether a notice cannot be verified, because no other voter is reached.
    pub(crate) fn is_suspected(&self) -> bool {
        self.hint.is_some_and(|hint| hint.is_cut_off)
    }
}

/// A notice of a removal that is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hint {
    /// Index of the configuration that is said to have removed this member.
    pub(crate) index: Index,
    /// No other voter was reached by the latest verification.
    pub(crate) is_cut_off: bool,
}
