//! A stopped cluster (`spec.stopped`). Owns that every member is scaled to 0, and that nothing else is done, except that
//! the Secret with the identity gets the fate of the volumes. Does not own how the StatefulSets are written
//! (`objects.rs`), nor the Secret (`secret.rs`), nor the start: once `spec.stopped` is false, every StatefulSet is written
//! with one replica again, and the phase that follows from the observation decides (`plan.rs`).
//!
//! A stop comes before everything else that may be wrong with a cluster: a name that is taken, a lost identity, a spec
//! that contradicts itself. These are reported, and the existing members are scaled to 0 nevertheless.
//!
//! A stop is not a scale-down: the configuration keeps every member, and a joint change that is not finished ends after
//! the next start. Pods are not evicted, because the disruption budget would keep a majority of them.

use crds::raft_cluster::VolumeFate;
use crds::{ObjectStore, Reason};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::jiff::Timestamp;

use crate::action::{Action, ObjectAction, Replace};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::{halted, runs};
use crate::identity::ClusterIdentity;
use crate::names;
use crate::objects;
use crate::observed::{Observed, annotation};
use crate::pointer::Known;
use crate::rollout::Taken;
use crate::roster::{Roster, Seat};
use crate::secret;
use crate::validated::ValidatedCluster;

/// Returns whether the cluster is stopped or is to be stopped. A paused cluster whose members run is left as it is.
pub(crate) fn applies(observed: &Observed) -> bool {
    let spec = &observed.cluster.spec;
    spec.stopped && !(spec.paused && own_sets(observed).any(runs))
}

/// Decides for a cluster that is stopped or is to be stopped. Its Secret may not have the fate of the volumes yet: the spec
/// may have changed `whenDeleted` together with `stopped`, or an earlier version may have created the Secret. If the
/// RaftCluster were deleted then, retained volumes would be left without an identity.
pub(crate) fn decide(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    known: Option<&Known>,
    store: Option<&ObjectStore>,
) -> Decision {
    let (none, identity) = (Taken::none(observed.now), known.map(|known| &known.identity));
    let mut actions = known.map_or_else(Vec::new, |known| secret::keep(valid, observed, known));
    actions.extend(objects::sets(valid, roster, identity, observed.configuration.as_ref(), store, &[], &none));
    let stopping = stopping(observed, roster).or_else(|| being_written(valid, roster));
    let (activity, blocked) = match stopping {
        Some(stopping) => (Some(stopping), None),
        None => {
            let misowned = misowned(valid, roster, identity);
            let ended = misowned.is_some().then(|| Note::new(Reason::Stopping, "every pod has ended"));
            (ended, misowned)
        }
    };
    Decision { actions, activity, blocked, ..Decision::default() }
}

/// Decides for a cluster that is to be stopped although it is unknown how its members are to be written, because the
/// identity is lost. It is reported by the caller.
pub(crate) fn decide_without_identity(observed: &Observed, roster: &Roster<'_>) -> Decision {
    Decision { actions: halt(observed), activity: stopping(observed, roster), ..Decision::default() }
}

/// Scales every member of a cluster that is to be stopped to 0, and changes nothing else. This needs neither a valid spec
/// nor an identity.
pub(crate) fn halt(observed: &Observed) -> Vec<Action> {
    let spec = &observed.cluster.spec;
    let running = own_sets(observed).filter(|set| runs(set) && set.metadata.deletion_timestamp.is_none());
    let stops = running.filter(|_| spec.stopped && !spec.paused);
    stops.map(|live| ObjectAction::ReplaceSet(Box::new(Replace::of(&halted(live), live))).into()).collect()
}

fn own_sets(observed: &Observed) -> impl Iterator<Item = &StatefulSet> {
    observed.members.values().filter_map(|member| member.set.as_ref()).filter(|set| observed.owns(&set.metadata))
}

/// The report while pods of members are left; `None` if there are none.
fn stopping(observed: &Observed, roster: &Roster<'_>) -> Option<Note> {
    let is_running = |set: &StatefulSet| runs(set) && set.metadata.deletion_timestamp.is_none();
    let remaining = roster.seats.values().filter(|seat| seat.pod.is_some() || seat.set.is_some_and(is_running));
    let remaining: Vec<String> = remaining.map(|seat| remains(seat, observed.now)).collect();
    let message = format!("waits for the pods of {} to end", remaining.join(", "));
    (!remaining.is_empty()).then(|| Note::new(Reason::Stopping, message))
}

/// The report while a write that was decided before the stop may still start a member: until this stop has written every
/// StatefulSet.
fn being_written(valid: &ValidatedCluster<'_>, roster: &Roster<'_>) -> Option<Note> {
    let generation = valid.stopped_since.map(|generation| generation.to_string());
    // A StatefulSet that is being deleted is not written, and starts no pod.
    let knows = |set: &StatefulSet| {
        let noted = annotation(&set.metadata, names::ANNOTATION_STOPPED);
        noted == generation.as_deref() || set.metadata.deletion_timestamp.is_some()
    };
    if valid.spec.paused {
        // Nothing is written.
        return None;
    }
    let left = roster.seats.values().filter(|seat| seat.set.is_some_and(|set| !knows(set)));
    let names: Vec<&str> = left.map(|seat| seat.name.as_str()).collect();
    let message = format!("waits until the StatefulSets of {} are written", names.join(", "));
    (!names.is_empty()).then(|| Note::new(Reason::Stopping, message))
}

/// Names a member whose pod is left, and why its pod will not end by itself.
fn remains(seat: &Seat<'_>, now: Timestamp) -> String {
    let name = &seat.name;
    let Some(pod) = seat.pod else { return name.clone() };
    if seat.set.is_none() {
        return format!("{name} (no StatefulSet manages its pod: delete the pod {name}-0)");
    }
    match &pod.metadata.deletion_timestamp {
        Some(due) if due.0 < now => {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("unknown");
            format!("{name} (its pod was to end by {:.0}: node {node} does not confirm that it has)", due.0)
        }
        Some(_) | None => name.clone(),
    }
}

/// Reports claims that Kubernetes would delete or retain otherwise than the spec says if the RaftCluster were deleted
/// now. Their fate changed after their pods had ended. A rule of the definition refuses this change of the spec, but an
/// older definition admitted it.
fn misowned(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, identity: Option<&ClusterIdentity>) -> Option<Note> {
    let is_misowned = |seat: &&Seat<'_>| {
        let goes = objects::volume_fate(valid, seat, identity, &[]) == VolumeFate::Delete;
        !seat.is_volume_owned_for(goes)
    };
    let names: Vec<&str> = roster.seats.values().filter(is_misowned).map(|seat| seat.name.as_str()).collect();
    let message = format!(
        "deleting the RaftCluster would not do with the volumes of {} what spec.storage.retention says, because Kubernetes changes the fate of a volume only while its pod exists: set spec.stopped to false, wait until the cluster is Ready, and stop it again",
        names.join(", ")
    );
    (!names.is_empty()).then(|| Note::new(Reason::RetentionPending, message))
}
