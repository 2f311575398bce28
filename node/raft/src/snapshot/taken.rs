//! Own snapshots: when one is due, what its meta says, and what may be purged behind it. Owns the marks; capturing the state
//! is the driver's.

use std::sync::Arc;

use crate::ids::{EntryId, Index};
use crate::message::SnapshotMeta;
use crate::output::Output;
use crate::raft::Raft;
use crate::replication::progress::State;
use crate::role::Standing;

/// Members that are being replicated to may hold back the purge, up to this many times the configured rest.
const TRAILING_TIMES: u64 = 8;

impl Raft {
    /// Asks for a snapshot when enough was applied since the last, or since the last time it was asked for. Only what is
    /// durable too: the log must reach at least as far as a snapshot of it.
    pub(crate) fn ask_for_snapshot_when_due(&mut self) {
        let index = self.log.applied().min(self.log.durable());
        let since = self.log.snapshot().max(self.snapshot_asked);
        let is_due = index.0 >= since.0.saturating_add(self.config.snapshot_threshold);
        if is_due && !self.history.at(index).1.voters.is_empty() {
            self.snapshot_asked = index;
            self.outbox.push(Output::SnapshotDue { index });
        }
    }

    /// A snapshot at `index` is durable: purges behind it.
    pub(crate) fn purge_behind_snapshot(&mut self, index: Index) -> Index {
        if index <= self.log.applied() && index > self.log.snapshot() {
            let through = self.purge_mark(index);
            self.log.purge(index, through);
            assert!(self.log.base().index <= self.log.snapshot(), "only what a snapshot holds is purged");
            self.history.purged(self.log.base().index);
        }
        // The mark may be that of a snapshot which is still being installed: until that is durable, the files behind this one
        // are all there is.
        self.log.base().index.min(index).next()
    }

    /// The last entry that may go: the rest behind it serves slow members without a snapshot.
    fn purge_mark(&self, index: Index) -> Index {
        let trailing = self.config.snapshot_trailing;
        let wanted = index.0.saturating_sub(trailing);
        let Standing::Leader(leader) = &self.standing else { return Index(wanted) };
        let active = leader
            .peers
            .values()
            .filter(|progress| progress.is_active(self.now.monotonic, self.config.election_timeout));
        let needed = active.map(|progress| match progress.state {
            State::Snapshot { at_least, .. } => at_least.0,
            State::Probe { .. } | State::Replicate(_) => progress.matched().0,
        });
        let floor = index.0.saturating_sub(trailing.saturating_mul(TRAILING_TIMES));
        Index(needed.min().map_or(wanted, |needed| wanted.min(needed.max(floor))))
    }

    /// The meta of a snapshot at `index`, if one may be taken there.
    pub(crate) fn meta_at(&self, index: Index) -> Option<SnapshotMeta> {
        if index > self.log.applied().min(self.log.durable()) {
            return None;
        }
        let term = self.log.term_at(index)?;
        let time_ms = self.log.time_at(index)?;
        let (configuration_index, configuration) = self.history.at(index);
        assert!(*configuration_index <= index, "a snapshot holds a configuration of its own past");
        Some(SnapshotMeta {
            last: EntryId { term, index },
            time_ms,
            configuration: Arc::clone(configuration),
            configuration_index: *configuration_index,
        })
    }
}
