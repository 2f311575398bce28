//! Owns the refresh of the member's status, which callers read without blocking. Does not own the fields of the status
//! (`status.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::{Configuration, Index, Raft, SoftState};
use storage::ClusterId;

use crate::published::Published;
use crate::shared::Shared;
use crate::status::{Phase, Space, Status};

/// Maximum age of the reported indexes and progress. A new role, leader, term or configuration is reported immediately.
const AGE_MAX: Duration = Duration::from_millis(50);

/// A configuration and the index of its entry.
type IndexedConfiguration = (Arc<Configuration>, Index);

/// Copies of the core's configurations: the one in force and the latest committed one. A copy is shared until the
/// configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownConfigurations {
    /// The configuration in force, committed or not.
    pub(super) in_force: IndexedConfiguration,
    /// The latest committed configuration.
    pub(super) committed: IndexedConfiguration,
}

impl KnownConfigurations {
    /// Updates both configurations from the core. Returns whether the configuration in force has changed.
    pub(super) fn refresh(&mut self, raft: &Raft) -> bool {
        let keep = |old: &mut IndexedConfiguration, (new, index): (&Configuration, Index)| {
            // Comparing indexes is not enough, because a different entry can overwrite an uncommitted entry at the same index.
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

/// Publishes [`Status`] from the core's thread.
#[derive(Debug)]
pub(crate) struct Reporter {
    cluster: ClusterId,
    name: String,
    last: Option<Report>,
    /// True if a change is not reported yet because the last report was too recent.
    overdue: bool,
}

#[derive(Debug)]
struct Report {
    at: Duration,
    soft: SoftState,
    commit: Index,
    applied: Index,
    log_last: Index,
    configurations: KnownConfigurations,
    space: Option<Space>,
}

impl Reporter {
    /// Creates a reporter that has reported nothing.
    pub(crate) fn new(cluster: ClusterId, name: String) -> Self {
        Self { cluster, name, last: None, overdue: false }
    }

    /// Time at which a report is due even if no event arrives.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.last.as_ref().filter(|_| self.overdue).map(|last| last.at + AGE_MAX)
    }

    /// Reports a change of the role, leader, term, configuration or of the grade of the space immediately, and any other change once the last report is old
    /// enough.
    pub(super) fn report(
        &mut self,
        now: Duration,
        raft: &Raft,
        configurations: &KnownConfigurations,
        published: &Published,
        space: Option<Space>,
        shared: &Shared,
    ) {
        let soft = raft.soft_state();
        if let Some(last) = &self.last {
            let grades = |space: Option<Space>| space.map(|space| (space.below, space.writes_refused));
            let urgent =
                last.soft != soft || last.configurations != *configurations || grades(last.space) != grades(space);
            let old = now >= last.at + AGE_MAX;
            let moved = last.commit != raft.commit()
                || last.applied != published.applied
                || last.log_last != raft.last().index
                || last.space != space
                // On a leader, the known progress of other members can change while the leader's own indexes stay the same.
                || (soft.leader == Some(shared.member) && old);
            if !(urgent || moved && old) {
                self.overdue = moved;
                return;
            }
        }
        let report = Report {
            at: now,
            soft,
            commit: raft.commit(),
            applied: published.applied,
            log_last: raft.last().index,
            configurations: configurations.clone(),
            space,
        };
        shared.status.store(Arc::new(self.status(&report, raft, shared)));
        self.last = Some(report);
        self.overdue = false;
    }

    fn status(&self, report: &Report, raft: &Raft, shared: &Shared) -> Status {
        Status {
            member: shared.member,
            cluster: Some(self.cluster),
            name: self.name.clone(),
            phase: Phase::Member,
            supports: shared.supports,
            draining: shared.draining.load(Ordering::Acquire),
            role: report.soft.role,
            leader: report.soft.leader,
            term: report.soft.term,
            commit: report.commit,
            applied: report.applied,
            last: report.log_last,
            configuration: Arc::clone(&report.configurations.in_force.0),
            configuration_index: report.configurations.in_force.1,
            committed: Arc::clone(&report.configurations.committed.0),
            committed_index: report.configurations.committed.1,
            progress: raft.progress(),
            snapshot: Index(shared.snapshot.load(Ordering::Relaxed)),
            restore: None,
            space: report.space,
            repair: None,
            error: String::new(),
        }
    }
}
