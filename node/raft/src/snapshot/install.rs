//! Received snapshots: whether a snapshot may replace state and log (Raft thesis §5.3). Owns the decision. Does not own
//! the installation: the driver carries it out.

use std::sync::Arc;

use crate::ids::{MemberId, NUMBER_MAX};
use crate::message::SnapshotMeta;
use crate::output::Output;
use crate::raft::Raft;
use crate::state::history::ConfigurationHistory;

impl Raft {
    /// Handles a snapshot of this term whose bytes have all arrived.
    pub(crate) fn on_install_snapshot(&mut self, from: MemberId, meta: SnapshotMeta) {
        if !self.is_sound(&meta) || !self.accept_leader(from) {
            self.outbox.push(Output::DiscardSnapshot { from, last: meta.last });
            return;
        }
        let index = meta.last.index;
        if index <= self.log.commit() || self.log.holds(meta.last) {
            // This log already reaches the last entry of the snapshot, so the snapshot brings nothing new.
            self.commit_to(index);
            self.outbox.push(Output::DiscardSnapshot { from, last: meta.last });
        } else {
            self.install(from, meta);
        }
        self.accept(from, index, 0);
    }

    fn install(&mut self, from: MemberId, meta: SnapshotMeta) {
        self.log.replace(&meta);
        self.outbox.withdraw_acknowledgements();
        self.history = ConfigurationHistory::new(meta.configuration_index, Arc::clone(&meta.configuration));
        // The snapshot does not show which proposals were applied, so the outcome of proposals up to its last entry
        // stays unknown.
        self.open.forget_through(meta.last.index);
        assert!(self.log.last() == meta.last, "the log ends with the snapshot");
        assert!(self.log.commit() == meta.last.index, "every entry of a snapshot is committed");
        assert!(self.history.latest().0 == meta.configuration_index, "its configuration is in force (openraft#1808)");
        let io = self.outbox.issue();
        let hard_state = self.hard.take_unwritten(io);
        self.log.written(io, self.clocks.monotonic());
        self.outbox.push(Output::InstallSnapshot { io, from, hard_state, meta });
    }

    fn is_sound(&self, meta: &SnapshotMeta) -> bool {
        meta.last.index.0 <= NUMBER_MAX
            && meta.last.term <= self.hard.term()
            && meta.configuration_index <= meta.last.index
            && !meta.configuration.voters.is_empty()
    }
}
