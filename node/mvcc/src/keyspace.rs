//! Owns the content: keys, versions, marks and sizes. The content is one persistent value, which the writer changes and readers
//! share. Does not own the rules of commands (`apply`, `txn`) or of reads (`range`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::command::{Alarm, AlarmKind};
use crate::history::{History, Moment};
use crate::index::{Index, Interval, KeyEntry};
use crate::key_value::{Fields, KeyValue, Link};
use crate::level::FeatureLevel;
use crate::revision::{FullRevision, Revision};
use crate::sequence::Place;

/// Memory of one version in bytes, in addition to the marshalled bytes: overhead of the allocation, and the item in the history.
const VERSION_OVERHEAD_BYTES: u64 = 80;
/// Memory of one key in bytes, in addition to the bytes of the key: the entry in the index.
const KEY_OVERHEAD_BYTES: u64 = 80;

#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    pub(crate) index: Index,
    pub(crate) history: History,
    /// Revision of the last command that changed something. While a command runs, its changes have the next revision.
    pub(crate) revision: Revision,
    /// Compaction mark. Reads below the mark fail. `Revision::NEVER` before the first compaction.
    pub(crate) compacted: Revision,
    /// Place at which the removal of compacted versions continues; `None` if the removal is complete.
    pub(crate) removal: Option<Place>,
    pub(crate) alarms: Arc<BTreeSet<Alarm>>,
    /// The cluster's feature level. Never falls.
    pub(crate) level: FeatureLevel,
    /// Latest time of a command, in milliseconds since the Unix epoch. Never decreases.
    pub(crate) time_ms: u64,
    /// Memory of all versions and keys in bytes, including the overheads per version and per key.
    pub(crate) size_bytes: u64,
}

impl Keyspace {
    pub(crate) fn new() -> Keyspace {
        Keyspace {
            index: Index::default(),
            history: History::default(),
            revision: Revision::FIRST,
            compacted: Revision::NEVER,
            removal: None,
            alarms: Arc::default(),
            level: FeatureLevel::FIRST,
            time_ms: 0,
            size_bytes: 0,
        }
    }

    pub(crate) fn alarm_raised(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|alarm| alarm.kind == kind)
    }

    /// The newest version of a key, if the key is live.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<KeyValue> {
        let entry = self.index.get(key).filter(KeyEntry::is_live)?;
        Some(self.version(entry).clone())
    }

    /// The newest version of a live key.
    pub(crate) fn version(&self, entry: KeyEntry) -> &KeyValue {
        debug_assert!(entry.is_live(), "the version of a tombstone may be removed");
        self.history.get(entry.place).expect("the newest version of a live key is never removed")
    }

    /// Returns the version that a key had at a moment; `None` if the key was not live at the moment. The moment must
    /// not be below the compaction mark.
    pub(crate) fn live_at(&self, moment: Moment, entry: KeyEntry) -> Option<&KeyValue> {
        let place = self.history.newest_before(moment.end, entry.place)?;
        let version = self.history.get(place).filter(|version| !version.is_tombstone());
        debug_assert!(
            version.is_none_or(|version| version.main() <= moment.revision),
            "a version that was live at a revision is not newer"
        );
        version
    }

    /// Number of keys of an interval that are live now (`None`), or were live at a moment.
    pub(crate) fn count(&self, interval: Interval<'_>, moment: Option<Moment>) -> u64 {
        self.count_while(interval, moment, || true)
    }

    /// The same. `goes_on` is called for each key that has changed since the moment. When it returns false, the result
    /// does not matter any more.
    pub(crate) fn count_while(
        &self,
        interval: Interval<'_>,
        moment: Option<Moment>,
        mut goes_on: impl FnMut() -> bool,
    ) -> u64 {
        let Some(moment) = moment else {
            return self.index.count_live(interval);
        };
        // If the key's present generation began at or before the moment, the key was live at the moment, and no version needs to
        // be looked up.
        let was_live = |entry: KeyEntry| {
            goes_on()
                && ((entry.is_live() && entry.created <= moment.revision) || self.live_at(moment, entry).is_some())
        };
        self.index.count_live_before(interval, moment.end, was_live)
    }

    /// Puts a key. `revision` must be newer than every version.
    pub(crate) fn put(&mut self, scratch: &mut Vec<u8>, revision: FullRevision, key: &[u8], value: &[u8], lease: i64) {
        debug_assert_eq!(revision.main, self.revision.next(), "changes of a command belong to the next revision");
        let (place, modified) = (self.history.end(), revision.main);
        let (before, now) = self.index.update(key, |before| {
            let (created, version) = match before {
                Some(before) if before.is_live() => (before.created, before.version + 1),
                _ => (modified, 1),
            };
            KeyEntry { place, modified, created, version }
        });
        let fields = Fields {
            key,
            create_revision: now.created.0,
            mod_revision: modified.0,
            version: now.version,
            value,
            lease,
        };
        self.remember(scratch, before, revision, &fields);
    }

    /// Deletes a live key. `revision` must be newer than every version.
    pub(crate) fn delete(&mut self, scratch: &mut Vec<u8>, revision: FullRevision, key: &[u8]) {
        debug_assert_eq!(revision.main, self.revision.next(), "changes of a command belong to the next revision");
        debug_assert!(self.newest(key).is_some(), "only live keys are deleted");
        self.restore(scratch, revision, &Fields { key, ..Fields::default() });
    }

    /// Adds a version with these fields. The version is a tombstone if `fields.version` is 0. `revision` must be newer than every
    /// version.
    pub(crate) fn restore(&mut self, scratch: &mut Vec<u8>, revision: FullRevision, fields: &Fields<'_>) {
        let entry = KeyEntry {
            place: self.history.end(),
            modified: revision.main,
            created: Revision(fields.create_revision),
            version: fields.version,
        };
        let (before, _) = self.index.update(fields.key, |_| entry);
        self.remember(scratch, before, revision, fields);
    }

    fn remember(
        &mut self,
        scratch: &mut Vec<u8>,
        before: Option<KeyEntry>,
        revision: FullRevision,
        fields: &Fields<'_>,
    ) {
        let link = match before {
            Some(before) => self.history.link_after(before.place, fields.version),
            None => Link::NONE,
        };
        if before.is_none() {
            self.size_bytes += key_size(fields.key);
        }
        let version = KeyValue::build(scratch, revision, link, fields);
        self.size_bytes += version_size(&version);
        self.history.push(revision, version);
    }

    pub(crate) fn remove_version(&mut self, place: Place) {
        if let Some(version) = self.history.remove(place) {
            debug_assert!(
                version.is_tombstone() || self.index.get(version.key()).is_none_or(|entry| entry.place > place),
                "the newest version of a live key is never removed"
            );
            self.shrink(version_size(&version));
        }
    }

    pub(crate) fn remove_key(&mut self, key: &[u8]) {
        debug_assert!(
            self.index.get(key).is_some_and(|entry| !entry.is_live()),
            "only keys whose newest version is a tombstone leave the index"
        );
        self.shrink(key_size(key));
        self.index.remove(key);
    }

    fn shrink(&mut self, bytes: u64) {
        assert!(self.size_bytes >= bytes, "size is never negative: {} less {bytes}", self.size_bytes);
        self.size_bytes -= bytes;
    }
}

pub(crate) fn version_size(version: &KeyValue) -> u64 {
    VERSION_OVERHEAD_BYTES + version.encoded().len() as u64
}

pub(crate) fn key_size(key: &[u8]) -> u64 {
    KEY_OVERHEAD_BYTES + key.len() as u64
}
