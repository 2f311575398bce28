//! The Kubernetes objects that every phase keeps up to date: Services, the disruption budget, existing StatefulSets. Owns
//! which of them differ from what is desired, and what becomes of each volume. Does not own what the objects contain
//! (`desired`), nor the creation of members (`membership/ordinals.rs`).

use crds::raft_cluster::VolumeFate;
use crds::{ObjectStore, Reason};
use k8s_openapi::api::apps::v1::StatefulSet;

use crate::action::{Action, Object};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::{Origin, Shape};
use crate::desired::{pod_disruption_budget, service, stateful_set, to_apply};
use crate::identity::Record;
use crate::membership::ordinals;
use crate::names::{self, Ordinal, Role};
use crate::observed::{Linearizable, Observed, label};
use crate::roster::{Roster, Standing};
use crate::validated::ValidatedCluster;

/// The three Services, as far as they differ from what is desired.
pub(crate) fn services(valid: &ValidatedCluster<'_>, observed: &Observed) -> Vec<Action> {
    let live = &observed.services;
    [
        (service::members(valid), &live.members),
        (service::client(valid), &live.client),
        (service::read(valid), &live.read),
    ]
    .into_iter()
    .flat_map(|(wanted, live)| apply(to_apply(wanted, live.as_ref()).map(|live| Object::Service(Box::new(live)))))
    .collect()
}

/// The disruption budget for this many voters, if it differs.
pub(crate) fn budget(valid: &ValidatedCluster<'_>, observed: &Observed, voters: usize) -> Option<Action> {
    let budget = pod_disruption_budget::of(valid, voters);
    apply(to_apply(budget, observed.budget.as_ref()).map(|budget| Object::Budget(Box::new(budget))))
}

/// The StatefulSets that exist, brought up to date. This creates none, and restores none that was deleted.
pub(crate) fn sets(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    record: Option<&Record>,
    read: Option<&Linearizable>,
    store: Option<&ObjectStore>,
    surplus: &[Ordinal],
) -> Vec<Action> {
    let mut actions = Vec::new();
    for seat in roster.seats.values() {
        let Some(live) = seat.set.filter(|set| set.metadata.deletion_timestamp.is_none()) else { continue };
        let role = match (read, seat.id) {
            (Some(read), Some(id)) => read.configuration.role(id),
            (Some(_), None) => Role::Learner,
            // Without a leader the configuration may be stale, so the role stays as it was.
            (None, _) => role_of(live),
        };
        let needless = seat.is_needless() && surplus.contains(&seat.ordinal);
        let goes_now = seat.standing == Standing::Removed || needless;
        let volume_fate = match record {
            Some(record) if goes_now && seat.removed_volume_goes(valid, record.cluster) => VolumeFate::Delete,
            Some(record) if goes_now || seat.holds_data_of_another(record.cluster) => VolumeFate::Retain,
            _ => ordinals::volume_fate(valid),
        };
        let shape = Shape { ordinal: seat.ordinal, role, volume_fate, origin: Origin::Plain, restore_store: store };
        let wanted = stateful_set::of(valid, &shape);
        actions.extend(apply(to_apply(wanted, Some(live)).map(|set| Object::Set(Box::new(set)))));
    }
    actions
}

/// Reports a Service or budget under a name that this cluster needs, which belongs to another owner.
pub(crate) fn name_taken(valid: &ValidatedCluster<'_>, observed: &Observed) -> Option<Decision> {
    let live = &observed.services;
    let services =
        [&live.client, &live.read, &live.members].into_iter().flatten().map(|live| ("Service", &live.metadata));
    let budget = observed.budget.iter().map(|live| ("PodDisruptionBudget", &live.metadata));
    let (kind, metadata) = services.chain(budget).find(|(_, metadata)| !observed.owns(metadata))?;
    let name = metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "{kind} {name} belongs to somebody else, and cluster {:?} needs that name: delete it, or create the cluster under another name",
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

fn apply(object: Option<Object>) -> Option<Action> {
    object.map(|object| Action::Apply(Box::new(object)))
}
