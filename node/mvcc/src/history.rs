//! Owns the history: every version that is not removed, ordered by revision, and the links from a version to older versions of
//! the same key. Does not own the order of keys (`index`).

use std::iter::Peekable;
use std::ops::Range;

use crate::key_value::{Jump, KeyValue, Link};
use crate::revision::{FullRevision, Revision};
use crate::sequence::{Place, Sequence};

/// The versions of all keys. The structure is persistent: a clone shares the versions and never changes.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// Versions in the order in which they were written. The revisions strictly grow.
    versions: Sequence<KeyValue>,
    /// Revision of the version that was added last, even if this version was removed.
    newest: FullRevision,
}

/// A jump ([`Jump`]) is a link to a much older version. Only tombstones and versions whose counter is a multiple of
/// this number have a jump, because a jump costs space in the version and time when the version is written.
const JUMP_EVERY: u8 = 8;

impl Default for History {
    fn default() -> Self {
        History { versions: Sequence::default(), newest: FullRevision { main: Revision(0), sub: 0 } }
    }
}

impl History {
    pub(crate) fn get(&self, place: Place) -> Option<&KeyValue> {
        note_read();
        self.versions.get(place)
    }

    /// Place of the next version that will be added.
    pub(crate) fn end(&self) -> Place {
        self.versions.end()
    }

    /// Adds a version as the newest version, with the revision of its change.
    pub(crate) fn push(&mut self, revision: FullRevision, version: KeyValue) {
        assert!(revision > self.newest, "revisions strictly grow: {:?} came before {revision:?}", self.newest);
        debug_assert_eq!(version.revision(), revision, "a version names the revision that made it");
        self.newest = revision;
        self.versions.push(version);
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<KeyValue> {
        self.versions.remove(place)
    }

    /// The versions at or after a place, oldest first.
    pub(crate) fn scan(&self, from: Place) -> impl Iterator<Item = (Place, &KeyValue)> {
        self.versions.scan(from).inspect(|_| note_read())
    }

    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Returns the moment right after the changes of a revision.
    pub(crate) fn moment(&self, revision: Revision) -> Moment {
        let end = self.versions.first_where(|version| version.main() > revision);
        debug_assert!(
            self.scan(end).next().is_none_or(|(_, version)| version.main() > revision),
            "versions from a moment on are newer"
        );
        Moment { revision, end }
    }

    /// Returns the place of a key's newest version before `end`; `None` if the key had no version before `end`. `newest`
    /// is the place of the key's newest version. The version at the returned place may be a tombstone. Compaction may
    /// have removed this tombstone; `get` then finds no version at the place. `end` must not be below the compaction
    /// mark, because the search may need versions that compaction removes.
    pub(crate) fn newest_before(&self, end: Place, newest: Place) -> Option<Place> {
        let mut place = newest;
        while place >= end {
            let link = self.get(place)?.link();
            let older = match link.jump {
                Some(jump) if jump.to >= end => jump.to,
                _ => link.previous?,
            };
            debug_assert!(older < place, "links lead to older versions");
            place = older;
        }
        Some(place)
    }

    /// The versions before `end` that were replaced by the versions at the places `by`. Only these versions cost memory.
    pub(crate) fn replaced_before(&self, end: Place, by: Range<Place>) -> Replaced {
        debug_assert!(by.start <= by.end, "a stretch of history ends where it begins or later");
        let mut places: Vec<Place> = self
            .scan(by.start)
            .take_while(|(place, _)| *place < by.end)
            .filter_map(|(_, version)| version.link().previous)
            .filter(|replaced| *replaced < end)
            .collect();
        places.sort_unstable();
        Replaced { places: places.into_iter().peekable() }
    }

    /// Returns the link of a new version that replaces the version at `previous`. `version` is the version counter of
    /// the new version.
    pub(crate) fn link_after(&self, previous: Place, version: i64) -> Link {
        debug_assert!(previous < self.end(), "links lead to older versions");
        let jump = if version % i64::from(JUMP_EVERY) == 0 { self.jump_after(previous) } else { None };
        debug_assert!(
            jump.is_none_or(|jump| jump.to <= previous),
            "a jump leads at least as far as the previous version"
        );
        Link { previous: Some(previous), jump }
    }

    /// Returns the jump of a version. The versions with a jump form a list. Let P be the predecessor of the version in this list,
    /// T the target of P's jump, and U the target of T's jump. The jump leads to U if the distances from P to T and from T to U
    /// are equal, otherwise to P. With such jumps, the number of steps to an older version is logarithmic in the distance (Myers,
    /// "An applicative random-access stack", 1983).
    fn jump_after(&self, previous: Place) -> Option<Jump> {
        let link = |place| self.get(place).map(KeyValue::link);
        // The search finds the nearest older version that has a jump. If there is none, the predecessor is the oldest version
        // that is not removed.
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

/// A revision and its place in the history: versions before `end` are at or below the revision, and all other versions are above
/// the revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) revision: Revision,
    pub(crate) end: Place,
}

/// Places of versions that were replaced.
pub(crate) struct Replaced {
    /// Places in ascending order.
    places: Peekable<std::vec::IntoIter<Place>>,
}

impl Replaced {
    /// Number of places that are left.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether the version at a place was replaced. Each call must have a higher place than the call before, because a
    /// call drops the lower places.
    pub(crate) fn contains(&mut self, place: Place) -> bool {
        while self.places.next_if(|replaced| *replaced < place).is_some() {}
        self.places.next_if_eq(&place).is_some()
    }
}

/// Called for each version that is read. Only unit tests count the calls.
fn note_read() {
    #[cfg(test)]
    reads::add_one();
}

/// Owns the number of versions that a unit test reads from histories.
#[cfg(test)]
pub(crate) mod reads {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn add_one() {
        COUNT.set(COUNT.get() + 1);
    }

    /// Returns the result of `work`, and the number of versions that `work` read.
    pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
        let before = COUNT.get();
        let result = work();
        (result, COUNT.get() - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_value::Fields;

    /// Returns a history of a single key with one version for each of these counters, at the revisions 2, 3 and so on.
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
            history.push(revision, KeyValue::build(&mut scratch, revision, link, &fields));
        }
        history
    }

    fn assert_finds_all(history: &History, from: u64, steps_max: u32) {
        let newest = Place(history.end().0 - 1);
        let step = (history.end().0 / 500).max(1) as usize;
        for end in (from + 1..=history.end().0).step_by(step) {
            let mut steps = 0;
            let mut place = newest;
            while place >= Place(end) {
                steps += 1;
                let link = history.get(place).expect("it is newer than the place looked for").link();
                place = link
                    .jump
                    .map(|jump| jump.to)
                    .filter(|to| *to >= Place(end))
                    .or(link.previous)
                    .expect("it has an older version");
            }
            assert_eq!(history.newest_before(Place(end), newest), Some(place));
            assert_eq!(place, Place(end - 1), "every place is a version of the one key");
            assert!(steps <= steps_max, "{} steps to {end}", steps);
        }
    }

    #[test]
    fn old_versions_of_a_busy_key_are_found_in_few_steps() {
        let history = history_of((0..100_000).map(|version| version + 1));
        assert_finds_all(&history, 0, 250);
    }

    #[test]
    fn old_versions_of_a_key_that_is_deleted_repeatedly_are_found_in_few_steps() {
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
            history.push(revision, KeyValue::build(&mut scratch, revision, link, &fields));
        }
        assert_finds_all(&history, 50_004, 250);
    }
}
