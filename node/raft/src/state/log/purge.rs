//! Purging of log entries before a snapshot. Owns the change of the purge mark. Does not own how many entries are kept
//! for lagging followers (`snapshot/taken.rs`).

use crate::ids::Index;
use crate::state::log::Log;

impl Log {
    /// Records that a snapshot at `index` is durable. Removes the entries up to `through`, except entries after the
    /// snapshot and entries that are not durable on this member.
    pub(crate) fn purge(&mut self, index: Index, through: Index) {
        assert!(index <= self.applied, "a snapshot holds only applied entries: {index}, applied {}", self.applied);
        self.snapshot = self.snapshot.max(index);
        let through = through.min(index).min(self.durable());
        if through > self.floor().index {
            self.drop_through(through);
        }
    }
}
