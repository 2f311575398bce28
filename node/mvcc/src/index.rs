//! Owns the keys in order, each with its newest version's place and counters. Does not own the versions (`history`).

mod key;
mod page;
mod scan;
mod tree;

pub(crate) use key::{Interval, KeyEntry};

use key::Subtree;
use tree::Tree;

use crate::sequence::Place;

/// Persistent: a clone costs nothing and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keys: Tree,
}

impl Index {
    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyEntry> {
        self.keys.get(key).copied()
    }

    /// Replaces what is known of a key. Returns what was, and what is.
    pub(crate) fn update(
        &mut self,
        key: &[u8],
        update: impl FnOnce(Option<&KeyEntry>) -> KeyEntry,
    ) -> (Option<KeyEntry>, KeyEntry) {
        let mut now = None;
        let before = self.keys.upsert(key, |before| *now.insert(update(before)));
        (before, now.expect("an upsert asks for the new value exactly once"))
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// The entries of an interval, tombstones included, in key order.
    pub(crate) fn scan<'a>(&'a self, interval: Interval<'a>) -> impl Iterator<Item = (&'a [u8], KeyEntry)> {
        let (one, many) = match interval {
            Interval::Key(key) => (self.get(key).map(|entry| (key, entry)), None),
            interval => (None, Some(interval.bounds())),
        };
        let many = many.map(|(from, to)| self.keys.scan(from, to)).into_iter().flatten();
        one.into_iter().chain(many.map(|(key, entry)| (key, *entry)))
    }

    /// How many keys of an interval are live. Costs the logarithm of the number of keys.
    pub(crate) fn count_live(&self, interval: Interval<'_>) -> u64 {
        self.count_live_before(interval, Place(u64::MAX), |_| false)
    }

    /// How many keys of an interval were live when the history ended at `end`; `was_live` tells of a key that changed
    /// since. Costs the logarithm of the number of keys, and something for each of them that changed since.
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
