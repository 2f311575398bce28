//! Snapshots of this member: when a snapshot is due, its description, and which of the log entries that it covers may
//! be purged. Owns these decisions. Does not own the capture of the state: the driver does that.

use std::sync::Arc;

use crate::ids::{EntryId, Index};
use crate::message::SnapshotMeta;
use crate::output::Output;
use crate::raft::Raft;
use crate::standing::Standing;
use crate::state::progress::ProgressState;
use crate::state::role::RoleState;

/// Limit on the entries that a leader keeps for followers that still answer, as a multiple of `snapshot_trailing`.
const TRAILING_TIMES: u64 = 8;

impl Raft {
    /// Requests a snapshot when enough entries were applied since the last snapshot or request. Only durable entries
    /// count, because a snapshot must not be ahead of the log on disk.
    pub(crate) fn request_snapshot_when_due(&mut self) {
        let index = self.log.applied().min(self.log.durable());
        let last = self.log.snapshot_requested();
        let is_due = index.0 >= last.0.saturating_add(self.config.snapshot_threshold);
        if is_due && !self.history.at(index).1.voters.is_empty() {
            self.log.request_snapshot(index);
            self.outbox.push(Output::SnapshotDue { index });
        }
    }

    /// Handles a durable snapshot at `index`: purges entries that the snapshot covers. Returns the first index that
    /// must stay on disk.
    pub(crate) fn purge_before_snapshot(&mut self, index: Index) -> Index {
        if index <= self.log.applied() && index > self.log.snapshot() {
            let through = self.purge_mark(index);
            self.log.purge(index, through);
            assert!(self.log.floor().index <= self.log.snapshot(), "only entries of a snapshot are purged");
            self.history.purged(self.log.floor().index);
        }
        // The purge mark may come from a received snapshot that is not durable yet. Until it is durable, the snapshot
        // at `index` and the log after `index` are the only complete state on disk.
        self.log.floor().index.min(index).next()
    }

    /// Returns the index of the last entry to purge. The entries between this index and the snapshot are kept for
    /// lagging followers, which would otherwise need a snapshot. A member below its reserve keeps none of them.
    fn purge_mark(&self, index: Index) -> Index {
        let trailing = if self.standing == Standing::Above { self.config.snapshot_trailing } else { 0 };
        let wanted = index.0.saturating_sub(trailing);
        let RoleState::Leader(leader) = &self.role else { return Index(wanted) };
        let active = leader
            .peers()
            .values()
            .filter(|progress| progress.is_active(self.clocks.monotonic(), self.config.election_timeout));
        let needed = active.map(|progress| match progress.state() {
            ProgressState::Snapshot { at_least, .. } => at_least.0,
            ProgressState::Probe { .. } | ProgressState::Replicate(_) => progress.matched().0,
        });
        let floor = index.0.saturating_sub(trailing.saturating_mul(TRAILING_TIMES));
        Index(needed.min().map_or(wanted, |needed| wanted.min(needed.max(floor))))
    }

    /// Returns the description of a snapshot at `index`, whose entry has the time stamp `time_ms`; `None` if no snapshot
    /// may be taken at `index`.
    pub(crate) fn meta_at(&self, index: Index, time_ms: u64) -> Option<SnapshotMeta> {
        if index > self.log.applied().min(self.log.durable()) {
            return None;
        }
        let term = self.log.term_at(index)?;
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
