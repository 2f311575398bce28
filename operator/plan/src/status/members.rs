//! The members' part of the status: who leads, how many serve, and each by name.

use crds::raft_cluster::{MemberHealth, MemberRole, MemberStatus, RaftClusterStatus};

use crate::decision::shortened;
use crate::observed::Observed;
use crate::observed::member::{Report, Role};
use crate::quorum::majority;
use crate::roster::{Roster, Seat, Standing};
use crate::troubles;

/// Members listed at most, as the schema allows.
const MEMBERS_MAX: usize = 128;

pub(crate) fn fill(status: &mut RaftClusterStatus, observed: &Observed, roster: &Roster<'_>) {
    let seats: Vec<&Seat<'_>> = roster.seats.values().filter(|seat| is_listed(seat)).take(MEMBERS_MAX).collect();
    status.replicas = Some(number(seats.iter().filter(|seat| seat.set.is_some()).count()));
    status.ready_replicas = Some(number(seats.iter().filter(|seat| seat.set.is_some() && seat.is_pod_ready()).count()));
    status.leader = roster.leader().map(|seat| seat.name.clone());
    if let Some(read) = &observed.configuration {
        let configuration = &read.configuration;
        status.voters = Some(number(configuration.voters.len()));
        status.learners = Some(number(configuration.learners.len() + configuration.learners_next.len()));
        status.configuration_index = i64::try_from(configuration.index).ok();
        let tolerated = [&configuration.voters, &configuration.outgoing]
            .into_iter()
            .filter(|half| !half.is_empty())
            .map(|half| {
                let serving = half.iter().filter(|id| roster.standing(**id).serves()).count();
                serving.saturating_sub(majority(half.len()))
            })
            .min();
        status.failures_tolerated = tolerated.map(number);
    }
    status.members = seats.into_iter().map(|seat| one(seat, observed, roster)).collect();
}

/// Retained volumes are no members.
fn is_listed(seat: &Seat<'_>) -> bool {
    seat.set.is_some() || (seat.id.is_some() && seat.standing != Standing::Removed)
}

fn one(seat: &Seat<'_>, observed: &Observed, roster: &Roster<'_>) -> MemberStatus {
    let node = seat.pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let zone = node.as_ref().and_then(|node| observed.zones.get(node).cloned());
    let report = seat.report.filter(|_| seat.set.is_some());
    MemberStatus {
        name: seat.name.clone(),
        id: seat.id.or_else(|| seat.blank_id()).map(|id| id.to_string()),
        role: Some(role(seat)),
        health: Some(health(seat)),
        match_index: match_index(seat, roster),
        term: report.filter(|report| report.cluster.is_some()).and_then(|report| i64::try_from(report.term).ok()),
        version: report.map(|report| report.version.clone()).filter(|version| !version.is_empty()),
        node,
        zone,
        message: troubles::of(seat).map(|trouble| shortened(&trouble.message)),
    }
}

fn role(seat: &Seat<'_>) -> MemberRole {
    match (seat.standing, seat.report) {
        (_, Some(report)) if report.role == Role::ShuttingDown => MemberRole::ShuttingDown,
        (Standing::Serving { leads: true, .. }, _) => MemberRole::Leader,
        (_, Some(report)) if report.cluster.is_some() => match report.role {
            Role::Unknown => MemberRole::Unknown,
            // Only who confirmed its leadership is shown as leader.
            Role::Follower | Role::Leader => MemberRole::Follower,
            Role::Learner => MemberRole::Learner,
            Role::PreCandidate => MemberRole::PreCandidate,
            Role::Candidate => MemberRole::Candidate,
            Role::ShuttingDown => MemberRole::ShuttingDown,
        },
        _ => MemberRole::Unknown,
    }
}

fn health(seat: &Seat<'_>) -> MemberHealth {
    match seat.standing {
        Standing::Serving { caught_up: true, .. } if seat.is_pod_ready() => MemberHealth::Healthy,
        Standing::Alone if seat.is_pod_ready() => MemberHealth::Unreachable,
        Standing::Serving { caught_up: true, .. } | Standing::Alone | Standing::Joined => MemberHealth::Starting,
        Standing::Serving { .. } => MemberHealth::CatchingUp,
        Standing::Blank => MemberHealth::Blank,
        Standing::Restoring => MemberHealth::Restoring,
        Standing::Silent { .. } if !seat.is_pod_ready() && seat.id.is_none() => MemberHealth::Starting,
        Standing::Silent { .. } | Standing::Unreachable { .. } => MemberHealth::Unreachable,
        Standing::Lost(crate::roster::Loss::Damaged) => MemberHealth::Damaged,
        Standing::Lost(_) => MemberHealth::Blank,
        Standing::Removed => MemberHealth::Removed,
    }
}

/// By the leader's book, or its own for the leader.
fn match_index(seat: &Seat<'_>, roster: &Roster<'_>) -> Option<i64> {
    let leader: &Report = roster.leader()?.report?;
    let matched = if leader.id == seat.id { leader.last } else { leader.progress.get(&seat.id?)?.matched };
    i64::try_from(matched).ok()
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
