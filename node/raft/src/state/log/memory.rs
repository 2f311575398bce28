//! Which entries are in memory: eviction of entries that the disk holds, and the weights by which memory is limited. Owns
//! the first entry in memory. Does not own the limits (`config.rs`) or the reads from the disk (`replication`, `flush.rs`).

use crate::ids::{EntryId, Index};
use crate::message::Entry;
use crate::state::log::Log;
use crate::state::log::marks::Marks;

/// Committed entries that the driver is to apply.
#[derive(Debug)]
pub(crate) enum Committed {
    /// Entries that are in memory.
    Held(Vec<Entry>),
    /// The entries from the first index to the second, which the driver reads from the disk.
    Stored(Index, Index),
}

impl Log {
    /// Returns the ID of the last entry that is not in memory.
    pub(crate) fn base(&self) -> Index {
        self.base
    }

    /// Evicts entries from memory until at most `limit` bytes are left. Keeps entries that the disk does not hold. Evicts
    /// those that the driver is applying, too: the driver holds their payloads for a while, but without that no later
    /// entry could leave while the driver is slow.
    pub(crate) fn evict(&mut self, limit: usize) {
        while self.held_bytes() > limit as u64 {
            let Some(first) = self.entries.front().map(|held| held.entry.id.index) else { return };
            if first > self.durable() {
                return;
            }
            let Some(evicted) = self.entries.pop_front() else { return };
            (self.base, self.base_end) = (first, evicted.end);
            self.marks.evicted(first, evicted.end);
        }
    }

    /// Forgets the entries up to `through`, which becomes the purge mark.
    pub(super) fn drop_through(&mut self, through: Index) {
        if let Some(end) = self.held(through).map(|held| held.end) {
            self.entries.drain(..(through.0 - self.base.0) as usize);
            (self.base, self.base_end) = (through, end);
            self.marks = Marks::at(through, end);
        } else {
            self.marks.purged(through);
        }
        self.terms.purge(through);
    }

    /// Removes the entries from `index` on from memory and from the marks. After a restart, fewer entries may be in
    /// memory than are not committed, so `index` may be before all entries in memory.
    pub(super) fn drop_from(&mut self, index: Index) {
        if index > self.base {
            self.entries.truncate((index.0 - self.base.0 - 1) as usize);
        } else {
            self.entries.clear();
            self.base = Index(index.0 - 1);
            self.marks.truncated(index);
            self.base_end = self.marks.end_at(self.base);
        }
        self.terms.truncate(index);
    }

    /// Returns the next committed entries for the driver to apply. Entries in memory: at most `count` entries, with at
    /// most `bytes` of payload unless the first entry alone is larger. Entries on disk: a range of about `bytes`.
    pub(crate) fn take_committed(&mut self, count: usize, bytes: usize) -> Committed {
        let first = self.applying.next();
        if first <= self.base {
            let end = self.marks.within(self.applying, bytes as u64).unwrap_or(self.base);
            let last = end.min(self.base).min(self.commit);
            self.applying = last;
            return Committed::Stored(first, last);
        }
        let waiting = (self.commit.0 - self.applying.0) as usize;
        let (entries, _) = self.slice(first, count.min(waiting), bytes);
        assert!(entries.len() <= waiting, "only committed entries are applied");
        if let Some(last) = entries.last() {
            self.applying = last.id.index;
        }
        Committed::Held(entries)
    }

    /// Returns whether the driver may get more entries to apply: it has none, or fewer than `limit` bytes of them.
    pub(crate) fn may_apply_more(&self, limit: usize) -> bool {
        let waiting = self.end_at(self.applying) - self.end_at(self.applied);
        self.applying == self.applied || waiting < limit as u64
    }

    /// Returns the weight of the entries in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.end() - self.base_end
    }

    /// Returns the weight of the entries that the disk of this member does not hold.
    pub(crate) fn undurable_bytes(&self) -> u64 {
        self.end() - self.end_at(self.durable())
    }

    /// Returns the weight of the entries that are not committed, or that the disk of this member does not hold. Entries
    /// that are not in memory are estimated.
    pub(crate) fn unsettled_bytes(&self) -> u64 {
        self.end() - self.end_at(self.commit.min(self.durable()))
    }

    /// Returns the payload bytes of the entries after `index`, which are estimated if they are not in memory.
    pub(crate) fn payload_bytes_after(&self, index: Index) -> u64 {
        let surcharges = Entry::SURCHARGE * self.last().index.0.saturating_sub(index.0);
        (self.end() - self.end_at(index)).saturating_sub(surcharges)
    }

    /// Returns the sum of weights up to the entry at `index`, as in [`super::Held`]. For an entry that is not in memory
    /// this is an estimate: the sum at the last mark before it.
    fn end_at(&self, index: Index) -> u64 {
        match self.held(index) {
            Some(held) => held.end,
            None if index >= self.base => self.base_end,
            None => self.marks.end_at(index),
        }
    }

    /// Returns the `end` of the last entry, as in [`super::Held`].
    pub(super) fn end(&self) -> u64 {
        self.entries.back().map_or(self.base_end, |held| held.end)
    }

    /// Returns whether exactly the entries after [`Log::base`] are in memory, and the terms of all entries after the
    /// purge mark are known.
    pub(crate) fn is_whole(&self) -> bool {
        let (floor, last) = (self.floor(), self.last());
        let end = self.entries.back().map_or(EntryId { index: self.base, ..last }, |held| held.entry.id);
        let begins = self.entries.front().is_none_or(|held| held.entry.id.index == self.base.next());
        let is_complete = self.entries.len() as u64 == last.index.0 - self.base.0;
        floor.index <= self.base && self.base <= last.index && end == last && begins && is_complete
    }
}
