//! Owns how often the member's status is refreshed for callers that must not block. Does not own its fields (`status.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::{Configuration, Index, Raft, SoftState};
use storage::ClusterId;

use crate::published::Published;
use crate::shared::Shared;
use crate::status::{Phase, Status};

/// Numbers may be so old; a new role, leader, term or configuration shows at once.
const STALE: Duration = Duration::from_millis(50);

/// A configuration and the index of its entry.
type Placed = (Arc<Configuration>, Index);

/// Both configurations that the core knows, shared while they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// In force, committed or not.
    pub(super) in_force: Placed,
    /// Committed.
    pub(super) committed: Placed,
}

impl Known {
    /// What the core knows now; `true` if the one in force is another than before.
    pub(super) fn refresh(&mut self, raft: &Raft) -> bool {
        let keep = |old: &mut Placed, (new, index): (&Configuration, Index)| {
            // An index alone may lie: an uncommitted entry can be overwritten by another one.
            if old.1 == index && *old.0 == *new {
                return false;
            }
            *old = (Arc::new(new.clone()), index);
            true
        };
        keep(&mut self.committed, raft.committed_configuration());
        keep(&mut self.in_force, raft.configuration())
    }
}

/// Writes [`Status`] from the core's thread.
#[derive(Debug)]
pub(crate) struct Reporter {
    cluster: ClusterId,
    name: String,
    last: Option<Reported>,
    /// Something moved since the last report, which was too recent to make another one.
    overdue: bool,
}

#[derive(Debug)]
struct Reported {
    at: Duration,
    soft: SoftState,
    commit: Index,
    applied: Index,
    log_last: Index,
    known: Known,
}

impl Reporter {
    /// Nothing reported yet.
    pub(crate) fn new(cluster: ClusterId, name: String) -> Self {
        Self { cluster, name, last: None, overdue: false }
    }

    /// When a report is due, though nothing happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.last.as_ref().filter(|_| self.overdue).map(|last| last.at + STALE)
    }

    /// Reports, if there is news and the last report is old enough.
    pub(super) fn report(&mut self, now: Duration, raft: &Raft, known: &Known, published: &Published, shared: &Shared) {
        let soft = raft.soft_state();
        if let Some(last) = &self.last {
            let turned = last.soft != soft || last.known != *known;
            let old = now >= last.at + STALE;
            let moved = last.commit != raft.commit()
                || last.applied != published.applied
                || last.log_last != raft.last().index
                // What a leader knows of others moves without anything of its own.
                || (soft.leader == Some(shared.member) && old);
            if !(turned || moved && old) {
                self.overdue = moved;
                return;
            }
        }
        let reported = Reported {
            at: now,
            soft,
            commit: raft.commit(),
            applied: published.applied,
            log_last: raft.last().index,
            known: known.clone(),
        };
        shared.status.store(Arc::new(self.status(&reported, raft, shared)));
        self.last = Some(reported);
        self.overdue = false;
    }

    fn status(&self, reported: &Reported, raft: &Raft, shared: &Shared) -> Status {
        Status {
            member: shared.member,
            cluster: Some(self.cluster),
            name: self.name.clone(),
            phase: Phase::Member,
            draining: shared.draining.load(Ordering::Acquire),
            role: reported.soft.role,
            leader: reported.soft.leader,
            term: reported.soft.term,
            commit: reported.commit,
            applied: reported.applied,
            last: reported.log_last,
            configuration: Arc::clone(&reported.known.in_force.0),
            configuration_index: reported.known.in_force.1,
            committed: Arc::clone(&reported.known.committed.0),
            committed_index: reported.known.committed.1,
            progress: raft.progress(),
            snapshot: Index(shared.snapshot.load(Ordering::Relaxed)),
            restore: None,
            error: String::new(),
        }
    }
}
