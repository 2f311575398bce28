//! Owns the condition Ready: whether the cluster is as its spec asks and serves clients. `kubectl get` prints the
//! condition's reason.

use crds::{ConditionType, Reason};

use super::{Facts, Finding, Holds, trouble};
use crate::decision::Note;
use crate::roster::Seat;
use crate::warnings;

pub(crate) fn find(facts: &Facts<'_>) -> Finding {
    let unready = |note: Note| Finding { kind: ConditionType::Ready, holds: Holds::No, note };
    let decision = facts.decision;
    if let Some(note) = &decision.stalled {
        return unready(note.clone());
    }
    if let Some(note) = &decision.outage {
        return unready(note.clone());
    }
    if let Some(note) = facts.roster.and_then(warnings::writes_refused) {
        return unready(note);
    }
    // If a person can remove the cause of the wait, report the cause. It explains more than the change in progress.
    if let Some(activity) = &decision.activity {
        let note = match &decision.blocked {
            Some(blocked) if is_obstacle(blocked.reason) => blocked.clone(),
            Some(blocked) => Note::new(activity.reason, format!("{}: {}", activity.message, blocked.message)),
            None => activity.clone(),
        };
        return unready(note);
    }
    if facts.is_stopped() {
        let message = "spec.stopped is true: no member runs, and all volumes are kept; set it to false to start";
        return Finding { kind: ConditionType::Ready, holds: Holds::Yes, note: Note::new(Reason::Stopped, message) };
    }
    let Some(roster) = facts.roster else {
        return unready(Note::new(Reason::MembersNotReady, "no member has been observed yet"));
    };
    let configuration = facts.observed.configuration.as_ref().map(|read| &read.configuration);
    let is_member = |seat: &&Seat<'_>| {
        seat.set.is_some() || seat.id.is_some_and(|id| configuration.is_some_and(|known| known.contains(id)))
    };
    let members = roster.seats.values().filter(is_member);
    let troubled = members.map(|seat| (seat, trouble(facts, seat))).find_map(|(seat, trouble)| Some((seat, trouble?)));
    match troubled {
        Some((seat, trouble)) => unready(Note::new(trouble.reason, format!("{}: {}", seat.name, trouble.message))),
        None => {
            let message =
                format!("{} members serve", roster.seats.values().filter(|seat| seat.health.serves()).count());
            Finding { kind: ConditionType::Ready, holds: Holds::Yes, note: Note::new(Reason::Healthy, message) }
        }
    }
}

/// Returns whether the reason is a cause that a person can remove. `kubectl get` prints such a reason, and an event
/// reports it as a warning. The other reasons describe progress, or causes that disappear without a person.
#[must_use]
pub fn is_obstacle(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Healthy
            | Reason::UpToDate
            | Reason::NotStalled
            | Reason::Bootstrapping
            | Reason::Restoring
            | Reason::ScalingUp
            | Reason::ScalingDown
            | Reason::ReplacingMember
            | Reason::RollingOut
            | Reason::GrowingVolumes
            | Reason::MovingVolumes
            | Reason::Stopping
            | Reason::Stopped
            | Reason::ClusterStopped
            | Reason::Paused
            | Reason::Deleting
            | Reason::NoLeader
            | Reason::MembersNotReady
            | Reason::MemberRepairing
            | Reason::LearnerBehind
            | Reason::ChangeInFlight
            | Reason::StoreReachable
            | Reason::Completed
            | Reason::Uploading
            | Reason::Waiting
            | Reason::Plaintext
    )
}
