//! Expiry of leases. The leader measures the time of each lease by its own clock, and proposes the expiry of a lease
//! that no client kept alive in time. A new leader restarts the time to live of every lease. Owns the proposal of an
//! expiry. A late proposal does no harm, because the command compares the number of keep-alives.

use std::time::Duration;

use raft::{MemberId, Role};

use crate::command::Action;
use crate::cores::CoreCluster;
use crate::cores::driver_state::Input;
use crate::cores::sabotage::Sabotage;

/// Maximum time from the decision that a lease is over to the proposal that revokes it.
const HESITATES_MAX: Duration = Duration::from_millis(100);

impl CoreCluster {
    /// Starts to check leases, because the member has become leader.
    pub(super) fn track_leases(&mut self, id: MemberId) {
        let process = self.members.get_mut(&id).and_then(|member| member.process_mut()).expect("the member runs");
        if !std::mem::replace(&mut process.lease_times.is_watching, true) {
            process.lease_times.clear();
            self.plan(id, self.profile.lease / 2, Input::Leases);
        }
    }

    /// Checks the leases of a leader, and proposes the expiry of those whose time is over.
    pub(super) fn check_leases(&mut self, id: MemberId) {
        let span = self.profile.lease;
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now()).monotonic;
        let process = member.process_mut().expect("the member runs");
        if process.raft.soft_state().role != Role::Leader {
            process.lease_times.is_watching = false;
            return;
        }
        for (lease, kept) in process.lease_times.over(process.machine.leases(), now, span) {
            let mut command = self.clients.begin_expiry(id, lease, kept);
            if self.sabotage == Some(Sabotage::ExpiresWithoutComparing) {
                command.action = Action::Revoke { lease };
            }
            let commands = vec![(command.operation, command.encode(0))];
            // Because of the delay, the member may no longer lead when it proposes.
            let delay = self.random.long_tailed(Duration::ZERO, HESITATES_MAX);
            self.plan(id, delay, Input::Propose { commands });
        }
        self.plan(id, span / 2, Input::Leases);
    }
}
