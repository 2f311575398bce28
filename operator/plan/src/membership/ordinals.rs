//! New members. Owns which ordinals new members get, and the rule that an ordinal is used only by the operator that
//! reserved it. Does not own how many new members are needed (`plan.rs`).

use crds::raft_cluster::VolumeFate;
use crds::{ObjectStore, Reason};
use k8s_openapi::api::core::v1::Pod;

use crate::action::{Action, ObjectAction};
use crate::decision::Note;
use crate::desired::recorded;
use crate::desired::stateful_set::{self, SetOrigin, Shape};
use crate::names::{self, Ordinal, Role};
use crate::observed::{Observed, Seen, annotation};
use crate::roster::Roster;
use crate::validated::ValidatedCluster;

/// Reports that no ordinal is left for this many new members; `None` if there is one for each. An ordinal is never used
/// for a second member, so that no member is ever created again in this cluster.
pub(crate) fn exhausted(observed: &Observed, roster: &Roster<'_>, count: usize) -> Option<Note> {
    let unused = observed.reserved.iter().filter(|ordinal| is_unused(roster, **ordinal)).count();
    let missing = count.checked_sub(unused).filter(|missing| *missing > 0)?;
    let highest = highest(observed, roster);
    if highest.following(missing).is_some() {
        return None;
    }
    let message = format!(
        "no member can be created: {missing} more numbers are needed, and {highest} of at most {} are used, according to the annotation {} of the members' Service, volume claims and StatefulSets. If a person wrote that number, correct it to the highest one that a member had; otherwise restore a backup into a new RaftCluster",
        u32::MAX,
        names::ANNOTATION_LAST_ORDINAL
    );
    Some(Note::new(Reason::OrdinalsExhausted, message))
}

/// Creates one new member for each element of `roles`. If ordinals must be reserved first and the members' Service does
/// not exist, creates no member, because ordinals are reserved on this Service.
pub(crate) fn create(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    restore_store: Option<&ObjectStore>,
    roles: &[Role],
) -> Vec<Action> {
    let unused = observed.reserved.iter().copied().filter(|ordinal| is_unused(roster, *ordinal));
    let mut ordinals: Vec<Ordinal> = unused.take(roles.len()).collect();
    let mut actions = Vec::new();
    if ordinals.len() < roles.len() {
        let Some(service) = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata))
        else {
            return actions;
        };
        let highest = highest(observed, roster);
        // After the largest ordinal is used, no member is created, because otherwise an ordinal would be used twice. The
        // status says so ([`exhausted`]).
        let Some(new) = highest.following(roles.len() - ordinals.len()) else { return Vec::new() };
        let (first, last) = (Ordinal(*new.start()), Ordinal(*new.end()));
        ordinals.extend(new.map(Ordinal));
        actions.push(ObjectAction::ReserveOrdinals { service: Seen::of(&service.metadata), first, last }.into());
    }
    assert_eq!(ordinals.len(), roles.len(), "each new member has an ordinal");
    debug_assert!(ordinals.iter().all(|ordinal| is_unused(roster, *ordinal)), "a new member has an unused ordinal");
    for (ordinal, role) in ordinals.into_iter().zip(roles) {
        actions.push(create_set(valid, ordinal, *role, SetOrigin::Plain, restore_store, None));
    }
    actions
}

/// Creates the StatefulSet of a new member, or of a member whose volume exists but whose StatefulSet was deleted. It is
/// created with 0 replicas, and a later pass lets the member run: a create has no precondition, and a late one would
/// otherwise start a member of a cluster that was stopped meanwhile. If a pod of the deleted StatefulSet is left, as after
/// `kubectl delete --cascade=orphan`, the new one adopts it, and with 0 replicas Kubernetes would end it. While a rollout
/// is incomplete, the member gets the settings of the last completed one, because the new ones may not work.
pub(crate) fn create_set(
    valid: &ValidatedCluster<'_>,
    ordinal: Ordinal,
    role: Role,
    origin: SetOrigin<'_>,
    restore_store: Option<&ObjectStore>,
    pod: Option<&Pod>,
) -> Action {
    let runs = pod.is_some_and(is_orphan);
    let shape = Shape { ordinal, runs, role, volume_fate: volume_fate(valid), origin, restore_store };
    let recorded = recorded::spec(valid, restore_store);
    let set = match recorded.as_ref().zip(valid.completed.as_ref()) {
        Some((recorded, completed)) => stateful_set::of(&valid.with_recorded(recorded, completed), &shape, None),
        None => stateful_set::of(valid, &shape, None),
    };
    ObjectAction::CreateSet { ordinal, set: Box::new(set) }.into()
}

/// Returns whether a pod runs without a StatefulSet.
pub(crate) fn is_orphan(pod: &Pod) -> bool {
    let is_controlled = pod.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    pod.metadata.deletion_timestamp.is_none() && !is_controlled
}

/// Returns whether volumes are deleted or retained when the RaftCluster is deleted.
pub(crate) fn volume_fate(valid: &ValidatedCluster<'_>) -> VolumeFate {
    valid.spec.storage.retention.when_deleted
}

fn is_unused(roster: &Roster<'_>, ordinal: Ordinal) -> bool {
    roster.seats.get(&ordinal).is_none_or(|seat| seat.set.is_none() && seat.volume.is_none() && seat.id.is_none())
}

/// The highest ordinal that any observed object contains (volumes, StatefulSets, the identity, the configuration, and
/// the annotation of the members' Service) or that this operator reserved. Its own reservation counts, because an old
/// observation of the Service may lack it.
fn highest(observed: &Observed, roster: &Roster<'_>) -> Ordinal {
    let noted = observed
        .services
        .members
        .as_ref()
        .and_then(|service| annotation(&service.metadata, names::ANNOTATION_LAST_ORDINAL)?.parse().ok())
        .map_or(Ordinal(0), Ordinal);
    let reserved = observed.reserved.last().copied().unwrap_or(Ordinal(0));
    roster.seats.keys().next_back().copied().unwrap_or(Ordinal(0)).max(noted).max(reserved)
}
