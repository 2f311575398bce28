//! When a received snapshot may replace state and log (Raft thesis §5.3). Owns the decision; the driver carries it out.

use std::sync::Arc;

use crate::ids::{MemberId, Term};
use crate::log::tail::Tail;
use crate::membership::history::History;
use crate::message::SnapshotMeta;
use crate::output::Output;
use crate::raft::Raft;
use crate::replication::append::NUMBER_MAX;

impl Raft {
    /// A snapshot of this term arrived, whole.
    pub(crate) fn on_install_snapshot(&mut self, from: MemberId, meta: SnapshotMeta) {
        if !self.is_sound(&meta) || !self.hear_leader(from) {
            self.outbox.push(Output::DiscardSnapshot { from, last: meta.last });
            return;
        }
        let index = meta.last.index;
        if index <= self.log.commit() || self.log.holds(meta.last) {
            // The log reaches as far already.
            self.commit_to(index);
            self.outbox.push(Output::DiscardSnapshot { from, last: meta.last });
        } else {
            self.install(from, meta);
        }
        self.accept(from, index, 0);
    }

    fn install(&mut self, from: MemberId, meta: SnapshotMeta) {
        let tail = std::mem::replace(&mut self.log.tail, Tail::durable_through(meta.last.index));
        self.log.replace(&meta, tail);
        self.outbox.withdraw_acknowledgements();
        self.history = History::new(meta.configuration_index, Arc::clone(&meta.configuration));
        // What became of them before the snapshot was taken, nobody here knows.
        self.proposed = self.proposed.split_off(&(meta.last.index.next(), Term::default()));
        assert!(self.log.last() == meta.last && self.log.commit() == meta.last.index, "the snapshot is all there is");
        assert!(self.history.latest().0 == meta.configuration_index, "its configuration is in force (openraft#1808)");
        let io = self.outbox.issue();
        let hard_state = self.hard_state_to_write(io);
        self.log.tail.written(io, meta.last.index, self.now.monotonic);
        self.outbox.push(Output::InstallSnapshot { io, from, hard_state, meta });
    }

    fn is_sound(&self, meta: &SnapshotMeta) -> bool {
        meta.last.index.0 <= NUMBER_MAX
            && meta.last.term <= self.hard.term
            && meta.configuration_index <= meta.last.index
            && !meta.configuration.voters.is_empty()
    }
}
