//! Forgetting the log behind a snapshot. Owns the marks; the trailing rest is the caller's wish.

use crate::ids::Index;
use crate::log::Log;

impl Log {
    /// A snapshot at `index` is durable: forgets everything up to `through`, but only what it contains and what is durable
    /// here.
    pub(crate) fn purge(&mut self, index: Index, through: Index) {
        assert!(index <= self.applied, "a snapshot holds only what is applied: {index}, applied {}", self.applied);
        self.snapshot = self.snapshot.max(index);
        let through = through.min(index).min(self.durable());
        let Some(mark) = self.entry(through) else { return };
        let (id, time_ms) = (mark.id, mark.time_ms);
        self.entries.drain(..(through.0 - self.base.index.0) as usize);
        self.base = id;
        self.base_time_ms = time_ms;
    }
}
