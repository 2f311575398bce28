//! Conflicts between two logs (Raft thesis §3.5). Owns the search for the last entry that may agree, which follower and
//! leader both use, and the truncation of a follower's log.

use crate::ids::{EntryId, Index, Term};
use crate::message::Entry;
use crate::state::log::Log;

impl Log {
    /// The last entry at or before `index` whose term is at most `term`: a log that has `term` at `index` may agree
    /// with this one up to there. Skips whole terms by binary search, because terms never fall along a log. Entries
    /// before the purge mark are not known, so the mark is the lowest answer.
    pub(crate) fn may_agree_at(&self, index: Index, term: Term) -> EntryId {
        let within = (index.0.saturating_sub(self.base.index.0)).min(self.entries.len() as u64) as usize;
        let below = self.entries.partition_point(|entry| entry.id.term <= term).min(within);
        match below.checked_sub(1) {
            Some(place) => self.entries[place].id,
            None => self.base,
        }
    }

    /// Number of `entries` that this log already holds; the entry before the first must be in this log.
    pub(crate) fn shared(&self, entries: &[Entry]) -> usize {
        // Compares the last index first, because an append almost always brings only new entries.
        let last = self.last().index;
        entries.iter().take_while(|entry| entry.id.index <= last && self.holds(entry.id)).count()
    }

    /// Removes the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: Index) {
        assert!(index > self.commit, "a committed entry is never truncated: {index}, commit {}", self.commit);
        self.entries.truncate((index.0 - self.base.index.0 - 1) as usize);
        self.tail.truncated(index);
    }
}
