//! Conflicts between two logs (Raft thesis §3.5). Owns the search for the last entry up to which two logs may agree,
//! which follower and leader both use, and the truncation of a follower's log.

use crate::ids::{EntryId, Index, Term};
use crate::message::Entry;
use crate::state::log::Log;

impl Log {
    /// Returns the last entry at or before `index` whose term is at most `term`. Another log that has an entry of
    /// `term` at `index` may agree with this log up to the returned entry. Entries before the purge mark are unknown,
    /// so the result is never before the purge mark.
    pub(crate) fn may_agree_at(&self, index: Index, term: Term) -> EntryId {
        self.terms.last_within(index, term)
    }

    /// Returns how many of `entries`, counted from the first one, this log already holds. The entry before the first
    /// one must be in this log.
    pub(crate) fn shared(&self, entries: &[Entry]) -> usize {
        entries.iter().take_while(|entry| self.holds(entry.id)).count()
    }

    /// Removes the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: Index) {
        assert!(index > self.commit, "a committed entry is never truncated: {index}, commit {}", self.commit);
        self.drop_from(index);
        self.tail.truncated(index);
    }
}
