//! The times of leases, as the member that leads counts them. Owns when a lease is over by one clock. Does not own the
//! proposal that ends it (`lease_expiry.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::LeaseId;

/// What a leader knows of leases' time.
#[derive(Debug, Default)]
pub struct LeaseTimes {
    /// It looks at them again and again.
    pub is_watching: bool,
    /// How often each had been kept alive when its time began, and when that is over.
    due: BTreeMap<LeaseId, (u64, Duration)>,
}

impl LeaseTimes {
    /// Forgets everything, so that every lease gets its whole time.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }

    /// Leases whose time is over, each with how often it was kept alive before.
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
                // If that gets lost, it is said again.
                due.1 = now + span;
                over.push((*lease, *kept));
            }
        }
        over
    }
}
