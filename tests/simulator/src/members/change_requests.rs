//! Asks a shipped cluster for other members, by the call that the operator's admin door makes. What is wanted next is
//! [`crate::churn`]'s to say.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::{Change, Configuration, Role};

use crate::churn::{Seen, info};
use crate::invariant::Checked;
use crate::members::{Event, MemberCluster};

/// The pace once everything is healed.
const CALM: Duration = Duration::from_millis(250);

impl MemberCluster {
    pub(super) fn operator_looks(&mut self) -> Checked {
        let leaders = self.leaders();
        if !leaders.is_empty() {
            let leader = *self.random.pick(&leaders);
            self.ask_for_members(leader)?;
        }
        let pace = if self.is_healing { CALM } else { self.random.time(self.profile.calm / 8, self.profile.calm) };
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
        let Some(wish) = self.operator.wish(&mut self.random, &seen) else { return Ok(()) };
        let mut learners = wish.learners;
        for _ in 0..wish.fresh {
            let id = self.operator.fresh_id();
            self.add_member(id, &Configuration::default())?;
            learners.insert(id);
        }
        let members: BTreeMap<_, _> = wish.voters.iter().chain(&learners).map(|id| (*id, info(*id))).collect();
        self.note(|| format!("{leader} is asked for voters {:?}, learners {learners:?}", wish.voters));
        let change = Change { expected, voters: wish.voters, learners, members };
        super::ask(async move { handle.change(change).await });
        // At once, so that whoever loses disks knows which of them matter.
        self.take_turn(leader)
    }
}
