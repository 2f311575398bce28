//! The configurations that the log still holds. Owns which configuration is in force; this depends only on snapshot and
//! log (openraft#1808). An appended configuration is in force immediately, and a truncated one is no longer in force
//! (Raft thesis §4.1).

use std::sync::Arc;

use crate::configuration::Configuration;
use crate::ids::Index;
use crate::message::{Entry, Payload};

/// A configuration and the index of its entry.
type PlacedConfiguration = (Index, Arc<Configuration>);

/// The configurations of a log, oldest first. The first configuration is that of the snapshot, or a configuration whose
/// entry is at or before the purge mark.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ConfigurationHistory {
    placed: Vec<PlacedConfiguration>,
}

impl ConfigurationHistory {
    pub(crate) fn new(index: Index, configuration: Arc<Configuration>) -> Self {
        Self { placed: vec![(index, configuration)] }
    }

    /// Records that an entry was appended. Returns whether this changed the configuration in force.
    pub(crate) fn appended(&mut self, entry: &Entry) -> bool {
        let Payload::Configuration(configuration) = &entry.payload else { return false };
        self.placed(entry.id.index, Arc::clone(configuration))
    }

    /// Records that the entry at `index` carries a configuration. Returns whether this changed the configuration in
    /// force.
    pub(crate) fn placed(&mut self, index: Index, configuration: Arc<Configuration>) -> bool {
        if index <= self.latest().0 {
            return false;
        }
        self.placed.push((index, configuration));
        true
    }

    /// Records that the log was truncated from `index` on. Returns whether this changed the configuration in force.
    pub(crate) fn truncated(&mut self, index: Index) -> bool {
        let kept = self.placed.partition_point(|(at, _)| *at < index).max(1);
        assert!(self.placed[0].0 < index || kept == 1, "the oldest configuration stays");
        let changed = kept < self.placed.len();
        self.placed.truncate(kept);
        changed
    }

    /// Records that the log was purged up to `index`: forgets the configurations that were replaced at or before
    /// `index`.
    pub(crate) fn purged(&mut self, index: Index) {
        let place = self.place_at(index);
        self.placed.drain(..place);
        assert!(!self.placed.is_empty(), "some configuration is always in force");
    }

    /// Returns the configuration in force and the index of its entry.
    pub(crate) fn latest(&self) -> &PlacedConfiguration {
        &self.placed[self.placed.len() - 1]
    }

    /// Returns the configuration that was in force at `index`, and the index of its entry.
    pub(crate) fn at(&self, index: Index) -> &PlacedConfiguration {
        &self.placed[self.place_at(index)]
    }

    /// Returns the configuration that was in force at `index` and all later ones.
    pub(crate) fn since(&self, index: Index) -> impl Iterator<Item = &Configuration> {
        self.placed[self.place_at(index)..].iter().map(|(_, configuration)| &**configuration)
    }

    fn place_at(&self, index: Index) -> usize {
        self.placed.partition_point(|(at, _)| *at <= index).saturating_sub(1)
    }
}
