//! The configurations that the log still holds. Owns which one is in force, always as a function of snapshot and log
//! (openraft#1808): an appended configuration is in force at once, a truncated one no longer (Raft thesis §4.1).

use std::sync::Arc;

use crate::configuration::Configuration;
use crate::ids::Index;
use crate::message::{Entry, Payload};

/// A configuration and the index of its entry.
type PlacedConfiguration = (Index, Arc<Configuration>);

/// The configurations of a log, oldest first. The first came with the snapshot or is at or before the purge mark.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ConfigurationHistory {
    placed: Vec<PlacedConfiguration>,
}

impl ConfigurationHistory {
    pub(crate) fn new(index: Index, configuration: Arc<Configuration>) -> Self {
        Self { placed: vec![(index, configuration)] }
    }

    /// An entry was appended; true if it changed the configuration in force.
    pub(crate) fn appended(&mut self, entry: &Entry) -> bool {
        let Payload::Configuration(configuration) = &entry.payload else { return false };
        let index = entry.id.index;
        if index <= self.latest().0 {
            return false;
        }
        self.placed.push((index, Arc::clone(configuration)));
        true
    }

    /// The log was truncated from `index` on; true if that changed the configuration in force.
    pub(crate) fn truncated(&mut self, index: Index) -> bool {
        let kept = self.placed.partition_point(|(at, _)| *at < index).max(1);
        assert!(self.placed[0].0 < index || kept == 1, "the oldest configuration stays");
        let changed = kept < self.placed.len();
        self.placed.truncate(kept);
        changed
    }

    /// The log was purged up to `index`: forgets configurations that no entry at or after `index` needs.
    pub(crate) fn purged(&mut self, index: Index) {
        let place = self.place_at(index);
        self.placed.drain(..place);
        assert!(!self.placed.is_empty(), "some configuration is always in force");
    }

    /// The configuration in force and the index of its entry.
    pub(crate) fn latest(&self) -> &PlacedConfiguration {
        &self.placed[self.placed.len() - 1]
    }

    /// The configuration that was in force at `index`, and the index of its entry.
    pub(crate) fn at(&self, index: Index) -> &PlacedConfiguration {
        &self.placed[self.place_at(index)]
    }

    /// The configuration in force at `index` and all later ones: the cluster may have agreed on any of them.
    pub(crate) fn since(&self, index: Index) -> impl Iterator<Item = &Configuration> {
        self.placed[self.place_at(index)..].iter().map(|(_, configuration)| &**configuration)
    }

    fn place_at(&self, index: Index) -> usize {
        self.placed.partition_point(|(at, _)| *at <= index).saturating_sub(1)
    }
}
