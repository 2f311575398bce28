//! Owns the keys in order, each with its newest version's place and counters. Does not own the versions (`history`).

mod key;

use bytes::Bytes;
use imbl::OrdMap;

pub(crate) use key::{Interval, KeyEntry};

use crate::revision::Revision;

/// Persistent: a clone costs nothing and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keys: OrdMap<Bytes, KeyEntry>,
}

impl Index {
    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyEntry> {
        self.keys.get(key).copied()
    }

    pub(crate) fn set(&mut self, key: &[u8], entry: KeyEntry) {
        match self.keys.get_mut(key) {
            Some(present) => *present = entry,
            None => {
                self.keys.insert(Bytes::copy_from_slice(key), entry);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// The entries of an interval, tombstones included, in key order.
    pub(crate) fn scan<'a>(&'a self, interval: Interval<'a>) -> impl Iterator<Item = (&'a [u8], KeyEntry)> {
        self.keys.range::<_, [u8]>(interval.bounds()).map(|(key, entry)| (&key[..], *entry))
    }

    /// How many keys of an interval are live, if none of them changed after `unless_after`.
    pub(crate) fn count_live(&self, interval: Interval<'_>) -> u64 {
        self.scan(interval).filter(|(_, entry)| entry.is_live()).count() as u64
    }

    pub(crate) fn count_live_at(
        &self,
        interval: Interval<'_>,
        at: Revision,
        mut changed: impl FnMut(KeyEntry) -> bool,
    ) -> u64 {
        self.scan(interval)
            .filter(|&(_, entry)| if entry.modified.main <= at { entry.is_live() } else { changed(entry) })
            .count() as u64
    }
}
