//! A stopped cluster (`spec.stopped`). Owns that every member is scaled to 0, and that nothing else is done. Does not
//! own how the StatefulSets are written (`objects.rs`), nor the start: once `spec.stopped` is false, every StatefulSet is
//! written with one replica again, and the phase that follows from the observation decides (`plan.rs`).
//!
//! A stop is not a scale-down: the configuration keeps every member, and a joint change that is not finished ends after
//! the next start. Pods are not evicted, because the disruption budget would keep a majority of them.

use crds::raft_cluster::{RaftClusterSpec, VolumeFate};
use crds::{ObjectStore, Reason};

use crate::decision::{Decision, Note};
use crate::desired::stateful_set::runs;
use crate::identity::ClusterIdentity;
use crate::objects;
use crate::observed::Observed;
use crate::roster::{Roster, Seat};
use crate::validated::ValidatedCluster;

/// Returns whether the cluster is stopped or is to be stopped. A paused cluster whose members run is left as it is.
pub(crate) fn applies(spec: &RaftClusterSpec, roster: &Roster<'_>) -> bool {
    let any_runs = roster.seats.values().any(|seat| seat.set.is_some_and(runs));
    spec.stopped && !(spec.paused && any_runs)
}

/// Decides for a cluster that is stopped or is to be stopped.
pub(crate) fn decide(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    identity: Option<&ClusterIdentity>,
    store: Option<&ObjectStore>,
) -> Decision {
    let actions = objects::sets(valid, roster, identity, observed.configuration.as_ref(), store, &[]);
    let remaining: Vec<&str> = roster
        .seats
        .values()
        .filter(|seat| seat.pod.is_some() || seat.set.is_some_and(runs))
        .map(|seat| seat.name.as_str())
        .collect();
    if !remaining.is_empty() {
        let message = format!("waits for the pods of {} to end", remaining.join(", "));
        return Decision { actions, activity: Some(Note::new(Reason::Stopping, message)), ..Decision::default() };
    }
    match misowned(valid, roster, identity) {
        Some(note) => {
            let activity = Some(Note::new(Reason::Stopping, "every pod has ended"));
            Decision { actions, activity, blocked: Some(note), ..Decision::default() }
        }
        None => Decision { actions, ..Decision::default() },
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
