//! High-water marks: the greatest term and commit index seen after any input. Owns the assertion that the marks never
//! decrease.

use crate::ids::{Index, Term};

/// Term and commit index at the latest check.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HighWater {
    term: Term,
    commit: Index,
}

impl HighWater {
    /// Raises the marks; panics if a value is lower than its mark.
    pub(crate) fn observe(&mut self, term: Term, commit: Index) {
        assert!(term >= self.term, "the term never falls: {term} after {}", self.term);
        assert!(commit >= self.commit, "the commit index never falls: {commit} after {}", self.commit);
        *self = Self { term, commit };
    }
}
