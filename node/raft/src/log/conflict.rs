//! Finding where two logs part, and truncating the part that lost (Raft thesis §3.5). Owns the search by whole terms; the
//! follower and the leader both use it.

use crate::ids::{EntryId, Index, Term};
use crate::log::Log;
use crate::message::Entry;

impl Log {
    /// The last entry at or below `index` whose term is at most `term`: where a log that has `term` at `index` may agree with
    /// this one. Skips whole terms at a time, by binary search, as terms never fall along a log. Nothing below the purge
    /// mark is known, so the mark is the lowest answer.
    pub(crate) fn may_agree_at(&self, index: Index, term: Term) -> EntryId {
        let within = (index.0.saturating_sub(self.base.index.0)).min(self.entries.len() as u64) as usize;
        let below = self.entries.partition_point(|entry| entry.id.term <= term).min(within);
        match below.checked_sub(1) {
            Some(place) => self.entries[place].id,
            None => self.base,
        }
    }

    /// How many of `entries`, the first of which follows something that this log holds, are here already.
    pub(crate) fn shared(&self, entries: &[Entry]) -> usize {
        // What an append brings is almost always new, and almost always wholly so.
        let last = self.last().index;
        entries.iter().take_while(|entry| entry.id.index <= last && self.holds(entry.id)).count()
    }

    /// Removes everything from `index` on.
    pub(crate) fn truncate(&mut self, index: Index) {
        assert!(index > self.commit, "what is committed is never truncated: {index}, commit {}", self.commit);
        self.entries.truncate((index.0 - self.base.index.0 - 1) as usize);
        self.tail.truncated(index);
    }
}
