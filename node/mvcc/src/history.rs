//! Owns every version that is remembered, ordered by revision, and the way back from a version to older ones of its key.
//! Does not own the order of keys (`index`).

use std::iter::Peekable;

use crate::key_value::{Jump, KeyValue, Link};
use crate::revision::Revision;
use crate::sequence::{Place, Sequence};

/// Persistent: a clone costs nothing and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Their revisions ascend.
    versions: Sequence<KeyValue>,
}

/// Versions whose counter is a multiple of this have a jump, and so do tombstones; the others cost neither its space nor
/// its making.
const JUMP_EVERY: u8 = 8;

impl History {
    pub(crate) fn get(&self, place: Place) -> Option<&KeyValue> {
        self.versions.get(place)
    }

    /// The place of the next version.
    pub(crate) fn end(&self) -> Place {
        self.versions.end()
    }

    /// Adds the newest version.
    pub(crate) fn push(&mut self, version: KeyValue) {
        self.versions.push(version);
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<KeyValue> {
        self.versions.remove(place)
    }

    /// All versions from a place on, oldest first.
    pub(crate) fn scan(&self, from: Place) -> impl Iterator<Item = (Place, &KeyValue)> {
        self.versions.scan(from)
    }

    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Where the history ended after a revision.
    pub(crate) fn moment(&self, revision: Revision) -> Moment {
        Moment { revision, end: self.versions.first_where(|version| version.main() > revision) }
    }

    /// The newest version before `end` of the key whose newest version is at `newest`. `None` if there was none; it may be
    /// a tombstone, or removed because it was one. `end` must not be below the compaction mark.
    pub(crate) fn newest_before(&self, end: Place, newest: Place) -> Option<Place> {
        let mut place = newest;
        while place >= end {
            let link = self.get(place)?.link();
            place = match link.jump {
                Some(jump) if jump.to >= end => jump.to,
                _ => link.previous?,
            };
        }
        Some(place)
    }

    /// The versions that were replaced by those of a stretch of history.
    pub(crate) fn replaced_in(&self, from: Place, to: Place) -> Replaced {
        let inside = self.scan(from).take_while(|(place, _)| *place < to);
        let mut places: Vec<Place> = inside.filter_map(|(_, version)| version.link().previous).collect();
        places.sort_unstable();
        Replaced { places: places.into_iter().peekable() }
    }

    /// The link of a version that replaces the one at `previous` and has this counter.
    pub(crate) fn link_after(&self, previous: Place, version: i64) -> Link {
        let jump = if version % i64::from(JUMP_EVERY) == 0 { self.jump_after(previous) } else { None };
        Link { previous: Some(previous), jump }
    }

    /// Among the versions that have a jump, one goes to the target of its predecessor's target if the two distances are
    /// equal, else to its predecessor: so that from any of them any older one is reached in steps logarithmic in their
    /// distance (Myers, "An applicative random-access stack", 1983).
    fn jump_after(&self, previous: Place) -> Option<Jump> {
        let link = |place| self.get(place).map(KeyValue::link);
        // The predecessor has a jump itself, or is the oldest that is left.
        let mut predecessor = previous;
        let mut of_predecessor = link(previous)?;
        for _ in 0..JUMP_EVERY {
            if of_predecessor.jump.is_some() {
                break;
            }
            let Some(older) = of_predecessor.previous else { break };
            let Some(of_older) = link(older) else { break };
            (predecessor, of_predecessor) = (older, of_older);
        }
        let depth_of = |link: Link| link.jump.map_or(0, |jump| jump.depth);
        let depth = depth_of(of_predecessor);
        let farther = of_predecessor.jump.and_then(|near| {
            let of_near = link(near.to)?;
            let far = of_near.jump?.to;
            let (near_depth, far_depth) = (depth_of(of_near), depth_of(link(far)?));
            (depth.wrapping_sub(near_depth) == near_depth.wrapping_sub(far_depth)).then_some(far)
        });
        Some(Jump { to: farther.unwrap_or(predecessor), depth: depth.wrapping_add(1) })
    }
}

/// A revision, and a place before which all versions are at or before it, and from which on they are newer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) revision: Revision,
    pub(crate) end: Place,
}

/// Places of versions that were replaced.
pub(crate) struct Replaced {
    places: Peekable<std::vec::IntoIter<Place>>,
}

impl Replaced {
    /// Whether a version is among them. To be asked in ascending order.
    pub(crate) fn contains(&mut self, place: Place) -> bool {
        while self.places.next_if(|replaced| *replaced < place).is_some() {}
        self.places.next_if_eq(&place).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::key_value::Fields;
    use crate::revision::FullRevision;

    /// A history of one key alone: a version at each revision from 2 on, with these counters.
    fn history_of(counters: impl Iterator<Item = i64>) -> History {
        let mut history = History::default();
        let mut scratch = Vec::new();
        for (number, version) in counters.enumerate() {
            let main = number as i64 + 2;
            let revision = FullRevision { main: Revision(main), sub: 0 };
            let link = match number.checked_sub(1) {
                Some(previous) => history.link_after(Place(previous as u64), version),
                None => Link::NONE,
            };
            let live = Fields { key: b"k", create_revision: 1, mod_revision: main, version, ..Fields::default() };
            let fields = if version == 0 { Fields { key: b"k", ..Fields::default() } } else { live };
            history.push(KeyValue::build(&mut scratch, revision, link, &fields));
        }
        history
    }

    fn assert_finds_all(history: &History, from: u64, looks_max: u32) {
        let newest = Place(history.end().0 - 1);
        let step = (history.end().0 / 500).max(1) as usize;
        for end in (from + 1..=history.end().0).step_by(step) {
            let looks = Cell::new(0);
            let mut place = newest;
            while place >= Place(end) {
                looks.set(looks.get() + 1);
                let link = history.get(place).expect("it is newer than what is looked for").link();
                place =
                    link.jump.map(|jump| jump.to).filter(|to| *to >= Place(end)).or(link.previous).expect("older ones");
            }
            assert_eq!(history.newest_before(Place(end), newest), Some(place));
            assert_eq!(place, Place(end - 1), "every place is a version of the one key");
            assert!(looks.get() <= looks_max, "{} looks for {end}", looks.get());
        }
    }

    #[test]
    fn old_versions_of_a_busy_key_are_found_in_few_steps() {
        let history = history_of((0..100_000).map(|version| version + 1));
        assert_finds_all(&history, 0, 250);
    }

    #[test]
    fn old_versions_of_a_key_created_and_deleted_over_and_over_are_found_in_few_steps() {
        let history = history_of((0..100_000).map(|number| (number + 1) % 3));
        assert_finds_all(&history, 0, 250);
    }

    #[test]
    fn versions_written_after_a_compaction_are_found_in_few_steps() {
        let mut history = history_of((0..50_005).map(|version| version + 1));
        for place in 0..50_004 {
            history.remove(Place(place));
        }
        let mut scratch = Vec::new();
        for number in 50_005..100_000u64 {
            let (main, version) = (number as i64 + 2, number as i64 + 1);
            let link = history.link_after(Place(number - 1), version);
            let fields = Fields { key: b"k", create_revision: 1, mod_revision: main, version, ..Fields::default() };
            let revision = FullRevision { main: Revision(main), sub: 0 };
            history.push(KeyValue::build(&mut scratch, revision, link, &fields));
        }
        assert_finds_all(&history, 50_004, 250);
    }
}
