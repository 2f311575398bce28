//! The planner's one door: a look in, a plan out. Brings the rooms together and decides nothing that they do not.

use std::time::Duration;

use crds::raft_cluster::{RaftClusterStatus, VolumeFate};
use crds::{ObjectStore, Reason};
use k8s_openapi::api::apps::v1::StatefulSet;

use crate::action::{Action, Object};
use crate::bootstrap;
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::{Origin, Shape};
use crate::desired::{pod_disruption_budget, service, stateful_set, to_apply};
use crate::identity::{Record, RecordError};
use crate::membership::{ordinals, step};
use crate::names::{self, Ordinal, Role};
use crate::observed::member::{Configuration, Phase};
use crate::observed::{Observed, Seen, annotation, label};
use crate::restore;
use crate::rollout;
use crate::roster::{Roster, Seat, Standing};
use crate::status::{self, Facts};
use crate::validated::ValidatedCluster;

/// How soon to look again while something moves.
const LOOK_SOON: Duration = Duration::from_millis(300);
/// How soon to look again while something is waited for that takes longer.
const LOOK_LATER: Duration = Duration::from_secs(2);
/// How far apart looks may grow while members, not machines or people, are waited for: nothing else tells when they are done.
const LOOK_WATCHFULLY: Duration = Duration::from_secs(1);
/// How soon to look again when all is well: a wiped volume shows only by asking its member.
const LOOK_CALMLY: Duration = Duration::from_secs(5);

/// What to do, what to report and when to look again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// What to report.
    pub status: RaftClusterStatus,
    /// When to look again, if nothing is heard before.
    pub next_look: Duration,
    /// How far apart looks may grow while each is like the one before.
    pub slowest_look: Duration,
}

/// Decides.
#[must_use]
pub fn plan(observed: &Observed) -> Plan {
    if observed.cluster.metadata.deletion_timestamp.is_some() {
        return deleting(observed);
    }
    let valid = match ValidatedCluster::parse(observed) {
        Ok(valid) => valid,
        Err(error) => return refused(observed, Decision::stall(Reason::InvalidSpec, error.to_string())),
    };
    let record = match read_record(observed) {
        Ok(record) => record,
        Err(error) => return refused(observed, Decision::stall(Reason::InvalidSpec, error.to_string())),
    };
    let record = record.as_ref();
    let roster = Roster::of(&valid, observed, record);
    let mut decision = decide(&valid, observed, &roster, record);
    if valid.spec.paused {
        decision.actions.clear();
    }
    let status = status::of(&Facts { observed, roster: Some(&roster), record, decision: &decision });
    let (next_look, slowest_look) = pace(&valid, &decision);
    Plan { actions: decision.actions, status, next_look, slowest_look }
}

fn decide(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>, record: Option<&Record>) -> Decision {
    if let Some(taken) = name_taken(valid, observed) {
        return taken;
    }
    if record.is_none()
        && let Some(lost) = bootstrap::identity_lost(valid, observed, roster)
    {
        // Clients still need the way to members that serve.
        return Decision { actions: services(valid, observed), ..lost };
    }
    let origin = record.map(|record| record.origin.clone()).or_else(|| restore::origin(valid, observed).ok());
    let store = origin.as_ref().and_then(restore::store_of);
    let room = room(valid, observed, roster, record, store);
    let mut actions = services(valid, observed);
    if let Some(voters) = room.voters {
        let budget = pod_disruption_budget::of(valid, voters);
        actions
            .extend(apply(to_apply(budget, observed.budget.as_ref()).map(|budget| Object::Budget(Box::new(budget)))));
    }
    let configuration = observed.configuration.as_ref().map(|read| &read.configuration);
    actions.extend(sets(valid, roster, record, configuration, store, &room.surplus));
    if let (Some(record), Some(configuration)) = (record, configuration) {
        actions.extend(note_formed(observed, record));
        actions.extend(pod_labels(roster, configuration));
        actions.extend(volume_labels(roster, record));
    }
    actions.extend(rollout::order::unstick(valid, roster, store));
    Decision { actions, ..Decision::default() }.and(room.decision)
}

/// What the room that is in charge decided.
struct Room {
    decision: Decision,
    /// Voters that the disruption budget must count with: raised before a change that adds voters, lowered when one that
    /// removes them is over, and left alone while nobody can tell.
    voters: Option<usize>,
    surplus: Vec<Ordinal>,
}

fn room(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    record: Option<&Record>,
    store: Option<&ObjectStore>,
) -> Room {
    let Some(record) = record else {
        let decision = bootstrap::before_record(valid, observed, roster);
        return Room { decision, voters: Some(valid.voters), surplus: Vec::new() };
    };
    let Some(read) = &observed.configuration else {
        let decision = bootstrap::after_record(valid, observed, roster, record);
        let voters = observed.budget.is_none().then_some(record.voters.len());
        return Room { decision, voters, surplus: Vec::new() };
    };
    let stepped = step::next(valid, observed, roster, record, read);
    let mut decision = bootstrap::carry_out(valid, roster, record).and(stepped.decision);
    if decision.activity.is_none() {
        decision = decision.and(rollout::order::next(valid, roster, read, store));
    }
    let present = read.configuration.voters.len().max(read.configuration.outgoing.len());
    Room { decision, voters: Some(present.max(stepped.voters_next)), surplus: stepped.surplus }
}

fn services(valid: &ValidatedCluster<'_>, observed: &Observed) -> Vec<Action> {
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

/// The StatefulSets that exist, brought up to date. None is created here, and none comes back here.
fn sets(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    record: Option<&Record>,
    configuration: Option<&Configuration>,
    store: Option<&ObjectStore>,
    surplus: &[Ordinal],
) -> Vec<Action> {
    let mut actions = Vec::new();
    for seat in roster.seats.values() {
        let Some(live) = seat.set.filter(|set| set.metadata.deletion_timestamp.is_none()) else { continue };
        let role = match (configuration, seat.id) {
            (Some(configuration), Some(id)) => step::role(configuration, id),
            (Some(_), None) => Role::Learner,
            // Nobody can tell at the moment: what was, stays.
            (None, _) => role_of(live),
        };
        let needless = step::is_needless(seat) && surplus.contains(&seat.ordinal);
        let goes_now = seat.standing == Standing::Removed || needless;
        let volume_fate = match record {
            Some(record) if goes_now && step::removed_volume_goes(valid, seat, record.cluster) => VolumeFate::Delete,
            Some(record) if goes_now || seat.holds_data_of_another(record.cluster) => VolumeFate::Retain,
            _ => ordinals::volume_fate(valid),
        };
        let shape = Shape { ordinal: seat.ordinal, role, volume_fate, origin: Origin::Plain, restore_store: store };
        let wanted = stateful_set::of(valid, &shape);
        actions.extend(apply(to_apply(wanted, Some(live)).map(|set| Object::Set(Box::new(set)))));
    }
    actions
}

fn role_of(set: &StatefulSet) -> Role {
    let labels = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let word = labels.and_then(|metadata| label(metadata, names::LABEL_ROLE));
    if word == Some(Role::Voter.as_str()) { Role::Voter } else { Role::Learner }
}

fn apply(object: Option<Object>) -> Option<Action> {
    object.map(|object| Action::Apply(Box::new(object)))
}

fn note_formed(observed: &Observed, record: &Record) -> Option<Action> {
    let service = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata))?;
    let cluster = record.cluster;
    let noted = annotation(&service.metadata, names::ANNOTATION_FORMED) == Some(cluster.to_string().as_str());
    (!noted).then(|| Action::NoteFormed { service: Seen::of(&service.metadata), cluster })
}

fn pod_labels(roster: &Roster<'_>, configuration: &Configuration) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
        let role = seat.id.map_or(Role::Learner, |id| step::role(configuration, id));
        let right = label(&pod.metadata, names::LABEL_ROLE) == Some(role.as_str());
        (!right).then(|| Action::LabelPod { pod: Seen::of(&pod.metadata), role })
    };
    roster.seats.values().filter(|seat| seat.set.is_some()).filter_map(labelled).collect()
}

/// Volumes are labelled with what their member itself says they hold.
fn volume_labels(roster: &Roster<'_>, record: &Record) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let volume = seat.volume.filter(|volume| volume.metadata.deletion_timestamp.is_none())?;
        let report = seat.report.filter(|report| report.phase == Phase::Member)?;
        let id = report.id.filter(|id| report.cluster == Some(record.cluster) && seat.id == Some(*id))?;
        let has = |key, value: String| label(&volume.metadata, key) == Some(value.as_str());
        let right =
            has(names::LABEL_CLUSTER_ID, record.cluster.to_string()) && has(names::LABEL_MEMBER_ID, id.to_string());
        (!right).then(|| Action::LabelVolume { volume: Seen::of(&volume.metadata), cluster: record.cluster, id })
    };
    roster.seats.values().filter_map(labelled).collect()
}

/// Reads the record, if this very cluster has one.
fn read_record(observed: &Observed) -> Result<Option<Record>, RecordError> {
    let secret = observed.record.as_ref().filter(|secret| observed.owns(&secret.metadata));
    secret.map(Record::from_secret).transpose()
}

/// A Service or budget of a name that this cluster needs, but of somebody else.
fn name_taken(valid: &ValidatedCluster<'_>, observed: &Observed) -> Option<Decision> {
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

/// Kubernetes collects what the cluster owns; nothing is made in its way.
fn deleting(observed: &Observed) -> Plan {
    let decision = Decision {
        activity: Some(Note::new(Reason::Deleting, "Kubernetes collects what belongs to this cluster")),
        ..Decision::default()
    };
    refused(observed, decision)
}

/// Nothing is done; that and why is reported.
fn refused(observed: &Observed, decision: Decision) -> Plan {
    let status = status::of(&Facts { observed, roster: None, record: None, decision: &decision });
    Plan { actions: Vec::new(), status, next_look: LOOK_CALMLY, slowest_look: LOOK_CALMLY }
}

/// When to look again, and how far apart looks may grow while nothing changes. Objects that change are heard of at once.
fn pace(valid: &ValidatedCluster<'_>, decision: &Decision) -> (Duration, Duration) {
    let moves = !decision.actions.is_empty() || decision.activity.is_some() || decision.outage.is_some();
    if !moves || decision.stalled.is_some() || valid.spec.paused {
        return (LOOK_CALMLY, LOOK_CALMLY);
    }
    let restores = decision.activity.as_ref().is_some_and(|note| note.reason == Reason::Restoring);
    match decision.blocked.as_ref().map(|note| note.reason) {
        None if restores => (LOOK_SOON, LOOK_WATCHFULLY),
        None | Some(Reason::MembersNotReady | Reason::NoLeader) => (LOOK_SOON, LOOK_CALMLY),
        Some(Reason::LearnerBehind | Reason::ChangeInFlight) => (LOOK_SOON, LOOK_WATCHFULLY),
        // Only a person or Kubernetes can help.
        Some(_) => (LOOK_LATER, LOOK_CALMLY),
    }
}
