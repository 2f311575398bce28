//! Times at which leases are over, by the clock of the leader. Owns the decision that a lease is over. Does not own the
//! proposal that revokes the lease (`lease_expiry.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::LeaseId;

/// Time at which each lease is over. Only a leader keeps these times.
#[derive(Debug, Default)]
pub struct LeaseTimes {
    /// Whether the next check of the leases is planned.
    pub is_watching: bool,
    /// For each lease, its number of keep-alives when its time began, and the time at which the lease is over.
    due: BTreeMap<LeaseId, (u64, Duration)>,
}

impl LeaseTimes {
    /// Forgets all times, so that every lease gets its whole time to live again.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }

    /// Returns the leases whose time is over, each with its number of keep-alives.
    pub(super) fn over(
        &mut self,
        leases: &BTreeMap<LeaseId, u64>,
        now: Duration,
        span: Duration,
    ) -> Vec<(LeaseId, u64)> {
        self.due.retain(|lease, _| leases.contains_key(lease));
        let mut over = Vec::new();
        for (lease, kept) in leases {
            let due = self.due.entry(*lease).or_insert((*kept, now + span));
            if due.0 != *kept {
                *due = (*kept, now + span);
            } else if due.1 <= now {
                // The time of the lease starts again. If the proposal to revoke the lease is lost, a later check
                // therefore repeats the proposal.
                due.1 = now + span;
                over.push((*lease, *kept));
            }
        }
        over
    }
}
