//! Conditions of a healed cluster of members: there is one leader and one settled configuration of living members, logs
//! and states are equal, and no removed member still campaigns.

use std::collections::BTreeSet;

use raft::{MemberId, Role};

use crate::members::MemberCluster;
use crate::members::process::Member;

impl MemberCluster {
    /// The first condition that is not met yet; `None` if the cluster is healed.
    pub(super) fn missing(&self) -> Option<String> {
        let leaders = self.leaders();
        let [leader] = leaders[..] else { return Some(format!("one leader, not {leaders:?}")) };
        let process = self.members[&leader].process()?;
        let raft = process.raft();
        let (configuration, index) = raft.configuration();
        if configuration.is_joint() || raft.committed_configuration().1 != index {
            return Some(format!("a settled configuration, not {configuration:?} of index {index}"));
        }
        let everyone: BTreeSet<MemberId> = configuration.voters.union(&configuration.learners).copied().collect();
        let dead: Vec<MemberId> = everyone.intersection(&self.dead()).copied().collect();
        if !dead.is_empty() {
            return Some(format!("{dead:?} to be replaced"));
        }
        let last = raft.last();
        for id in &everyone {
            let Some(member) = self.members[id].process() else { return Some(format!("{id} to run")) };
            let (own, commit) = (member.raft().last(), member.raft().commit());
            let applied = member.handle().published().applied;
            if (own, commit, applied) != (last, last.index, last.index) {
                return Some(format!("{id} at {last}: its log ends at {own}, commit {commit}, applied {applied}"));
            }
        }
        if let Some(missing) = self.missing_level(leader) {
            return Some(missing);
        }
        let outsiders = self.members.values().filter(|member| !everyone.contains(&member.id));
        let outsiders = outsiders.filter(|member| campaigns_among(member, &everyone));
        let left: Vec<MemberId> = outsiders.map(|member| member.id).collect();
        (!left.is_empty()).then(|| format!("{left:?} to learn that they were removed"))
    }
}

/// Returns whether a removed member campaigns among members that know of its removal. If all members that the removed
/// member knows are destroyed, only the operator can stop it.
fn campaigns_among(member: &Member, everyone: &BTreeSet<MemberId>) -> bool {
    member.process().is_some_and(|process| {
        let known = &process.raft().configuration().0.voters;
        process.raft().soft_state().role != Role::Learner && !known.is_disjoint(everyone)
    })
}
