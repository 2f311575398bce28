//! Owns the invariants of the content, and the assertions that check them. The invariants are listed by name in
//! `node/mvcc/docs/etcd_rules.md`. Does not own changes of the content (`keyspace`, `compaction`).

use crate::index::Interval;
use crate::key_value::{Fields, KeyValue};
use crate::keyspace::{Keyspace, key_size, version_size};
use crate::level::FeatureLevel;
use crate::revision::{FullRevision, Revision};
use crate::sequence::Place;

/// Number of versions up to which a debug build checks the whole content after each command, because the cost of the
/// check grows with the number of versions. Larger content is checked after each compaction.
const WHOLE_CHECK_VERSIONS_MAX: usize = 64;

/// The marks of a store, none of which ever decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    revision: Revision,
    compacted: Revision,
    time_ms: u64,
    level: FeatureLevel,
    end: Place,
}

impl Keyspace {
    pub(crate) fn marks(&self) -> Marks {
        Marks {
            revision: self.revision,
            compacted: self.compacted,
            time_ms: self.time_ms,
            level: self.level,
            end: self.history.end(),
        }
    }

    /// Asserts that a successful command changed the marks only as allowed. The check is cheap enough for release
    /// builds.
    pub(crate) fn assert_follows(&self, before: Marks) {
        let now = self.marks();
        assert!(now.compacted >= before.compacted, "compaction mark never falls: {before:?} became {now:?}");
        assert!(now.time_ms >= before.time_ms, "time never runs back: {before:?} became {now:?}");
        assert!(now.level >= before.level, "feature level never falls: {before:?} became {now:?}");
        let grown = if now.end > before.end { before.revision.next() } else { before.revision };
        assert!(now.revision == grown, "one revision for each command with a change: {before:?} became {now:?}");
        if cfg!(debug_assertions) && self.history.len() <= WHOLE_CHECK_VERSIONS_MAX {
            self.assert_sound();
        }
    }

    /// Asserts that a refused command changed nothing except the time.
    pub(crate) fn assert_unchanged(&self, before: Marks) {
        let now = self.marks();
        assert!(now.time_ms >= before.time_ms, "time never runs back: {before:?} became {now:?}");
        assert!(
            now == Marks { time_ms: now.time_ms, ..before },
            "refused command changed nothing: {before:?} became {now:?}"
        );
    }

    /// Asserts every invariant of the whole content. The cost grows with the content, so callers guard it with
    /// `cfg!(debug_assertions)`.
    pub(crate) fn assert_sound(&self) {
        assert!(self.revision >= Revision::FIRST, "revisions begin at 1");
        assert!(self.compacted >= Revision::NEVER, "compaction mark begins at -1");
        assert!(self.compacted <= self.revision, "compaction mark is at or below the revision");
        assert!(self.removal.is_none_or(|place| place <= self.history.end()), "removal goes on inside the history");
        let size_bytes = self.assert_history() + self.assert_index();
        assert_eq!(self.size_bytes, size_bytes, "size equals what the content adds up to");
        self.index.assert_sound();
    }

    /// Asserts the invariants of all versions. Returns the size of the versions, in bytes.
    fn assert_history(&self) -> u64 {
        let (mut newest, mut count, mut size_bytes) = (FullRevision { main: Revision(0), sub: 0 }, 0, 0);
        for (place, version) in self.history.scan(Place(0)) {
            assert!(version.revision() > newest, "revisions strictly grow along the history");
            newest = version.revision();
            assert!(
                self.index.get(version.key()).is_some_and(|entry| entry.place >= place),
                "index and history agree: every version belongs to a key of the index"
            );
            self.assert_generation(place, version);
            count += 1;
            size_bytes += version_size(version);
        }
        assert!(newest.main <= self.revision, "no version is newer than the store");
        assert_eq!(self.history.len(), count, "history counts its versions");
        size_bytes
    }

    /// Asserts the invariants of all keys. Returns the size of the keys, in bytes.
    fn assert_index(&self) -> u64 {
        let (mut keys, mut live, mut size_bytes) = (0, 0, 0);
        for (key, entry) in self.index.scan(Interval::From(&[])) {
            assert!(!key.is_empty(), "no key is empty");
            let version = self.history.get(entry.place);
            let version = version.expect("index and history agree: the newest version of a key is there");
            let fields = version.fields();
            assert_eq!(fields.key, key, "index and history agree: on the key");
            assert_eq!(version.main(), entry.modified, "index and history agree: on the revision of the last change");
            assert_eq!(fields.create_revision, entry.created.0, "index and history agree: on the creation");
            assert_eq!(fields.version, entry.version, "index and history agree: on the counter");
            keys += 1;
            live += u64::from(entry.is_live());
            size_bytes += key_size(key);
        }
        assert_eq!(self.index.count_keys(Interval::From(&[])), keys, "index counts its keys");
        assert_eq!(self.index.count_live(Interval::From(&[])), live, "index counts its live keys");
        size_bytes
    }

    fn assert_generation(&self, place: Place, version: &KeyValue) {
        let (fields, link) = (version.fields(), version.link());
        assert!(link.previous.is_none_or(|previous| previous < place), "links lead to older versions");
        let older = link.previous.and_then(|previous| self.history.get(previous));
        if let Some(older) = older {
            assert_eq!(older.key(), fields.key, "links stay with one key");
            assert!(follows(&older.fields(), &fields), "generations are well-formed: {older:?} before {version:?}");
        }
        if version.is_tombstone() {
            assert!(fields == Fields { key: fields.key, ..Fields::default() }, "a tombstone has a key only");
        } else {
            assert_eq!(fields.mod_revision, version.main().0, "a version names the revision that made it");
            assert!(
                fields.version >= 1 && (1..=fields.mod_revision).contains(&fields.create_revision),
                "generations are well-formed: {version:?}"
            );
            assert_eq!(fields.lease, 0, "no key has a lease, because comparisons do not look up leases");
        }
        if self.removal.is_none() && version.main() <= self.compacted {
            assert!(older.is_none(), "compaction leaves one version of a key at or below its mark");
            assert!(
                !version.is_tombstone() || version.main() == self.compacted,
                "compaction leaves no tombstone below its mark"
            );
        }
    }
}

/// Returns whether `newer` can be the next version of a key after `older`.
fn follows(older: &Fields<'_>, newer: &Fields<'_>) -> bool {
    let older_is_live = older.version != 0;
    match newer.version {
        0 => older_is_live,
        1 => !older_is_live && newer.create_revision == newer.mod_revision,
        _ => {
            older_is_live
                && newer.version == older.version + 1
                && newer.create_revision == older.create_revision
                && newer.mod_revision >= older.mod_revision
        }
    }
}

/// Each test plants a violation of an invariant in private state, and shows that the assertion named after the
/// invariant fails.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Compact, DeleteRange, Put};
    use crate::index::KeyEntry;
    use crate::{Store, image};

    fn put(key: &'static str) -> Command {
        Command::Put(Put { key: key.into(), value: "v".into(), ..Put::default() })
    }

    fn delete(key: &'static str) -> Command {
        Command::DeleteRange(DeleteRange { key: key.into(), ..DeleteRange::default() })
    }

    /// Returns a store with three versions of `a`, one version of `b`, and a tombstone of `c`.
    fn store() -> Store {
        let mut store = Store::new();
        for command in [put("a"), put("a"), put("b"), put("c"), delete("c"), put("a")] {
            store.apply(0, &command).expect("none of these is refused");
        }
        store.space.assert_sound();
        store
    }

    fn compact(store: &mut Store, revision: i64) {
        let command = Command::Compact(Compact { revision, physical: false });
        store.apply(0, &command).expect("the revision is between the mark and the newest");
    }

    #[test]
    #[should_panic(expected = "index and history agree")]
    fn index_entry_without_a_version_is_noticed() {
        let mut store = store();
        let place = store.space.history.end();
        store.space.index.update(b"a", |entry| KeyEntry { place, ..*entry.expect("the key was put") });
        store.space.assert_sound();
    }

    #[test]
    #[should_panic(expected = "index and history agree: every version belongs to a key of the index")]
    fn version_of_a_key_that_the_index_lost_is_noticed() {
        let mut store = store();
        store.space.index.remove(b"b");
        store.space.assert_sound();
    }

    #[test]
    #[should_panic(expected = "revisions strictly grow")]
    fn revision_that_is_given_out_again_is_noticed() {
        let mut store = store();
        store.space.revision = Revision(3);
        let _ = store.apply(0, &put("d"));
    }

    #[test]
    #[should_panic(expected = "size equals what the content adds up to")]
    fn size_that_missed_a_change_is_noticed() {
        let mut store = store();
        store.space.size_bytes += 1;
        store.space.assert_sound();
    }

    #[test]
    #[should_panic(expected = "size is never negative")]
    fn size_that_would_become_negative_is_noticed() {
        let mut store = store();
        compact(&mut store, 7);
        store.space.size_bytes = 1;
        store.compact_slice(100);
    }

    #[test]
    #[should_panic(expected = "compaction mark never falls")]
    fn mark_that_falls_is_noticed() {
        let mut store = store();
        compact(&mut store, 5);
        let before = store.space.marks();
        store.space.compacted = Revision(4);
        store.space.assert_follows(before);
    }

    #[test]
    #[should_panic(expected = "feature level never falls")]
    fn level_that_falls_is_noticed() {
        let mut store = store();
        store.space.level = FeatureLevel(2);
        let before = store.space.marks();
        store.space.level = FeatureLevel::FIRST;
        store.space.assert_follows(before);
    }

    #[test]
    #[should_panic(expected = "generations are well-formed")]
    fn counter_that_skips_a_version_is_noticed() {
        let mut store = store();
        let revision = FullRevision { main: Revision(8), sub: 0 };
        let skipping = Fields { key: b"a", create_revision: 2, mod_revision: 8, version: 9, ..Fields::default() };
        store.space.restore(&mut Vec::new(), revision, &skipping);
        store.space.revision = Revision(8);
        store.space.assert_sound();
    }

    #[test]
    #[should_panic(expected = "no key has a lease")]
    fn lease_that_comparisons_would_miss_is_noticed() {
        let mut store = store();
        store.space.put(&mut Vec::new(), FullRevision { main: Revision(8), sub: 0 }, b"d", b"", 1);
        store.space.revision = Revision(8);
        store.space.assert_sound();
    }

    #[test]
    #[should_panic(expected = "compaction leaves one version of a key at or below its mark")]
    fn removal_that_stops_early_is_noticed() {
        let mut store = store();
        compact(&mut store, 7);
        store.space.removal = None;
        store.space.assert_sound();
    }

    #[test]
    #[should_panic(expected = "refused command changed nothing")]
    fn refusal_that_leaves_a_change_is_noticed() {
        let mut store = store();
        let before = store.space.marks();
        store.space.put(&mut Vec::new(), FullRevision { main: Revision(8), sub: 0 }, b"d", b"", 0);
        store.space.assert_unchanged(before);
    }

    #[test]
    #[should_panic(expected = "an image holds only what its reader accepts")]
    fn image_that_could_not_be_read_is_not_written() {
        let mut store = store();
        let revision = FullRevision { main: Revision(8), sub: 0 };
        let created_later = Fields { key: b"d", create_revision: 9, mod_revision: 8, version: 1, ..Fields::default() };
        store.space.restore(&mut Vec::new(), revision, &created_later);
        store.space.revision = Revision(8);
        let _ = image::write(&store.view(), 1, image::ImageFormat::V1, &mut Vec::new());
    }
}
