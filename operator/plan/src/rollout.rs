//! Restarting members whose settings changed: one at a time, followers before the leader, and only while every other member
//! serves and holds what the leader holds. Decides nothing about what the settings are.

use crds::{ObjectStore, Reason};
use k8s_openapi::api::core::v1::Pod;

use crate::action::Action;
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::settings;
use crate::names;
use crate::observed::{Linearizable, Seen, annotation};
use crate::roster::{Roster, Seat};
use crate::troubles;
use crate::validated::ValidatedCluster;

/// Pods that never came up and would come up differently now: deleting them takes nothing from anybody. The kubelet does
/// not retry a pod with new settings by itself.
pub(crate) fn unstick(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, store: Option<&ObjectStore>) -> Vec<Action> {
    let wanted = settings(valid, store);
    outdated(roster, &wanted)
        .filter(|(seat, pod)| seat.report.is_none() && has_not_started(pod))
        .map(|(_, pod)| Action::DeletePod { pod: Seen::of(&pod.metadata) })
        .collect()
}

/// The next member to restart, if any should and may.
pub(crate) fn next(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    read: &Linearizable,
    store: Option<&ObjectStore>,
) -> Decision {
    let wanted = settings(valid, store);
    let mut waiting: Vec<_> = outdated(roster, &wanted).collect();
    if waiting.is_empty() {
        return Decision::default();
    }
    // Whoever does not serve comes first: its restart takes nothing, and may be what helps.
    waiting.sort_by_key(|(seat, _)| (seat.standing.leads(), troubles::of(seat).is_none(), seat.ordinal));
    let (seat, pod) = waiting[0];
    let message = format!("{} members are to restart with new settings, {} first", waiting.len(), seat.name);
    let mut decision = Decision { activity: Some(Note::new(Reason::RollingOut, message)), ..Decision::default() };
    let unfit = roster
        .seats
        .values()
        .filter(|other| other.id.is_some_and(|id| read.configuration.contains(id)) && other.ordinal != seat.ordinal)
        .find_map(|other| unfit(other).map(|trouble| (other, trouble)));
    if let Some((other, trouble)) = unfit {
        decision.blocked = Some(Note::new(trouble.reason, format!("{}: {}", other.name, trouble.message)));
        return decision;
    }
    let heir =
        read.configuration.voters.iter().copied().find(|id| Some(*id) != seat.id && roster.standing(*id).caught_up());
    match heir.filter(|_| seat.standing.leads()) {
        Some(target) => decision.actions.push(Action::TransferLeadership { leader: read.leader, target }),
        None => decision.actions.push(Action::EvictPod { pod: Seen::of(&pod.metadata) }),
    }
    decision
}

/// Why no other member may be missing while this one is as it is.
fn unfit(seat: &Seat<'_>) -> Option<Note> {
    if let Some(trouble) = troubles::of(seat) {
        return Some(trouble);
    }
    if seat.pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Some(Note::new(Reason::MembersNotReady, "its pod is being stopped"));
    }
    (!seat.standing.caught_up()).then(|| Note::new(Reason::LearnerBehind, "it catches up with the leader"))
}

fn outdated<'r, 'a>(roster: &'r Roster<'a>, wanted: &'r str) -> impl Iterator<Item = (&'r Seat<'a>, &'a Pod)> {
    roster.seats.values().filter(|seat| seat.set.is_some()).filter_map(move |seat| {
        let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
        (annotation(&pod.metadata, names::ANNOTATION_SETTINGS) != Some(wanted)).then_some((seat, pod))
    })
}

/// Not scheduled, or no container of it runs.
fn has_not_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let running =
        containers.iter().any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    !running && (status.phase.as_deref() == Some("Pending") || !containers.is_empty())
}
