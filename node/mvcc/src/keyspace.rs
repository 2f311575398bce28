//! Owns the content: keys, versions, marks and sizes, as one persistent value that writers change and readers share.
//! Does not own the rules of commands (`apply`, `txn`) or of reads (`range`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::command::{Alarm, AlarmKind};
use crate::history::History;
use crate::index::{Index, Interval, KeyEntry};
use crate::key_value::{Fields, KeyValue, Link};
use crate::revision::{FullRevision, Revision};

/// What one version costs in memory beside its marshalled bytes: its allocation, its place in the history.
const VERSION_OVERHEAD_BYTES: u64 = 80;
/// What one key costs in memory beside its bytes: its place in the index.
const KEY_OVERHEAD_BYTES: u64 = 80;

#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    pub(crate) index: Index,
    pub(crate) history: History,
    /// The newest whole revision. While a command runs, its changes stand at the next one.
    pub(crate) revision: Revision,
    /// Reads below it fail; `Revision::NEVER` before the first compaction.
    pub(crate) compacted: Revision,
    /// Where the removal of compacted versions goes on; `None` when it is done.
    pub(crate) removal: Option<FullRevision>,
    pub(crate) alarms: Arc<BTreeSet<Alarm>>,
    /// The time of the newest command, in milliseconds since the Unix epoch; never runs back.
    pub(crate) time_ms: u64,
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
            time_ms: 0,
            size_bytes: 0,
        }
    }

    pub(crate) fn alarm_raised(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|alarm| alarm.kind == kind)
    }

    /// The newest version of a live key.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<KeyValue> {
        let entry = self.index.get(key).filter(KeyEntry::is_live)?;
        Some(self.version(entry.modified).clone())
    }

    /// The version that the index or a newer version names and that compaction cannot have removed.
    pub(crate) fn version(&self, revision: FullRevision) -> &KeyValue {
        self.history.get(revision).expect("the newest version of a live key is never removed")
    }

    /// The newest place at or before a revision, which must not be below the compaction mark. `None` if the key did not
    /// exist; the place may be a tombstone's, or one that compaction removed because it was a tombstone's.
    pub(crate) fn place_at(&self, entry: KeyEntry, at: Revision) -> Option<FullRevision> {
        let mut place = entry.modified;
        while place.main > at {
            let link = self.history.link(place)?;
            place = match link.jump {
                Some(jump) if jump.main > at => jump,
                _ => link.previous?,
            };
        }
        Some(place)
    }

    /// The live version at a revision that is not below the compaction mark.
    pub(crate) fn live_at(&self, entry: KeyEntry, at: Revision) -> Option<&KeyValue> {
        self.history.get(self.place_at(entry, at)?).filter(|version| !version.is_tombstone())
    }

    /// How many keys of an interval are live, now or at a revision.
    pub(crate) fn count(&self, interval: Interval<'_>, at: Option<Revision>) -> u64 {
        match at {
            None => self.index.count_live(interval),
            Some(at) => self.index.count_live_at(interval, at, |entry| self.live_at(entry, at).is_some()),
        }
    }

    /// Adds a version of a key, newer than all there are. `fields.version` 0 makes it a tombstone.
    pub(crate) fn add(&mut self, scratch: &mut Vec<u8>, place: FullRevision, fields: &Fields<'_>) {
        let present = self.index.get(fields.key);
        let link = match present {
            Some(present) => self.link_after(present.modified),
            None => Link::NONE,
        };
        if present.is_none() {
            self.size_bytes += key_size(fields.key);
        }
        let version = KeyValue::build(scratch, link, fields);
        self.size_bytes += version_size(&version);
        self.history.push(place, version);
        let entry = KeyEntry { modified: place, created: Revision(fields.create_revision), version: fields.version };
        self.index.set(fields.key, entry);
    }

    fn link_after(&self, previous: FullRevision) -> Link {
        match self.history.link(previous) {
            Some(of_previous) => Link::after(previous, of_previous, |older| self.history.link(older)),
            None => Link::NONE,
        }
    }

    pub(crate) fn remove_version(&mut self, place: FullRevision) {
        if let Some(version) = self.history.remove(place) {
            self.size_bytes -= version_size(&version);
        }
    }

    pub(crate) fn remove_key(&mut self, key: &[u8]) {
        self.size_bytes -= key_size(key);
        self.index.remove(key);
    }
}

fn version_size(version: &KeyValue) -> u64 {
    VERSION_OVERHEAD_BYTES + version.encoded().len() as u64
}

fn key_size(key: &[u8]) -> u64 {
    KEY_OVERHEAD_BYTES + key.len() as u64
}
