//! Joint configurations (Raft thesis §4.3). Owns how one configuration becomes the next, and the rule that a joint
//! configuration is left automatically. Does not own which changes are legal (`change.rs`).

use crate::configuration::Configuration;
use crate::membership::request::Change;
use crate::message::Payload;
use crate::raft::Raft;
use crate::state::role::RoleState;

/// Returns the first configuration of the transition from `current`, which is not joint, to the requested one. The
/// result is joint if voters change, because otherwise a majority of the old voters and a majority of the new voters
/// could decide independently. If only learners or addresses change, majorities stay the same, and one step is safe.
pub(crate) fn enter(current: &Configuration, change: Change) -> Configuration {
    assert!(!current.is_joint(), "one change at a time");
    assert!(!change.voters.is_empty(), "a cluster keeps a voter");
    let Change { voters, learners, members, .. } = change;
    let outgoing = if voters == current.voters { Default::default() } else { current.voters.clone() };
    let learners_next = learners.intersection(&outgoing).copied().collect();
    let learners = learners.difference(&outgoing).copied().collect();
    let mut next = Configuration { voters, outgoing, learners, learners_next, ..Configuration::default() };
    next.members = current.members.iter().map(|(id, info)| (*id, info.clone())).chain(members).collect();
    let gone = current.everyone().filter(|id| !next.contains(*id));
    next.removed = current.removed.iter().copied().chain(gone).collect();
    forget_other_members(&mut next);
    assert!(next.voters.is_disjoint(&next.learners), "a voter is no learner");
    assert!(
        next.learners_next.is_subset(&next.outgoing),
        "only voters of the outgoing electorate become learners later"
    );
    next
}

/// Returns the configuration that follows a joint one.
pub(crate) fn leave(joint: &Configuration) -> Configuration {
    assert!(joint.is_joint(), "only a joint configuration is left");
    let mut next = Configuration {
        voters: joint.voters.clone(),
        learners: joint.learners.union(&joint.learners_next).copied().collect(),
        members: joint.members.clone(),
        ..Configuration::default()
    };
    let gone = joint.outgoing.iter().copied().filter(|id| !next.contains(*id));
    next.removed = joint.removed.iter().copied().chain(gone).collect();
    forget_other_members(&mut next);
    assert!(next.removed.is_superset(&joint.removed), "a removed member never comes back");
    next
}

/// Drops the names and addresses of members that are in no set any more.
fn forget_other_members(configuration: &mut Configuration) {
    let members = std::mem::take(&mut configuration.members);
    configuration.members = members.into_iter().filter(|(id, _)| configuration.contains(*id)).collect();
}

impl Raft {
    /// Leaves a joint configuration when it is committed. A new leader also leaves a joint configuration that its
    /// predecessor entered (etcd#12136).
    pub(crate) fn leave_joint_when_due(&mut self) {
        let (index, latest) = self.history.latest();
        let is_due = latest.is_joint() && *index <= self.log.commit() && self.term_is_committed();
        let is_busy = matches!(&self.role, RoleState::Leader(leader) if leader.is_transferring());
        if is_due && !is_busy {
            let next = leave(latest);
            self.append(Payload::Configuration(next.into()));
            // From now on the incoming electorate alone decides. What its members have acknowledged so far may already
            // commit more entries.
            self.advance_commit();
        }
    }
}
