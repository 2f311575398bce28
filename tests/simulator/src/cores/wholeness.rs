//! Conditions of a healed cluster: there is one leader and one settled configuration of living members, logs and states
//! are equal, every client is served, no lease is left, and no removed member still campaigns.

use std::collections::BTreeSet;

use raft::{MemberId, Role};

use crate::cores::CoreCluster;

/// The first condition that is not met yet; `None` if the cluster is healed.
#[must_use]
pub fn missing(cluster: &CoreCluster) -> Option<String> {
    let Some(leader) = the_leader(cluster) else {
        return Some(format!("one leader, not {:?}", cluster.leaders()));
    };
    let process = cluster.members[&leader].process().expect("a leader runs");
    let raft = &process.raft;
    let (configuration, index) = raft.configuration();
    if configuration.is_joint() || raft.committed_configuration().1 != index {
        return Some(format!("a settled configuration, not {configuration:?} of index {index}"));
    }
    let everyone: BTreeSet<MemberId> = configuration.voters.union(&configuration.learners).copied().collect();
    let dead: Vec<MemberId> = everyone.intersection(&cluster.dead()).copied().collect();
    if !dead.is_empty() {
        return Some(format!("{dead:?} to be replaced"));
    }
    let last = raft.last();
    for id in &everyone {
        let Some(member) = cluster.members[id].process() else { return Some(format!("{id} to run")) };
        if (member.raft.last(), member.raft.commit(), member.machine.applied()) != (last, last.index, last.index) {
            let (own, commit, applied) = (member.raft.last(), member.raft.commit(), member.machine.applied());
            return Some(format!(
                "{id} to apply up to {last}: its log ends at {own}, commit {commit}, applied {applied}"
            ));
        }
        if member.machine.hash() != process.machine.hash() {
            return Some(format!("{id} to have the state of {leader}"));
        }
    }
    let leases = process.machine.leases().len();
    if leases > 0 {
        return Some(format!("the end of {leases} leases that no client keeps alive"));
    }
    outsiders(cluster, &everyone)
}

/// The leader; `None` unless exactly one member leads. Several members may lead, each in another term, because a former
/// leader may not know yet that another leader was elected.
fn the_leader(cluster: &CoreCluster) -> Option<MemberId> {
    let leaders = cluster.leaders();
    let (leader, others) = leaders.split_first()?;
    others.is_empty().then_some(*leader)
}

/// Describes removed members that still consider themselves voters. Such a member campaigns until it learns of its
/// removal. If all members that it knows are destroyed, only the operator can stop it.
fn outsiders(cluster: &CoreCluster, everyone: &BTreeSet<MemberId>) -> Option<String> {
    let running = cluster.members.values().filter(|member| !everyone.contains(&member.id));
    let asking = running.filter_map(|member| Some((member.id, &member.process()?.raft))).filter(|(_, raft)| {
        raft.soft_state().role != Role::Learner && !raft.configuration().0.voters.is_disjoint(everyone)
    });
    let left: Vec<_> = asking.map(|(id, raft)| (id, raft.soft_state().role)).collect();
    (!left.is_empty()).then(|| format!("{left:?} to learn that they were removed"))
}
