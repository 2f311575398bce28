//! The end of leases: whoever leads watches the time of each by its own clock, and proposes that it ends when nobody kept it
//! alive. A leader that just began gives every lease its whole time. Owns the watch; that an expiry which comes late does no harm
//! is the command's own compare.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::{MemberId, Role};

use crate::command::{Action, LeaseId};
use crate::cores::CoreCluster;
use crate::cores::driver_state::Input;
use crate::cores::sabotage::Sabotage;

/// Longest time from the decision that a lease is over to its proposal.
const HESITATES_MAX: Duration = Duration::from_millis(100);

/// What a leader knows of leases' time.
#[derive(Debug, Default)]
pub struct Lessor {
    /// It looks at them again and again.
    pub is_watching: bool,
    /// How often each had been kept alive when its time began, and when that is over.
    due: BTreeMap<LeaseId, (u64, Duration)>,
}

impl Lessor {
    /// Leases whose time is over, each with how often it was kept alive before.
    fn over(&mut self, leases: &BTreeMap<LeaseId, u64>, now: Duration, span: Duration) -> Vec<(LeaseId, u64)> {
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

impl CoreCluster {
    /// A member leads from now on.
    pub(super) fn watch_leases(&mut self, id: MemberId) {
        let process = self.members.get_mut(&id).and_then(|member| member.process_mut()).expect("the member runs");
        if !std::mem::replace(&mut process.lessor.is_watching, true) {
            process.lessor.due.clear();
            self.plan(id, self.profile.lease / 2, Input::Leases);
        }
    }

    /// A leader looks at its leases.
    pub(super) fn look_at_leases(&mut self, id: MemberId) {
        let span = self.profile.lease;
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now()).monotonic;
        let process = member.process_mut().expect("the member runs");
        if process.raft.soft_state().role != Role::Leader {
            process.lessor.is_watching = false;
            return;
        }
        for (lease, kept) in process.lessor.over(process.machine.leases(), now, span) {
            let mut command = self.clients.begin_expiry(id, lease, kept);
            if self.sabotage == Some(Sabotage::ExpiresWithoutComparing) {
                command.action = Action::Revoke { lease };
            }
            let commands = vec![(command.operation, command.encode(0))];
            // It may lead no longer when it gets to say so.
            let delay = self.random.long_tailed(Duration::ZERO, HESITATES_MAX);
            self.plan(id, delay, Input::Propose { commands });
        }
        self.plan(id, span / 2, Input::Leases);
    }
}
