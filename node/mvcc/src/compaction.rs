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
use crate::revision::Revision;
use crate::sequence::Place;

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
        let from = self.history.moment(Revision(self.compacted.0 - 1)).end;
        self.removal = Some(self.removal.map_or(from, |pending| pending.min(from)));
        self.compacted = mark;
        Ok(())
    }

    fn remove_compacted(&mut self, versions_max: usize) -> Removal {
        let Some(from) = self.removal else {
            return Removal::Done;
        };
        let slice: Vec<(Place, KeyValue)> = self
            .history
            .scan(from)
            .take(versions_max)
            .take_while(|(_, version)| version.main() <= self.compacted)
            .map(|(place, version)| (place, version.clone()))
            .collect();
        for (place, version) in &slice {
            if let Some(superseded) = version.link().previous {
                self.remove_version(superseded);
            }
            if version.is_tombstone() && version.main() < self.compacted {
                self.remove_tombstone(*place, version.key());
            }
        }
        self.removal = match slice.last() {
            Some((last, _)) if slice.len() == versions_max => Some(last.next()),
            _ => None,
        };
        self.removal.map_or(Removal::Done, |_| Removal::Pending)
    }

    fn remove_tombstone(&mut self, place: Place, key: &[u8]) {
        self.remove_version(place);
        if self.index.get(key).is_some_and(|entry| entry.place == place) {
            self.remove_key(key);
        }
    }

    /// The versions that the mark leaves in place, oldest first, whether or not the others are removed yet.
    pub(crate) fn surviving_versions(&self) -> impl Iterator<Item = (Place, &KeyValue)> {
        let condemned_end = if self.removal.is_some() { self.mark_end() } else { Place(0) };
        let mut replaced = self.history.replaced_in(self.removal.unwrap_or(condemned_end), condemned_end);
        let survives = move |&(place, version): &(Place, &KeyValue)| {
            if place >= condemned_end {
                return true;
            }
            let dead = version.is_tombstone() && version.main() < self.compacted;
            !replaced.contains(place) && !dead
        };
        self.history.scan(Place(0)).filter(survives)
    }

    /// Where the history ended at the compaction mark.
    pub(crate) fn mark_end(&self) -> Place {
        self.history.moment(self.compacted).end
    }
}
