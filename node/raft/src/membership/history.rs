//! Which configuration is in force: always a function of snapshot and log (openraft#1808). Owns the configurations that the
//! log still holds; an appended one is in force at once, a truncated one no longer (Raft thesis §4.1).

use std::sync::Arc;

use crate::ids::Index;
use crate::membership::configuration::Configuration;
use crate::message::{Entry, Payload};

/// A configuration and the index of its entry.
type Placed = (Index, Arc<Configuration>);

/// The configurations of a log, oldest first; the first came with the snapshot, or stands at or before the purge mark.
#[derive(Clone, Debug, Hash)]
pub(crate) struct History {
    placed: Vec<Placed>,
}

impl History {
    pub(crate) fn new(index: Index, configuration: Arc<Configuration>) -> Self {
        Self { placed: vec![(index, configuration)] }
    }

    /// Notes an appended entry; true when it changed what is in force.
    pub(crate) fn appended(&mut self, entry: &Entry) -> bool {
        let Payload::Configuration(configuration) = &entry.payload else { return false };
        let index = entry.id.index;
        if index <= self.latest().0 {
            return false;
        }
        self.placed.push((index, Arc::clone(configuration)));
        true
    }

    /// Forgets configurations from `index` on; true when that changed what is in force.
    pub(crate) fn truncated(&mut self, index: Index) -> bool {
        let kept = self.placed.partition_point(|(at, _)| *at < index).max(1);
        assert!(self.placed[0].0 < index || kept == 1, "the oldest configuration stays");
        let changed = kept < self.placed.len();
        self.placed.truncate(kept);
        changed
    }

    /// Forgets configurations that nothing at or behind `index` needs.
    pub(crate) fn purged(&mut self, index: Index) {
        let place = self.place_at(index);
        self.placed.drain(..place);
        assert!(!self.placed.is_empty(), "some configuration is always in force");
    }

    /// The one in force.
    pub(crate) fn latest(&self) -> &Placed {
        &self.placed[self.placed.len() - 1]
    }

    /// The one that was in force at `index`.
    pub(crate) fn at(&self, index: Index) -> &Placed {
        &self.placed[self.place_at(index)]
    }

    /// The one in force at `index` and all later ones: any of them may turn out to be what the cluster agreed on.
    pub(crate) fn since(&self, index: Index) -> impl Iterator<Item = &Configuration> {
        self.placed[self.place_at(index)..].iter().map(|(_, configuration)| &**configuration)
    }

    fn place_at(&self, index: Index) -> usize {
        self.placed.partition_point(|(at, _)| *at <= index).saturating_sub(1)
    }
}
