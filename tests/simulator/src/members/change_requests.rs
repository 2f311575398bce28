//! Requests membership changes of a cluster of members, with the same call as the admin service. Does not own the
//! choice of the next change (`crate::churn`).

use std::collections::BTreeMap;
use std::time::Duration;

use raft::{Change, Configuration, Role};

use crate::churn::{Seen, info};
use crate::invariant::Checked;
use crate::members::{Event, MemberCluster};

/// Interval between two requests after all faults are lifted.
const HEALED_INTERVAL: Duration = Duration::from_millis(250);

impl MemberCluster {
    pub(super) fn operator_looks(&mut self) -> Checked {
        let leaders = self.leaders();
        if !leaders.is_empty() {
            let leader = *self.random.pick(&leaders);
            self.ask_for_level(leader)?;
            self.ask_for_members(leader)?;
        }
        let pace = if self.is_healing {
            HEALED_INTERVAL
        } else {
            self.random.time(self.profile.interval / 8, self.profile.interval)
        };
        self.agenda.after(pace, Event::Operator);
        Ok(())
    }

    fn ask_for_members(&mut self, leader: raft::MemberId) -> Checked {
        if self.members[&leader].paused_until > self.agenda.now() {
            return Ok(());
        }
        let Some(process) = self.members[&leader].process() else { return Ok(()) };
        let raft = process.raft();
        let (in_force, expected) = raft.configuration();
        let current = in_force.clone();
        let settled = !current.is_joint() && raft.committed_configuration().1 == expected;
        if raft.soft_state().role != Role::Leader || !settled {
            return Ok(());
        }
        let handle = process.handle();
        let seen = Seen { current: &current, dead: self.dead() };
        let Some(next) = self.operator.next_change(&mut self.random, &seen) else { return Ok(()) };
        let mut learners = next.learners;
        for _ in 0..next.fresh {
            let id = self.operator.fresh_id();
            self.add_member(id, &Configuration::default())?;
            learners.insert(id);
        }
        let members: BTreeMap<_, _> = next.voters.iter().chain(&learners).map(|id| (*id, info(*id))).collect();
        self.note(|| format!("{leader} gets a request for voters {:?}, learners {learners:?}", next.voters));
        let change = Change { expected, voters: next.voters, learners, members };
        let supports = self.support_of_newcomers(leader, &change);
        super::start_call(async move { handle.change(change, supports).await });
        // The turn is taken now, so that disk faults take the new configuration into account.
        self.take_turn(leader)
    }
}
