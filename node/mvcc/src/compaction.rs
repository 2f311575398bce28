//! Owns compaction: the mark, which takes effect immediately, and the removal, in slices, of the versions that the mark makes
//! unreadable. Does not own the time at which slices run: the caller runs them between commands.
//!
//! Removal visits each version between the previous mark and the new mark once. It removes the version that the visited
//! version replaced, and the visited version itself if it is a tombstone below the mark. The cost therefore depends on
//! the writes since the previous compaction, not on the size of the store. Hashes and images skip compacted versions
//! that are not removed yet. The number of versions that a member has removed is therefore visible only in the size of
//! its store.

use crate::apply::Store;
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::outcome::CommandError;
use crate::revision::Revision;
use crate::sequence::Place;

/// State of the removal of compacted versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All compacted versions are removed.
    Done,
    /// Some compacted versions are left: call [`Store::compact_slice`] again.
    Pending,
}

impl Store {
    /// Removes compacted versions. Visits at least one and at most `versions_max` versions.
    pub fn compact_slice(&mut self, versions_max: usize) -> Removal {
        self.space.remove_compacted(versions_max.max(1))
    }

    /// Returns whether some compacted versions are not removed yet.
    #[must_use]
    pub fn removal(&self) -> Removal {
        if self.space.removal.is_none() { Removal::Done } else { Removal::Pending }
    }
}

impl Keyspace {
    /// Sets the compaction mark (`docs/etcd_rules.md` §2).
    pub(crate) fn compact(&mut self, mark: Revision) -> Result<(), CommandError> {
        if mark <= self.compacted {
            return Err(CommandError::Compacted);
        }
        if mark > self.revision {
            return Err(CommandError::FutureRevision);
        }
        // The removal starts at the old mark itself, because the previous compaction may have kept a tombstone exactly
        // at the old mark.
        let from = self.history.moment(Revision(self.compacted.0 - 1)).end;
        self.removal = Some(self.removal.map_or(from, |pending| pending.min(from)));
        self.compacted = mark;
        debug_assert!(self.removal <= Some(self.mark_end()), "removal begins at or before the end of the mark");
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
        debug_assert!(slice.len() <= versions_max, "a slice visits no more versions than allowed");
        for (place, version) in &slice {
            if let Some(superseded) = version.link().previous {
                debug_assert!(superseded < *place, "links lead to older versions");
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
        debug_assert!(self.removal.is_none_or(|next| next > from), "removal moves forward");
        if self.removal.is_some() {
            return Removal::Pending;
        }
        if cfg!(debug_assertions) {
            self.assert_sound();
        }
        Removal::Done
    }

    /// Removes a tombstone. Also removes the key from the index, unless the key has a newer version.
    fn remove_tombstone(&mut self, place: Place, key: &[u8]) {
        self.remove_version(place);
        if self.index.get(key).is_some_and(|entry| entry.place == place) {
            self.remove_key(key);
        }
    }

    /// The versions that compaction keeps, oldest first. The result does not depend on which compacted versions are removed
    /// already.
    pub(crate) fn surviving_versions(&self) -> impl Iterator<Item = (Place, &KeyValue)> {
        // Versions before this place may be unreadable but not removed yet.
        let pending_end = if self.removal.is_some() { self.mark_end() } else { Place(0) };
        let mut replaced = self.history.replaced_before(pending_end, self.removal.unwrap_or(pending_end)..pending_end);
        let survives = move |&(place, version): &(Place, &KeyValue)| {
            if place >= pending_end {
                return true;
            }
            let dead = version.is_tombstone() && version.main() < self.compacted;
            !replaced.contains(place) && !dead
        };
        self.history.scan(Place(0)).filter(survives)
    }

    /// Place after the last version that is at or below the compaction mark.
    pub(crate) fn mark_end(&self) -> Place {
        self.history.moment(self.compacted).end
    }
}
