//! Carries out the consequences of inputs when the driver requests an output. All inputs since the last flush therefore
//! share one write, and one append to each member. Owns the order of the steps. Does not own the steps themselves.

use crate::output::{Output, Persist};
use crate::raft::Raft;
use crate::state::log::memory::Committed;

/// Maximum number of entries in one [`Output::Apply`].
const APPLY_ENTRIES_MAX: usize = 1024;
/// Maximum payload bytes in one [`Output::Apply`]; a single larger entry is given alone. One [`Output::ApplyStored`]
/// covers about as many bytes.
const APPLY_BYTES_MAX: usize = 4 << 20;

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
        self.apply_committed();
        self.request_snapshot_when_due();
        self.notice_removal();
        self.outbox.report(self.soft_state());
        self.log.evict(self.config.limits.log_bytes);
        self.check();
    }

    /// Issues one write with everything that changed since the last write.
    fn write(&mut self) {
        let from = self.log.unwritten();
        let last = self.log.last().index;
        if from > last && self.hard_state_io() <= self.outbox.issued() {
            return;
        }
        let io = self.outbox.issue();
        let hard_state = self.hard.take_unwritten(io);
        let (entries, _) = self.log.slice(from, usize::MAX, usize::MAX);
        assert!(
            entries.first().is_none_or(|first| first.id.index == from),
            "a write continues where the last one ended"
        );
        assert!(entries.last().is_none_or(|end| end.id.index == last), "a write reaches the end of the log");
        self.log.written(io, self.clocks.monotonic());
        self.outbox.push(Output::Persist(Persist { io, hard_state, entries }));
    }

    /// Gives committed entries to the driver, unless the driver already has too many bytes to apply. Later entries wait
    /// in the log.
    fn apply_committed(&mut self) {
        while self.log.applying() < self.log.commit() && self.log.may_apply_more(self.config.limits.applying_bytes) {
            match self.log.take_committed(APPLY_ENTRIES_MAX, APPLY_BYTES_MAX) {
                Committed::Held(entries) => {
                    assert!(!entries.is_empty(), "every committed entry is in the log");
                    self.outbox.push(Output::Apply(entries));
                }
                Committed::Stored(first, last) => {
                    assert!(first <= last, "every committed entry is in the log");
                    assert!(last <= self.log.durable(), "only what the disk holds is read from it: {last}");
                    self.outbox.push(Output::ApplyStored { first, last });
                }
            }
        }
    }
}
