//! The Kubernetes objects that every phase keeps up to date: Services, the disruption budget, existing StatefulSets.
//! Owns which of these objects differ from the desired ones, and whether each volume is kept or deleted. Does not own
//! what the objects contain (`desired`), nor the creation of members (`membership/ordinals.rs`).

use crds::raft_cluster::VolumeFate;
use crds::{ObjectStore, Reason};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube_core::Resource;
use serde::Serialize;

use crate::action::{Action, Apply, ObjectAction, Replace};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::{SetOrigin, Shape};
use crate::desired::{pod_disruption_budget, service, stateful_set, to_apply};
use crate::identity::ClusterIdentity;
use crate::membership::ordinals;
use crate::names::{self, Ordinal, Role};
use crate::observed::{Linearizable, Observed, label, volume_goes_with};
use crate::rollout::Taken;
use crate::roster::{Health, Roster, Seat};
use crate::validated::ValidatedCluster;

/// Applies those of the three Services that differ from the desired ones.
pub(crate) fn services(valid: &ValidatedCluster<'_>, observed: &Observed) -> Vec<Action> {
    let live = &observed.services;
    [
        (service::members(valid), &live.members),
        (service::client(valid), &live.client),
        (service::read(valid), &live.read),
    ]
    .into_iter()
    .filter_map(|(wanted, live)| apply(wanted, live.as_ref()))
    .collect()
}

/// Applies the disruption budget for this many voters, if the live one differs.
pub(crate) fn budget(valid: &ValidatedCluster<'_>, observed: &Observed, voters: usize) -> Option<Action> {
    apply(pod_disruption_budget::of(valid, voters), observed.budget.as_ref())
}

/// Replaces the existing StatefulSets that were last written otherwise than is desired. Only those in `taken` get the
/// settings of the spec. Does not create a StatefulSet, and does not restore a deleted one.
pub(crate) fn sets(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    identity: Option<&ClusterIdentity>,
    read: Option<&Linearizable>,
    store: Option<&ObjectStore>,
    surplus: &[Ordinal],
    taken: &Taken,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for seat in roster.seats.values() {
        let Some(live) = seat.set.filter(|set| set.metadata.deletion_timestamp.is_none()) else { continue };
        let role = match (read, seat.id) {
            (Some(read), Some(id)) => read.configuration.role(id),
            (Some(_), None) => Role::Learner,
            // Without a leader the configuration may be stale, therefore the role stays as it is.
            (None, _) => role_of(live),
        };
        let volume_fate = volume_fate(valid, seat, identity, surplus);
        // The volume of a StatefulSet that does not say so yet would be deleted with its pod.
        let runs = !(valid.spec.stopped && stateful_set::retains_when_scaled(live));
        let origin = SetOrigin::Plain;
        let shape = Shape { ordinal: seat.ordinal, runs, role, volume_fate, origin, restore_store: store };
        let mut wanted = if taken.members.contains(&seat.ordinal) {
            stateful_set::of(valid, &shape, Some(live))
        } else {
            stateful_set::keeping_settings(valid, &shape, live)
        };
        let is_noted = taken.note_trial(&mut wanted, live, seat);
        if is_noted || !stateful_set::is_written(&wanted, live) {
            actions.push(ObjectAction::ReplaceSet(Box::new(Replace::of(&wanted, live))).into());
        }
    }
    actions
}

/// What becomes of a member's volume when its StatefulSet is deleted. A volume that would go stays so until the identity
/// stays, too.
pub(crate) fn volume_fate(
    valid: &ValidatedCluster<'_>,
    seat: &Seat<'_>,
    identity: Option<&ClusterIdentity>,
    surplus: &[Ordinal],
) -> VolumeFate {
    let discardable = seat.is_discardable() && surplus.contains(&seat.ordinal);
    let goes_now = seat.health == Health::Removed || discardable;
    match identity {
        Some(identity) if goes_now && seat.removed_volume_goes(valid, identity.cluster) => VolumeFate::Delete,
        Some(identity) if goes_now || seat.holds_data_of_another(identity.cluster) => VolumeFate::Retain,
        _ if valid.identity_goes && seat.set.is_some_and(volume_goes_with) => VolumeFate::Delete,
        _ => ordinals::volume_fate(valid),
    }
}

/// Reports a Service or disruption budget that belongs to another owner and has a name that this cluster needs.
pub(crate) fn name_taken(valid: &ValidatedCluster<'_>, observed: &Observed) -> Option<Decision> {
    let live = &observed.services;
    let services =
        [&live.client, &live.read, &live.members].into_iter().flatten().map(|live| ("Service", &live.metadata));
    let budget = observed.budget.iter().map(|live| ("PodDisruptionBudget", &live.metadata));
    let (kind, metadata) = services.chain(budget).find(|(_, metadata)| !observed.owns(metadata))?;
    let name = metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "{kind} {name} belongs to another owner, and cluster {:?} needs that name: delete the {kind}, or create the cluster under another name",
        valid.name
    );
    Some(Decision {
        activity: Some(Note::new(Reason::Waiting, "waits for a name to become free")),
        blocked: Some(Note::new(Reason::NameTaken, message)),
        ..Decision::default()
    })
}

fn role_of(set: &StatefulSet) -> Role {
    let labels = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let word = labels.and_then(|metadata| label(metadata, names::LABEL_ROLE));
    if word == Some(Role::Voter.as_str()) { Role::Voter } else { Role::Learner }
}

/// Applies the desired object, unless the live one is already as desired. Works for every kind of object.
fn apply<K>(wanted: K, live: Option<&K>) -> Option<Action>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
{
    let wanted = to_apply(wanted, live)?;
    Some(ObjectAction::Apply(Box::new(Apply::of(&wanted, live))).into())
}
