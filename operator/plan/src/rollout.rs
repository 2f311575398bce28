//! Restarts members whose settings changed. Owns the order of restarts: one member at a time, followers before the
//! leader, and only while every other member serves and has caught up. Does not own the settings
//! (`desired/stateful_set.rs`).

use crds::{ObjectStore, Reason};
use k8s_openapi::api::core::v1::Pod;

use crate::action::{Action, MemberAction, ObjectAction};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::{settings, written_settings};
use crate::names;
use crate::observed::{Linearizable, Seen, annotation};
use crate::roster::{Roster, Seat};
use crate::troubles;
use crate::validated::ValidatedCluster;

/// Deletes pods that never started and have outdated settings, because Kubernetes does not apply new settings to an
/// existing pod. The deletion does not interrupt any service.
pub(crate) fn unstick(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, store: Option<&ObjectStore>) -> Vec<Action> {
    let wanted = settings(valid, store);
    outdated(roster, &wanted)
        .filter(|(seat, pod)| restart_helps(seat, &wanted) && seat.report.is_none() && has_not_started(pod))
        .map(|(_, pod)| ObjectAction::DeletePod { pod: Seen::of(&pod.metadata) }.into())
        .collect()
}

/// Restarts the next member with outdated settings, unless another member's state forbids it.
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
    // A member that does not serve comes first: its restart interrupts no service, and may help the member.
    waiting.sort_by_key(|(seat, _)| (seat.health.leads(), troubles::of(seat).is_none(), seat.ordinal));
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
    let successor =
        read.configuration.voters.iter().copied().find(|id| Some(*id) != seat.id && roster.health(*id).caught_up());
    debug_assert!(successor.is_none() || successor != seat.id, "a member does not succeed itself");
    if !restart_helps(seat, &wanted) {
        // The StatefulSet is written in this pass, and the member restarts in a later one.
        return decision;
    }
    match successor.filter(|_| seat.health.leads()) {
        Some(target) => decision.actions.push(MemberAction::TransferLeadership { leader: read.leader, target }.into()),
        None => decision.actions.push(ObjectAction::EvictPod { pod: Seen::of(&pod.metadata) }.into()),
    }
    decision
}

/// The reason why no other member may be stopped while this member is in its present state.
fn unfit(seat: &Seat<'_>) -> Option<Note> {
    if let Some(trouble) = troubles::of(seat) {
        return Some(trouble);
    }
    if seat.pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Some(Note::new(Reason::MembersNotReady, "its pod is being stopped"));
    }
    (!seat.health.caught_up()).then(|| Note::new(Reason::LearnerBehind, "it catches up with the leader"))
}

/// Members whose pod has other settings than the spec asks for.
fn outdated<'r, 'a>(roster: &'r Roster<'a>, wanted: &'r str) -> impl Iterator<Item = (&'r Seat<'a>, &'a Pod)> {
    roster.seats.values().filter(|seat| seat.set.is_some()).filter_map(move |seat| {
        let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
        (annotation(&pod.metadata, names::ANNOTATION_SETTINGS) != Some(wanted)).then_some((seat, pod))
    })
}

/// Returns whether the StatefulSet was written with the wanted settings. Before that, a new pod would get the former
/// settings again, and would be stopped again.
fn restart_helps(seat: &Seat<'_>, wanted: &str) -> bool {
    seat.set.is_some_and(|set| written_settings(set) == Some(wanted))
}

/// Returns whether the pod is not scheduled, or none of its containers runs.
fn has_not_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let running =
        containers.iter().any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    !running && (status.phase.as_deref() == Some("Pending") || !containers.is_empty())
}
