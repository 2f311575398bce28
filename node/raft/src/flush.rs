//! What inputs leave to do, in order, once the driver asks for output: so that everything stepped in between shares one write
//! and one append. Owns the order; the rooms own the steps.

use crate::output::{Output, Persist};
use crate::raft::Raft;

/// Entries, and about as many bytes, in one [`Output::Apply`].
const APPLY_ENTRIES_MAX: usize = 1024;
const APPLY_BYTES_MAX: usize = 4 << 20;
/// Entries given out and not yet applied; more wait in the log.
const APPLY_WINDOW: u64 = 4096;

impl Raft {
    pub(crate) fn flush(&mut self) {
        if self.is_leader() {
            self.leave_joint_when_due();
            self.retire_when_due();
            self.drive_transfer();
            self.start_read_round();
            self.replicate();
        }
        self.write();
        self.hand_out();
        self.ask_for_snapshot_when_due();
        self.notice_removal();
        self.show_change();
        self.check();
    }

    /// One write for everything that is in none yet.
    fn write(&mut self) {
        let from = self.log.tail.unwritten();
        let last = self.log.last().index;
        if from > last && self.hard_state_io() <= self.outbox.issued() {
            return;
        }
        let io = self.outbox.issue();
        let hard_state = self.hard_state_to_write(io);
        let (entries, _) = self.log.slice(from, usize::MAX, usize::MAX);
        assert!(entries.first().is_none_or(|first| first.id.index == from), "a write goes on where the last one ended");
        assert!(entries.last().is_none_or(|end| end.id.index == last), "a write leaves nothing out");
        self.log.tail.written(io, last, self.now.monotonic);
        self.outbox.push(Output::Persist(Persist { io, hard_state, entries }));
    }

    /// Committed entries, as many as the driver is not too far behind for.
    fn hand_out(&mut self) {
        while self.log.handed() < self.log.commit() && self.log.handed().0 - self.log.applied().0 < APPLY_WINDOW {
            let entries = self.log.hand_out(APPLY_ENTRIES_MAX, APPLY_BYTES_MAX);
            assert!(!entries.is_empty(), "what is committed is in the log");
            self.outbox.push(Output::Apply(entries));
        }
    }

    fn show_change(&mut self) {
        let state = self.soft_state();
        if state != self.shown {
            self.shown = state;
            self.outbox.push(Output::Changed(state));
        }
    }
}
