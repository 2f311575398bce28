//! Owns compaction: the mark, which takes effect at once, and the removal behind it, in slices. Does not own when slices
//! run: the caller spreads them between commands.
//!
//! Removal walks the versions between the last mark and the new one, each once. A version's predecessor is superseded and
//! goes, as does a tombstone below the mark; so the cost follows what was written since the last compaction, never the
//! size of the store. Hashes and images count as removed whatever the mark condemns, so that how far a member has got
//! shows nowhere but in its size.

use crate::apply::{CommandError, Store};
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::revision::{FullRevision, Revision};

/// Whether compacted versions wait to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is left to remove.
    Done,
    /// Call [`Store::compact_slice`] again.
    Pending,
}

impl Store {
    /// Removes compacted versions, looking at no more than `versions_max` of them (at least one).
    pub fn compact_slice(&mut self, versions_max: usize) -> Removal {
        self.space.remove_compacted(versions_max.max(1))
    }

    /// Whether compacted versions wait to be removed.
    #[must_use]
    pub fn removal(&self) -> Removal {
        if self.space.removal.is_none() { Removal::Done } else { Removal::Pending }
    }
}

impl Keyspace {
    /// Sets the mark (etcd-api.md §2).
    pub(crate) fn compact(&mut self, mark: Revision) -> Result<(), CommandError> {
        if mark <= self.compacted {
            return Err(CommandError::Compacted);
        }
        if mark > self.revision {
            return Err(CommandError::FutureRevision);
        }
        // From the old mark itself: a tombstone exactly there stayed, and goes now.
        let start = FullRevision::start_of(self.compacted);
        self.removal = Some(self.removal.unwrap_or(start));
        self.compacted = mark;
        Ok(())
    }

    fn remove_compacted(&mut self, versions_max: usize) -> Removal {
        let Some(from) = self.removal else {
            return Removal::Done;
        };
        let end = FullRevision::start_of(self.compacted.next());
        let slice: Vec<(FullRevision, KeyValue)> = self
            .history
            .scan(from)
            .take_while(|(place, _)| *place < end)
            .take(versions_max)
            .map(|(place, version)| (place, version.clone()))
            .collect();
        for (place, version) in &slice {
            if let Some(superseded) = version.link().previous {
                self.remove_version(superseded);
            }
            if version.is_tombstone() && place.main < self.compacted {
                self.remove_tombstone(*place, version.key());
            }
        }
        match slice.last() {
            Some((last, _)) if slice.len() == versions_max => {
                self.removal = Some(last.next());
                Removal::Pending
            }
            _ => {
                self.removal = None;
                Removal::Done
            }
        }
    }

    fn remove_tombstone(&mut self, place: FullRevision, key: &[u8]) {
        self.remove_version(place);
        if self.index.get(key).is_some_and(|entry| entry.modified == place) {
            self.remove_key(key);
        }
    }

    /// Whether the mark leaves a version in place, removed yet or not: the newest of its key at or before the mark, unless
    /// it is a tombstone before it.
    pub(crate) fn survives_compaction(&self, place: FullRevision, version: &KeyValue) -> bool {
        if place.main > self.compacted || self.removal.is_none() {
            return true;
        }
        if version.is_tombstone() && place.main < self.compacted {
            return false;
        }
        let entry = self.index.get(version.key()).expect("a version that is remembered has its key in the index");
        self.place_at(entry, self.compacted) == Some(place)
    }
}
