//! Conversions between the core's types and the planner's plain types. Does not own any decision.

use std::collections::BTreeSet;

use plan::ids::MemberId;
use plan::observed::member::{Configuration, MemberInfo, Progress, RaftRole};
use plan::observed::refusal::RefusalReason;
use raft::Index;

pub(super) fn raft_info(info: &MemberInfo) -> raft::MemberInfo {
    raft::MemberInfo { name: info.name.clone(), peer_url: info.peer_url.clone(), client_url: info.client_url.clone() }
}

pub(super) fn plain(configuration: &raft::Configuration, index: Index) -> Configuration {
    let ids = |ids: &BTreeSet<raft::MemberId>| ids.iter().map(|id| MemberId(id.0)).collect();
    let members = configuration.members.iter().map(|(id, info)| {
        let info = MemberInfo {
            name: info.name.clone(),
            peer_url: info.peer_url.clone(),
            client_url: info.client_url.clone(),
        };
        (MemberId(id.0), info)
    });
    Configuration {
        index: index.0,
        voters: ids(&configuration.voters),
        outgoing: ids(&configuration.outgoing),
        learners: ids(&configuration.learners),
        learners_next: ids(&configuration.learners_next),
        members: members.collect(),
        removed: ids(&configuration.removed),
    }
}

pub(super) fn progress(about: raft::ProgressReport) -> Progress {
    Progress { matched: about.matched.0, active: about.active, snapshotting: about.snapshotting }
}

pub(super) fn role(role: raft::Role) -> RaftRole {
    match role {
        raft::Role::Follower => RaftRole::Follower,
        raft::Role::Learner => RaftRole::Learner,
        raft::Role::PreCandidate => RaftRole::PreCandidate,
        raft::Role::Candidate => RaftRole::Candidate,
        raft::Role::Leader => RaftRole::Leader,
    }
}

pub(super) fn refusal(error: &raft::ChangeRefusal) -> RefusalReason {
    match error {
        raft::ChangeRefusal::NotLeader { .. } => RefusalReason::NotLeader,
        raft::ChangeRefusal::Stale { .. } => RefusalReason::Stale,
        raft::ChangeRefusal::InFlight { .. } => RefusalReason::InFlight,
        raft::ChangeRefusal::TermNotCommitted => RefusalReason::TermNotCommitted,
        raft::ChangeRefusal::Transferring { .. } => RefusalReason::Transferring,
        raft::ChangeRefusal::NoVoters => RefusalReason::NoVoters,
        raft::ChangeRefusal::TooManyVoters { .. } => RefusalReason::TooManyVoters,
        raft::ChangeRefusal::Overlap { .. } => RefusalReason::Overlap,
        raft::ChangeRefusal::Unknown { .. } => RefusalReason::UnknownMember,
        raft::ChangeRefusal::WasRemoved { .. } => RefusalReason::WasRemoved,
        raft::ChangeRefusal::NotLearner { .. } => RefusalReason::NotLearner,
        raft::ChangeRefusal::LearnerBehind { .. } => RefusalReason::LearnerBehind,
        raft::ChangeRefusal::QuorumAtRisk { .. } => RefusalReason::QuorumAtRisk,
        // The disks here are never short of space.
        raft::ChangeRefusal::NoSpace => RefusalReason::Other,
    }
}
