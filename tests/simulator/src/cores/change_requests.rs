//! Requests membership changes of a cluster of cores, and destroys removed members. Does not own the choice of the next
//! change (`crate::churn`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use raft::{Change, Configuration, MemberId, Role};

use crate::churn::{Seen, info};
use crate::cores::driver_state::{Input, State};
use crate::cores::{CoreCluster, Event};
use crate::invariant::Checked;

/// Interval between two requests after all faults are lifted.
const HEALED_INTERVAL: Duration = Duration::from_millis(250);

impl CoreCluster {
    /// Makes a pass of the operator: reads the configuration of one leader and requests the next change.
    pub(super) fn operator_looks(&mut self) -> Checked {
        self.destroy_removed();
        let leaders = self.leaders();
        if !leaders.is_empty() {
            let leader = *self.random.pick(&leaders);
            self.operator_asks(leader)?;
        }
        let pace = if self.is_healing {
            HEALED_INTERVAL
        } else {
            self.random.time(self.profile.interval / 8, self.profile.interval)
        };
        self.agenda.after(pace, Event::Operator);
        Ok(())
    }

    /// Plans three requests for changes soon after an election, as an impatient operator would send them.
    pub(super) fn operator_hears_of(&mut self, leader: MemberId) {
        if self.operator.changes_members && self.random.coin() {
            for _ in 0..3 {
                let delay = self.random.long_tailed(Duration::from_micros(100), Duration::from_millis(200));
                self.agenda.after(delay, Event::Hasty(leader));
            }
        }
    }

    pub(super) fn operator_asks(&mut self, leader: MemberId) -> Checked {
        let Some(process) = self.members[&leader].process() else { return Ok(()) };
        if process.raft.soft_state().role != Role::Leader {
            return Ok(());
        }
        let (in_force, index) = process.raft.configuration();
        let current = in_force.clone();
        let settled = !current.is_joint() && process.raft.committed_configuration().1 == index;
        let is_impatient = self.operator.changes_members && self.random.chance(100_000);
        if !settled && !is_impatient {
            return Ok(());
        }
        let dead = self.dead();
        let seen = Seen { current: &current, dead };
        let Some(next) = self.operator.next_change(&mut self.random, &seen) else { return Ok(()) };
        let mut learners = next.learners;
        for _ in 0..next.fresh {
            let id = self.operator.fresh_id();
            self.add_member(id, Arc::new(Configuration::default()))?;
            learners.insert(id);
        }
        let expected = match self.operator.stale {
            Some(stale) if self.operator.changes_members && self.random.chance(100_000) => stale,
            _ => index,
        };
        self.operator.stale = Some(index);
        let members: BTreeMap<_, _> = next.voters.iter().chain(&learners).map(|id| (*id, info(*id))).collect();
        self.input_now(leader, Input::Change(Change { expected, voters: next.voters, learners, members }));
        Ok(())
    }

    /// Members that are destroyed.
    pub(crate) fn dead(&self) -> BTreeSet<MemberId> {
        let gone = self.members.values().filter(|member| matches!(member.state, State::Gone));
        gone.map(|member| member.id).collect()
    }

    /// Destroys some of the members that the committed configuration lists as removed. The others keep running.
    fn destroy_removed(&mut self) {
        if !self.operator.changes_members {
            return;
        }
        let removed: Vec<MemberId> = match self.invariants.ledger.committed_configuration() {
            Some((_, configuration)) => configuration.removed.iter().copied().collect(),
            None => return,
        };
        for id in removed {
            let is_there = matches!(self.members[&id].state, State::Up(_) | State::Down);
            if is_there && self.random.chance(150_000) {
                self.destroy(id);
            }
        }
    }
}
