//! Owns the keys in order. Each key has an entry with the place and the counters of the key's newest version. Does not own the
//! versions (`history`).

mod key;
mod node;
mod page;
mod scan;
mod tree;

pub(crate) use key::{Interval, KeyEntry};

use key::Subtree;
use tree::Tree;

use crate::revision::Revision;
use crate::sequence::Place;

/// The keys in order, each with its entry. The structure is persistent: a clone shares the keys and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keys: Tree,
}

impl Index {
    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyEntry> {
        self.keys.get(key).copied()
    }

    /// Replaces the entry of a key by the result of `update`. Returns the old entry and the new entry.
    pub(crate) fn update(
        &mut self,
        key: &[u8],
        update: impl FnOnce(Option<&KeyEntry>) -> KeyEntry,
    ) -> (Option<KeyEntry>, KeyEntry) {
        let mut now = None;
        let before = self.keys.upsert(key, |before| *now.insert(update(before)));
        let now = now.expect("an upsert asks for the new value exactly once");
        assert!(before.is_none_or(|before| before.place < now.place), "the newest version of a key is its last one");
        debug_assert_eq!(now.is_live(), now.created != Revision(0), "a live key was created, a tombstone was not");
        (before, now)
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let removed = self.keys.remove(key);
        debug_assert!(removed.is_some(), "a key is removed once");
    }

    /// Asserts the invariants of the whole index. The cost grows with the number of keys.
    pub(crate) fn assert_sound(&self) {
        self.keys.assert_sound();
    }

    /// The entries of an interval in key order, including entries whose newest version is a tombstone.
    pub(crate) fn scan<'a>(&'a self, interval: Interval<'a>) -> impl Iterator<Item = (&'a [u8], KeyEntry)> {
        let (one, many) = match interval {
            Interval::Key(key) => (self.get(key).map(|entry| (key, entry)), None),
            interval => (None, Some(interval.bounds())),
        };
        let many = many.map(|(from, to)| self.keys.scan(from, to)).into_iter().flatten();
        one.into_iter().chain(many.map(|(key, entry)| (key, *entry)))
    }

    /// The live entries of an interval in key order. A leaf of the index without a live entry is not visited.
    pub(crate) fn scan_live<'a>(&'a self, interval: Interval<'a>) -> impl Iterator<Item = (&'a [u8], KeyEntry)> {
        let (one, many) = match interval {
            Interval::Key(key) => (self.get(key).filter(KeyEntry::is_live).map(|entry| (key, entry)), None),
            interval => (None, Some(interval.bounds())),
        };
        let many = many.map(|(from, to)| self.keys.scan_live(from, to)).into_iter().flatten();
        one.into_iter().chain(many.map(|(key, entry)| (key, *entry)))
    }

    /// Number of keys of an interval, including keys whose newest version is a tombstone. The cost is logarithmic in the
    /// number of keys.
    pub(crate) fn count_keys(&self, interval: Interval<'_>) -> u64 {
        let (from, to) = match interval {
            Interval::Key(key) => return u64::from(self.get(key).is_some()),
            interval => interval.bounds(),
        };
        let (mut whole, mut single) = (0, 0);
        let mut add_whole = |subtree: &Subtree| {
            whole += subtree.keys;
            true
        };
        self.keys.visit(from, to, &mut add_whole, &mut |_| single += 1);
        whole + single
    }

    /// Number of live keys of an interval. The cost is logarithmic in the number of keys.
    pub(crate) fn count_live(&self, interval: Interval<'_>) -> u64 {
        self.count_live_before(interval, Place(u64::MAX), |_| false)
    }

    /// Number of keys of an interval that were live when the history ended at `end`. For each key that has changed
    /// since then, `was_live` says whether the key was live. The cost is logarithmic in the number of keys, and linear
    /// in the number of changed keys.
    pub(crate) fn count_live_before(
        &self,
        interval: Interval<'_>,
        end: Place,
        mut was_live: impl FnMut(KeyEntry) -> bool,
    ) -> u64 {
        let mut live = |entry: KeyEntry| if entry.place < end { entry.is_live() } else { was_live(entry) };
        let (from, to) = match interval {
            Interval::Key(key) => return self.get(key).map_or(0, |entry| u64::from(live(entry))),
            interval => interval.bounds(),
        };
        let (mut whole, mut single) = (0, 0);
        let mut add_whole = |subtree: &Subtree| {
            let unchanged = subtree.end <= end;
            whole += if unchanged { subtree.live } else { 0 };
            unchanged
        };
        self.keys.visit(from, to, &mut add_whole, &mut |entry| single += u64::from(live(*entry)));
        whole + single
    }
}
