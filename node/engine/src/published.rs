//! Owns the immutable view that readers share; it is replaced once per applied batch. Does not own the store (`apply`): a view
//! only refers to one state of it.

use mvcc::View;
use raft::{Index, Term};

/// The state after all entries up to `applied`.
#[derive(Clone, Debug)]
pub struct Published {
    /// View of the store at that index.
    pub view: View,
    /// Index of the last applied entry.
    pub applied: Index,
    /// That entry's term.
    pub term: Term,
}
