//! Owns every version that is remembered, ordered by revision. Does not own the order of keys (`index`).

use imbl::OrdMap;

use crate::key_value::{KeyValue, Link};
use crate::revision::FullRevision;

/// Persistent: a clone costs nothing and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    versions: OrdMap<FullRevision, KeyValue>,
}

impl History {
    pub(crate) fn get(&self, revision: FullRevision) -> Option<&KeyValue> {
        self.versions.get(&revision)
    }

    pub(crate) fn link(&self, revision: FullRevision) -> Option<Link> {
        self.get(revision).map(KeyValue::link)
    }

    /// Adds the newest version.
    pub(crate) fn push(&mut self, revision: FullRevision, version: KeyValue) {
        self.versions.insert(revision, version);
    }

    pub(crate) fn remove(&mut self, revision: FullRevision) -> Option<KeyValue> {
        self.versions.remove(&revision)
    }

    /// All versions from a revision on, oldest first.
    pub(crate) fn scan(&self, from: FullRevision) -> impl Iterator<Item = (FullRevision, &KeyValue)> {
        self.versions.range(from..).map(|(revision, version)| (*revision, version))
    }

    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }
}
