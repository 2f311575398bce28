//! Entering and leaving joint configurations (Raft thesis §4.3). Owns how one configuration becomes the next, and that a joint
//! one is left by itself; which wishes are legal belongs to [`super::change`].

use crate::membership::change::Change;
use crate::membership::configuration::Configuration;
use crate::message::Payload;
use crate::raft::Raft;
use crate::role::Standing;

/// The configuration that leads from `current`, which is not joint, to what is wanted. Joint whenever voters change: then no
/// two majorities, of before and after, can decide apart. When only learners or addresses change, majorities stay what they
/// are, and one step is as safe.
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
    forget_strangers(&mut next);
    assert!(next.voters.is_disjoint(&next.learners), "a voter is no learner");
    assert!(next.learners_next.is_subset(&next.outgoing), "who becomes a learner had a vote");
    next
}

/// The configuration that a joint one ends in.
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
    forget_strangers(&mut next);
    next
}

fn forget_strangers(configuration: &mut Configuration) {
    let members = std::mem::take(&mut configuration.members);
    configuration.members = members.into_iter().filter(|(id, _)| configuration.contains(*id)).collect();
}

impl Raft {
    /// Leaves a joint configuration once it is committed, whoever proposed it: a new leader finishes what its predecessor
    /// began (etcd#12136).
    pub(crate) fn leave_joint_when_due(&mut self) {
        let (index, latest) = self.history.latest();
        let is_due = latest.is_joint() && *index <= self.log.commit() && self.term_is_committed();
        let is_busy = matches!(&self.standing, Standing::Leader(leader) if leader.transfer.is_some());
        if is_due && !is_busy {
            let next = leave(latest);
            self.append(Payload::Configuration(next.into()));
            // From here on the incoming half alone decides, and may have decided more.
            self.advance_commit();
        }
    }
}
