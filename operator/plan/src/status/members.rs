//! Owns the members' part of the status: the leader, the number of serving members, and one item per member.

use crds::raft_cluster::{MemberHealth, MemberRole, MemberStatus, RaftClusterStatus};

use crate::decision::shortened;
use crate::desired::stateful_set;
use crate::observed::Observed;
use crate::observed::member::{RaftRole, Report};
use crate::quorum::majority;
use crate::roster::{Health, Roster, Seat};
use crate::troubles::{self, is_repairing};
use crate::warnings;

/// Maximum number of listed members; the schema sets the limit.
const MEMBERS_MAX: usize = 128;

pub(crate) fn fill(status: &mut RaftClusterStatus, observed: &Observed, roster: &Roster<'_>) {
    let seats: Vec<&Seat<'_>> = roster.seats.values().filter(|seat| is_listed(seat)).take(MEMBERS_MAX).collect();
    let runs = |seat: &&&Seat<'_>| seat.set.is_some_and(stateful_set::runs);
    status.replicas = Some(number(seats.iter().filter(runs).count()));
    status.ready_replicas = Some(number(seats.iter().filter(runs).filter(|seat| seat.is_pod_ready()).count()));
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
                let serving = half.iter().filter(|id| roster.health(**id).serves()).count();
                serving.saturating_sub(majority(half.len()))
            })
            .min();
        status.failures_tolerated = tolerated.map(number);
    }
    debug_assert!(status.ready_replicas <= status.replicas, "a ready member has a StatefulSet");
    status.members = seats.into_iter().map(|seat| one(seat, observed, roster)).collect();
}

/// Returns whether the seat is listed as a member. A retained volume is not listed.
fn is_listed(seat: &Seat<'_>) -> bool {
    seat.set.is_some() || (seat.id.is_some() && seat.health != Health::Removed)
}

fn one(seat: &Seat<'_>, observed: &Observed, roster: &Roster<'_>) -> MemberStatus {
    let node = seat.pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let zone = node.as_ref().and_then(|node| observed.zones.get(node).cloned());
    let report = seat.report.filter(|_| seat.set.is_some());
    MemberStatus {
        name: seat.name.clone(),
        id: seat.id.or_else(|| seat.blank_id()).map(|id| id.to_string()),
        role: Some(role(seat)),
        health: Some(health(seat, observed)),
        match_index: match_index(seat, roster),
        term: report.filter(|report| report.cluster.is_some()).and_then(|report| i64::try_from(report.term).ok()),
        version: report.map(|report| report.version.clone()).filter(|version| !version.is_empty()),
        node,
        zone,
        message: troubles::of(seat)
            .or_else(|| warnings::space(seat))
            .filter(|_| !is_stopped(seat, observed))
            .map(|note| shortened(&note.message)),
    }
}

fn role(seat: &Seat<'_>) -> MemberRole {
    match (seat.health, seat.report) {
        (_, Some(report)) if report.role == RaftRole::ShuttingDown => MemberRole::ShuttingDown,
        (Health::Serving { leads: true, .. }, _) => MemberRole::Leader,
        (_, Some(report)) if report.cluster.is_some() => match report.role {
            RaftRole::Unknown => MemberRole::Unknown,
            // The status shows a member as leader only if the member confirmed its leadership.
            RaftRole::Follower | RaftRole::Leader => MemberRole::Follower,
            RaftRole::Learner => MemberRole::Learner,
            RaftRole::PreCandidate => MemberRole::PreCandidate,
            RaftRole::Candidate => MemberRole::Candidate,
            RaftRole::ShuttingDown => MemberRole::ShuttingDown,
        },
        _ => MemberRole::Unknown,
    }
}

/// Returns whether the member's StatefulSet is scaled to 0. That of a new member is, too, until the pass after its creation.
fn is_stopped(seat: &Seat<'_>, observed: &Observed) -> bool {
    let is_new = seat.volume.is_none() && !observed.cluster.spec.stopped;
    seat.set.is_some_and(|set| !stateful_set::runs(set)) && !is_new
}

fn health(seat: &Seat<'_>, observed: &Observed) -> MemberHealth {
    match seat.health {
        _ if is_stopped(seat, observed) => MemberHealth::Stopped,
        Health::Serving { caught_up: true, .. } if seat.is_pod_ready() => MemberHealth::Healthy,
        Health::Alone if seat.is_pod_ready() => MemberHealth::Unreachable,
        Health::Serving { caught_up: true, .. } | Health::Alone | Health::Joined => MemberHealth::Starting,
        Health::Serving { .. } => MemberHealth::CatchingUp,
        Health::Blank => MemberHealth::Blank,
        Health::Restoring => MemberHealth::Restoring,
        Health::TooNew => MemberHealth::TooNew,
        Health::Silent { .. } | Health::Unreachable { .. } if is_repairing(seat) => MemberHealth::Repairing,
        Health::Silent { .. } if !seat.is_pod_ready() && seat.id.is_none() => MemberHealth::Starting,
        Health::Silent { .. } | Health::Unreachable { .. } => MemberHealth::Unreachable,
        Health::Lost(crate::roster::Loss::Damaged) => MemberHealth::Damaged,
        Health::Lost(_) => MemberHealth::Blank,
        Health::Removed => MemberHealth::Removed,
    }
}

/// The member's matched index, according to the leader's progress; for the leader, the index of its own last entry.
fn match_index(seat: &Seat<'_>, roster: &Roster<'_>) -> Option<i64> {
    let leader: &Report = roster.leader()?.report?;
    let matched = if leader.id == seat.id { leader.last } else { leader.progress.get(&seat.id?)?.matched };
    i64::try_from(matched).ok()
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
