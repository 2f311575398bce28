//! Purging the log before a snapshot. Owns the marks. Does not own how many entries stay for lagging followers
//! (`snapshot/taken.rs`).

use crate::ids::Index;
use crate::state::log::Log;

impl Log {
    /// A snapshot at `index` is durable: removes the entries up to `through`, except those that the snapshot does not
    /// hold or that are not durable here.
    pub(crate) fn purge(&mut self, index: Index, through: Index) {
        assert!(index <= self.applied, "a snapshot holds only applied entries: {index}, applied {}", self.applied);
        self.snapshot = self.snapshot.max(index);
        let through = through.min(index).min(self.durable());
        let Some(mark) = self.entry(through) else { return };
        let (id, time_ms) = (mark.id, mark.time_ms);
        self.entries.drain(..(through.0 - self.base.index.0) as usize);
        self.base = id;
        self.base_time_ms = time_ms;
    }
}
