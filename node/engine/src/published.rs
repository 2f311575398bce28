//! Owns the immutable view that readers share, swapped once per applied batch. Does not own the store: a view is a handle.

use mvcc::View;
use raft::{Index, Term};

/// The state after everything up to `applied`.
#[derive(Clone, Debug)]
pub struct Published {
    /// The store at that point.
    pub view: View,
    /// The last entry in it.
    pub applied: Index,
    /// That entry's term.
    pub term: Term,
}
