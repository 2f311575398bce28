//! Owns which snapshots are due, under way and wanted: of this member's own state, one at a time, and to other members, one to
//! each. Does not own what follows from it (`snapshots.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft::{Index, MemberId, SnapshotMeta, Term};

use crate::mailbox::Mailbox;
use crate::published::Published;

/// One snapshot to be written.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    pub(crate) meta: SnapshotMeta,
    pub(crate) published: Arc<Published>,
}

/// Snapshots under way to other members, one to each at most.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// Transfers so far; each is named by its number.
    begun: u64,
    under_way: BTreeMap<MemberId, Transfer>,
}

#[derive(Debug)]
struct Transfer {
    number: u64,
    term: Term,
    /// The snapshot ends there, or behind it.
    reaches: Index,
}

impl Transfers {
    /// Whether the one under way to `to` is what is asked for now: its end is the end of both. One that is not counts for
    /// nothing any more.
    pub(super) fn serve(&mut self, to: MemberId, term: Term, at_least: Index) -> bool {
        let serves = |transfer: &Transfer| transfer.term == term && transfer.reaches >= at_least;
        let is_served = self.under_way.get(&to).is_some_and(serves);
        if !is_served {
            self.under_way.remove(&to);
        }
        is_served
    }

    /// Names one that begins.
    pub(super) fn begin(&mut self, to: MemberId, term: Term, reaches: Index) -> u64 {
        self.begun += 1;
        self.under_way.insert(to, Transfer { number: self.begun, term, reaches });
        self.begun
    }

    /// One has ended; `false`: another one had taken its place.
    pub(super) fn end(&mut self, to: MemberId, number: u64) -> bool {
        let counts = self.under_way.get(&to).is_some_and(|transfer| transfer.number == number);
        if counts {
            self.under_way.remove(&to);
        }
        counts
    }
}

/// What is due, under way and asked for.
#[derive(Debug)]
pub(crate) struct Snapshotting {
    pub(super) jobs: Arc<Mailbox<SnapshotJob>>,
    /// Last index of the newest durable snapshot.
    pub(super) newest: Index,
    pub(super) due: bool,
    /// The state to be written, once the log is durable as far as it reaches.
    pub(super) captured: Option<Arc<Published>>,
    pub(super) started: Option<Duration>,
    pub(super) not_before: Duration,
    /// Members that need a snapshot newer than any that there is.
    pub(super) wanted: BTreeMap<MemberId, (Term, Index)>,
    pub(super) transfers: Transfers,
}

impl Snapshotting {
    /// Gives its work to whoever takes from `jobs`; the newest durable snapshot ends at `newest`.
    pub(crate) fn new(jobs: Arc<Mailbox<SnapshotJob>>, newest: Index) -> Self {
        Self {
            jobs,
            newest,
            due: false,
            captured: None,
            started: None,
            not_before: Duration::ZERO,
            wanted: BTreeMap::new(),
            transfers: Transfers::default(),
        }
    }

    /// The core has applied enough since the last one.
    pub(super) fn due(&mut self, index: Index) {
        self.due = self.due || index > self.newest;
    }

    /// A received snapshot takes the place of all before.
    pub(super) fn installed(&mut self, index: Index) {
        self.newest = self.newest.max(index);
        self.due = false;
        self.captured = None;
    }

    /// When one may begin, though nothing happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (self.due && self.started.is_none() && self.captured.is_none()).then_some(self.not_before)
    }

    /// Whether the newest view is awaited.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: MemberId = MemberId(2);

    #[test]
    fn a_transfer_that_serves_goes_on() {
        let mut transfers = Transfers::default();
        assert!(!transfers.serve(TO, Term(1), Index(5)), "there is none");
        let number = transfers.begin(TO, Term(1), Index(9));
        assert!(transfers.serve(TO, Term(1), Index(9)), "it reaches as far as is needed now");
        assert!(!transfers.serve(MemberId(3), Term(1), Index(9)), "it goes to another member");
        assert!(transfers.end(TO, number), "its end is the end of what was asked for since");
        assert!(!transfers.serve(TO, Term(1), Index(9)), "it has ended");
    }

    #[test]
    fn the_end_of_a_transfer_does_not_count_for_the_one_in_its_place() {
        let mut transfers = Transfers::default();
        let first = transfers.begin(TO, Term(1), Index(9));
        assert!(!transfers.serve(TO, Term(1), Index(10)), "it does not reach so far");
        assert!(!transfers.end(TO, first), "nobody waits for it any more");
        let second = transfers.begin(TO, Term(1), Index(12));
        assert!(!transfers.end(TO, first));
        assert!(!transfers.serve(TO, Term(2), Index(12)), "what is carried in an older term is refused");
        let third = transfers.begin(TO, Term(2), Index(12));
        assert!(!transfers.end(TO, second));
        assert!(transfers.end(TO, third));
        assert!(!transfers.end(TO, third), "once");
    }
}
