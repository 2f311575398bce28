//! Owns the schedule of snapshots: whether a snapshot of this member's own state is due or being written, and the
//! transfers to other members, at most one to each member. Does not own the decisions based on the schedule
//! (`snapshots.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft::{Index, MemberId, SnapshotMeta, Term};

use crate::mailbox::Mailbox;
use crate::published::Published;

/// When a snapshot of this member's own state begins that no other member needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotTrigger {
    /// After as many entries as [`raft::Config::snapshot_threshold`] says, whatever their length. For tests.
    Entries,
    /// Once the log since the newest snapshot is as long as that snapshot, so that snapshots at most double the bytes that a
    /// member writes.
    Bytes {
        /// Length of the log in bytes below which no snapshot begins, however small the newest one is.
        least: u64,
        /// Length of the log in bytes at which a snapshot begins, however large the newest one is. Bounds the log on disk,
        /// which reaches back to the oldest snapshot that is kept.
        most: u64,
    },
}

/// Maximum number of entries since the newest snapshot. Short entries that share batches take few bytes, but each of them
/// is applied again at a start.
const ENTRIES_MAX: u64 = 1_000_000;

impl SnapshotTrigger {
    /// Returns whether a snapshot begins. `is_due`: the core has counted enough entries.
    fn is_reached(self, is_due: bool, since: LogSince, snapshot_bytes: u64) -> bool {
        match self {
            Self::Entries => is_due,
            Self::Bytes { least, most } => {
                since.bytes >= snapshot_bytes.max(least).min(most) || since.entries >= ENTRIES_MAX
            }
        }
    }
}

/// The log since the newest snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogSince {
    /// Number of applied entries.
    pub(super) entries: u64,
    /// Length of the batches on disk, in bytes.
    pub(super) bytes: u64,
}

/// A snapshot that the snapshot thread must write.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    pub(crate) meta: SnapshotMeta,
    pub(crate) published: Arc<Published>,
}

/// Transfers of snapshots to other members, at most one to each member.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// Number of transfers begun. The newest transfer has this number.
    begun: u64,
    under_way: BTreeMap<MemberId, Transfer>,
}

#[derive(Debug)]
struct Transfer {
    number: u64,
    term: Term,
    /// The snapshot ends at this index or at a higher index.
    reaches: Index,
}

impl Transfers {
    /// Returns whether the transfer under way to `to` satisfies a new request for a snapshot: it was begun for the same
    /// `term`, and its snapshot reaches `at_least`. If so, the end of this transfer also answers the new request.
    /// Otherwise any transfer to `to` is forgotten.
    pub(super) fn keep(&mut self, to: MemberId, term: Term, at_least: Index) -> bool {
        let satisfies = |transfer: &Transfer| transfer.term == term && transfer.reaches >= at_least;
        let is_kept = self.under_way.get(&to).is_some_and(satisfies);
        if !is_kept {
            self.under_way.remove(&to);
        }
        is_kept
    }

    /// Registers a new transfer and returns its number.
    pub(super) fn begin(&mut self, to: MemberId, term: Term, reaches: Index) -> u64 {
        self.begun += 1;
        self.under_way.insert(to, Transfer { number: self.begun, term, reaches });
        self.begun
    }

    /// Removes a transfer that has ended. Returns `false` if the transfer was forgotten or replaced earlier.
    pub(super) fn end(&mut self, to: MemberId, number: u64) -> bool {
        let counts = self.under_way.get(&to).is_some_and(|transfer| transfer.number == number);
        if counts {
            self.under_way.remove(&to);
        }
        counts
    }
}

/// The snapshots that are due, being written, being transferred or requested.
#[derive(Debug)]
pub(crate) struct SnapshotSchedule {
    pub(super) jobs: Arc<Mailbox<SnapshotJob>>,
    /// Last index of the newest durable snapshot.
    pub(super) newest: Index,
    pub(super) trigger: SnapshotTrigger,
    /// True if the core has reported that a snapshot is due.
    pub(super) due: bool,
    /// True if a snapshot begins as soon as another one may, whatever the trigger.
    pub(super) asked: bool,
    /// True if the trigger was reached when the log was last measured.
    is_reached: bool,
    /// Bytes of the log after the newest snapshot that were on disk at the start, or 0 if a later snapshot was begun.
    backlog: u64,
    /// Bytes that this process had written to the log when the newest snapshot was begun or installed.
    written_before: u64,
    /// State that is written as a snapshot once the log is durable up to the state's index.
    pub(super) captured: Option<Arc<Published>>,
    /// Time at which the writing of the current snapshot began; `None` if no snapshot is being written.
    pub(super) started: Option<Duration>,
    /// Earliest time of the next snapshot. A snapshot that a member needs may begin earlier.
    pub(super) not_before: Duration,
    /// For each member that needs a snapshot: the term of the request, and the index that the snapshot must reach.
    pub(super) wanted: BTreeMap<MemberId, (Term, Index)>,
    pub(super) transfers: Transfers,
}

impl SnapshotSchedule {
    /// Creates a schedule that queues its work in `jobs`. The newest durable snapshot ends at `newest`, and `backlog` bytes
    /// of the log follow it.
    pub(crate) fn new(jobs: Arc<Mailbox<SnapshotJob>>, trigger: SnapshotTrigger, newest: Index, backlog: u64) -> Self {
        Self {
            jobs,
            newest,
            trigger,
            due: false,
            asked: false,
            is_reached: false,
            backlog,
            written_before: 0,
            captured: None,
            started: None,
            not_before: Duration::ZERO,
            wanted: BTreeMap::new(),
            transfers: Transfers::default(),
        }
    }

    /// Marks a snapshot as due, because enough entries were applied after the last snapshot.
    pub(super) fn due(&mut self, index: Index) {
        self.due = self.due || index > self.newest;
    }

    /// Records that the entry at this index cannot be read from the log. Makes a snapshot due that contains the entry's effects, so
    /// that the entry is no longer needed. If the newest one contains them, another one would not help: a member that cannot take
    /// a snapshot makes the leader read the same entry again and again.
    pub(super) fn unreadable(&mut self, index: Index) {
        self.asked |= index > self.newest;
    }

    /// Compares the log with the trigger. `applied`: last applied index. `written`: bytes that this process has written to
    /// the log. `snapshot_bytes`: length of the newest snapshot.
    pub(super) fn measure(&mut self, applied: Index, written: u64, snapshot_bytes: u64) {
        let since = LogSince {
            entries: applied.0.saturating_sub(self.newest.0),
            bytes: self.backlog + written.saturating_sub(self.written_before),
        };
        self.is_reached = since.entries > 0 && self.trigger.is_reached(self.due, since, snapshot_bytes);
    }

    /// Returns whether a snapshot begins as soon as the interval since the last one permits.
    pub(super) fn is_due(&self) -> bool {
        self.asked || self.is_reached
    }

    /// Records that there is nothing to write, or that the log is measured anew because a snapshot begins or is installed.
    /// `written`: bytes that this process has written to the log.
    pub(super) fn begun(&mut self, written: u64) {
        (self.due, self.asked, self.is_reached) = (false, false, false);
        (self.backlog, self.written_before) = (0, written);
    }

    /// Records that a snapshot which ends at `index` is installed.
    pub(super) fn installed(&mut self, index: Index, written: u64) {
        self.newest = self.newest.max(index);
        self.begun(written);
        self.captured = None;
    }

    /// Records that the durable snapshot which ends at `index` cannot be read. If it is the newest one, makes another one due, which
    /// replaces it even if nothing was applied since. Otherwise no member could get a snapshot before enough entries are written.
    pub(super) fn lost(&mut self, index: Index) {
        if index == self.newest {
            (self.newest, self.asked) = (Index(index.0.saturating_sub(1)), true);
        }
    }

    /// Time at which a due snapshot may begin even if no event arrives.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (self.is_due() && self.started.is_none() && self.captured.is_none()).then_some(self.not_before)
    }

    /// Returns whether a member needs a snapshot.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: MemberId = MemberId(2);

    #[test]
    fn short_entries_are_bounded_by_their_number() {
        let trigger = SnapshotTrigger::Bytes { least: 1 << 20, most: 1 << 30 };
        let mut schedule = SnapshotSchedule::new(Arc::default(), trigger, Index(7), 0);
        schedule.due(Index(6 + ENTRIES_MAX));
        schedule.measure(Index(6 + ENTRIES_MAX), 0, 0);
        assert!(!schedule.is_due() && schedule.deadline().is_none(), "due, but short");
        schedule.measure(Index(7 + ENTRIES_MAX), 0, 0);
        assert!(schedule.is_due());
    }

    #[test]
    fn nothing_is_due_without_a_new_entry() {
        let trigger = SnapshotTrigger::Bytes { least: 10, most: 10 };
        let mut schedule = SnapshotSchedule::new(Arc::default(), trigger, Index(7), 50);
        schedule.measure(Index(7), 100, 0);
        assert!(!schedule.is_due(), "the snapshot would be the one that is there");
        schedule.measure(Index(8), 100, 0);
        assert!(schedule.is_due());
        schedule.begun(100);
        schedule.measure(Index(8), 109, 0);
        assert!(!schedule.is_due());
    }

    #[test]
    fn an_unreadable_entry_that_the_newest_snapshot_contains_makes_none_due() {
        let mut schedule = SnapshotSchedule::new(Arc::default(), SnapshotTrigger::Entries, Index(7), 0);
        schedule.unreadable(Index(7));
        assert!(!schedule.is_due());
        schedule.unreadable(Index(8));
        assert!(schedule.is_due());
    }

    #[test]
    fn a_transfer_that_satisfies_the_request_continues() {
        let mut transfers = Transfers::default();
        assert!(!transfers.keep(TO, Term(1), Index(5)), "a transfer was found before any began");
        let number = transfers.begin(TO, Term(1), Index(9));
        assert!(transfers.keep(TO, Term(1), Index(9)), "a transfer that reaches the requested index was forgotten");
        assert!(!transfers.keep(MemberId(3), Term(1), Index(9)), "a transfer to another member was found");
        assert!(transfers.end(TO, number), "the transfer was forgotten");
        assert!(!transfers.keep(TO, Term(1), Index(9)), "a transfer was found after it ended");
    }

    #[test]
    fn the_end_of_a_replaced_transfer_does_not_end_its_replacement() {
        let mut transfers = Transfers::default();
        let first = transfers.begin(TO, Term(1), Index(9));
        assert!(!transfers.keep(TO, Term(1), Index(10)), "a transfer below the requested index was kept");
        assert!(!transfers.end(TO, first), "a forgotten transfer still counted");
        let second = transfers.begin(TO, Term(1), Index(12));
        assert!(!transfers.end(TO, first));
        assert!(!transfers.keep(TO, Term(2), Index(12)), "a transfer of an older term was kept");
        let third = transfers.begin(TO, Term(2), Index(12));
        assert!(!transfers.end(TO, second));
        assert!(transfers.end(TO, third));
        assert!(!transfers.end(TO, third), "a transfer ended twice");
    }
}
