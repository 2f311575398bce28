//! Owns the immutable view that readers share. Does not own the store (`apply`). The apply thread publishes a new view
//! after each batch that it applies.

use mvcc::View;
use raft::{Index, Term};

/// The state after all entries up to `applied`.
#[derive(Clone, Debug)]
pub struct Published {
    /// View of the store after the entry at `applied`.
    pub view: View,
    /// Index of the last applied entry.
    pub applied: Index,
    /// Term of the last applied entry.
    pub term: Term,
    /// Time stamp of the last applied entry, in milliseconds since the Unix epoch. A snapshot of this state needs it.
    pub time_ms: u64,
}
