//! An operator: observes, plans with the planner that ships, and carries the plan out one action at a time, as the
//! shell does. It may read old objects, sleep between two actions, lose replies, and die after any action with all it
//! remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use plan::Plan;
use plan::action::{Action, MemberAction, Object, ObjectAction, OnFailure};
use plan::identity::ClusterIdentity;
use plan::ids::ClusterId;
use plan::names::{self, Ordinal};
use plan::observed::member::{Answer, RaftRole};
use plan::observed::refusal::{AfterRefusal, RefusalReason};
use plan::observed::{
    Entropy, Linearizable, Observed, ObservedMember, ObservedServices, OperatorSettings, Refusal, Seen,
};
use serde_json::json;
use world::seed::Random;

use crate::api_server::{ApiServer, CLUSTER, Compare, Deletion, Objects, Refused, Stored, wall_clock};
use crate::invariants::Watch;
use crate::members::{Members, NotDone};

/// What may go wrong with an operator, per million.
#[derive(Clone, Copy, Debug)]
pub struct Troubles {
    /// A reply is lost: the action had its effect and counts as failed.
    pub lost_replies: u32,
    /// A call never arrives and counts as failed.
    pub lost_calls: u32,
    /// It dies after an action.
    pub deaths: u32,
    /// It sleeps before its next action, for up to this long.
    pub naps: u32,
    /// The longest of those naps.
    pub nap_max: Duration,
    /// Versions by which its reads may lag.
    pub stale_max: u64,
}

impl Troubles {
    /// None at all.
    pub const NONE: Self =
        Self { lost_replies: 0, lost_calls: 0, deaths: 0, naps: 0, nap_max: Duration::ZERO, stale_max: 0 };
}

/// One operator process after another under one name.
#[derive(Debug)]
pub struct Operator {
    /// What may go wrong with it.
    pub troubles: Troubles,
    reserved: BTreeSet<Ordinal>,
    silent: BTreeMap<Ordinal, Duration>,
    refusal: Option<Refusal>,
    pass: Option<Pass>,
    wakes: Duration,
    /// Actions carried out, in all its lives.
    pub actions: u64,
    /// The status it last published.
    pub published: Option<crds::RaftClusterStatus>,
}

/// A plan under way.
#[derive(Debug)]
struct Pass {
    plan: Plan,
    next: usize,
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Another writer was first: observe again.
    MovedOn,
    /// Refused for sure, with nothing done.
    Refused,
    /// Unknown: the reply was lost.
    Unknown,
}

/// The world as an operator reaches it.
pub struct Reach<'w> {
    /// The API server.
    pub api: &'w mut ApiServer,
    /// Members.
    pub members: &'w mut Members,
    /// What must hold.
    pub watch: &'w mut Watch,
    /// Chance.
    pub random: &'w mut Random,
    /// Time since the start.
    pub now: Duration,
}

impl Reach<'_> {
    fn clock(&self) -> Timestamp {
        wall_clock(self.now)
    }
}

impl Operator {
    /// An operator that has just started.
    #[must_use]
    pub fn new(troubles: Troubles) -> Self {
        Self {
            troubles,
            reserved: BTreeSet::new(),
            silent: BTreeMap::new(),
            refusal: None,
            pass: None,
            wakes: Duration::ZERO,
            actions: 0,
            published: None,
        }
    }

    /// Ends the process: what it remembers is gone.
    pub fn die(&mut self) {
        self.reserved.clear();
        self.silent.clear();
        self.refusal = None;
        self.pass = None;
    }

    /// Takes the next small step, if it is awake: a look, or one action.
    pub fn step(&mut self, reach: &mut Reach<'_>) {
        if reach.now < self.wakes {
            return;
        }
        let Some(pass) = &mut self.pass else {
            if let Some(observed) = self.look(reach) {
                let plan = plan::plan(&observed);
                self.pass = Some(Pass { plan, next: 0 });
            }
            return;
        };
        let Some(action) = pass.plan.actions.get(pass.next).cloned() else {
            self.finish(reach);
            return;
        };
        pass.next += 1;
        let outcome = self.try_act(&action, reach);
        self.actions += 1;
        reach.watch.note(reach.now, format!("{action} {outcome:?}", action = brief(&action)));
        match outcome {
            Outcome::Done => {}
            Outcome::MovedOn => self.pass = None,
            Outcome::Refused | Outcome::Unknown if action.describe().on_failure == OnFailure::Stop => self.pass = None,
            Outcome::Refused | Outcome::Unknown => {}
        }
        if reach.random.chance(self.troubles.deaths) {
            self.die();
        }
        if reach.random.chance(self.troubles.naps) {
            self.wakes = reach.now + reach.random.time(Duration::ZERO, self.troubles.nap_max);
        }
    }

    fn finish(&mut self, reach: &mut Reach<'_>) {
        let Some(pass) = self.pass.take() else { return };
        let had_actions = !pass.plan.actions.is_empty();
        let pause = if had_actions { Duration::from_millis(100) } else { pass.plan.requeue_after };
        self.wakes = reach.now + pause;
        if let Some(mut cluster) = reach.api.now().cluster.clone()
            && cluster.status.as_ref() != Some(&pass.plan.status)
        {
            cluster.status = Some(pass.plan.status.clone());
            reach.api.put_cluster(cluster);
        }
        self.published = Some(pass.plan.status);
    }

    /// Reads in the order that the shell reads in; each read as old as the troubles allow, but none older than the one
    /// before it.
    fn look(&mut self, reach: &mut Reach<'_>) -> Option<Observed> {
        let mut age = reach.random.between(0, self.troubles.stale_max);
        let mut older = |random: &mut Random| {
            age = random.between(0, age);
            usize::try_from(age).unwrap_or(usize::MAX)
        };
        let cluster_age = older(reach.random);
        let cluster = reach.api.ago(cluster_age).cluster.clone()?;
        let name = cluster.metadata.name.clone().unwrap_or_default();
        let mut members: BTreeMap<Ordinal, ObservedMember> = BTreeMap::new();
        for (claim, volume) in &reach.api.ago(older(reach.random)).volumes {
            if let Some(ordinal) = names::ordinal_of_volume(&name, claim) {
                members.entry(ordinal).or_default().volume = Some(volume.clone());
            }
        }
        for (set_name, set) in &reach.api.ago(older(reach.random)).sets {
            if let Some(ordinal) = names::ordinal_of_member(&name, set_name) {
                members.entry(ordinal).or_default().set = Some(set.clone());
            }
        }
        let rest: Objects = reach.api.ago(older(reach.random)).clone();
        for (pod_name, pod) in rest.pods {
            if let Some(ordinal) = names::ordinal_of_pod(&name, &pod_name) {
                members.entry(ordinal).or_default().pod = Some(pod);
            }
        }
        let record = rest.secrets.get(&names::identity(&name)).cloned();
        let proven =
            record.as_ref().and_then(|secret| ClusterIdentity::from_secret(secret).ok()).map(|record| record.cluster);
        for (ordinal, member) in members.iter_mut().filter(|(_, member)| member.set.is_some()) {
            member.answer = Some(self.ask(*ordinal, member.pod.as_ref(), proven, reach));
        }
        let configuration = ask_leader(&members, reach);
        Some(Observed {
            now: reach.clock(),
            operator: OperatorSettings { node_image: "raft-node".to_owned(), node_image_pull_policy: None },
            services: ObservedServices {
                client: rest.services.get(&names::client_service(&name)).cloned(),
                read: rest.services.get(&names::read_service(&name)).cloned(),
                members: rest.services.get(&names::member_service(&name)).cloned(),
            },
            budget: rest.budgets.get(&names::budget(&name)).cloned(),
            identity: record,
            cluster,
            members,
            configuration,
            zones: BTreeMap::new(),
            restore_from: None,
            probe: None,
            refusal: self.refusal.clone(),
            reserved: self.reserved.clone(),
            entropy: Entropy {
                cluster_id: u128::from(reach.random.number()) << 64 | u128::from(reach.random.number()),
                token: [7; 32],
            },
        })
    }

    fn ask(&mut self, ordinal: Ordinal, pod: Option<&Pod>, proven: Option<ClusterId>, reach: &mut Reach<'_>) -> Answer {
        let lost = reach.random.chance(self.troubles.lost_calls);
        let report = pod.and_then(|pod| reach.members.describe(pod.metadata.uid.as_deref()?, proven));
        let report = report.filter(|_| !lost);
        match report {
            Some(report) => {
                self.silent.remove(&ordinal);
                Answer::Report(Box::new(report))
            }
            None => {
                let since = *self.silent.entry(ordinal).or_insert(reach.now);
                Answer::Silent { since: wall_clock(since), error: "no answer".to_owned() }
            }
        }
    }

    fn try_act(&mut self, action: &Action, reach: &mut Reach<'_>) -> Outcome {
        if reach.random.chance(self.troubles.lost_calls) {
            return self.note(action, Outcome::Unknown);
        }
        let outcome = self.act(action, reach);
        let outcome = if reach.random.chance(self.troubles.lost_replies) { Outcome::Unknown } else { outcome };
        self.note(action, outcome)
    }

    /// What the process remembers of an outcome: as in the shell, an ordinal is its own only if the reservation is known
    /// to have succeeded, and is used up unless it is known that nothing was created.
    fn note(&mut self, action: &Action, outcome: Outcome) -> Outcome {
        match (action, outcome) {
            (Action::Write(ObjectAction::ReserveOrdinals { first, last, .. }), Outcome::Done) => {
                self.reserved.extend((first.0..=last.0).map(Ordinal));
            }
            (
                Action::Write(ObjectAction::CreateSet { ordinal, .. }),
                Outcome::Done | Outcome::Unknown | Outcome::MovedOn,
            ) => {
                self.reserved.remove(ordinal);
            }
            _ => {}
        }
        outcome
    }

    fn act(&mut self, action: &Action, reach: &mut Reach<'_>) -> Outcome {
        match action {
            Action::Write(write) => self.write(write, reach),
            Action::Call(call) => self.call(call, reach),
        }
    }

    fn write(&mut self, write: &ObjectAction, reach: &mut Reach<'_>) -> Outcome {
        match write {
            ObjectAction::Apply(object) => apply(object, reach),
            ObjectAction::ReserveOrdinals { service, last, .. } => {
                annotate::<Service>(reach, service, names::ANNOTATION_LAST_ORDINAL, last.to_string())
            }
            ObjectAction::CreateSet { ordinal, set } => {
                reach.watch.creates(*ordinal, set, self.reserved.contains(ordinal), reach.api);
                match reach.api.create(&**set) {
                    Ok(_) | Err(Refused::AlreadyExists) => Outcome::Done,
                    Err(_) => Outcome::Refused,
                }
            }
            ObjectAction::CreateIdentity(secret) => match reach.api.create::<Secret>(secret) {
                Ok(_) => {
                    reach.watch.records += 1;
                    Outcome::Done
                }
                Err(_) => Outcome::MovedOn,
            },
            ObjectAction::NoteFormed { service, cluster } => {
                annotate::<Service>(reach, service, names::ANNOTATION_FORMED, cluster.to_string())
            }
            ObjectAction::Announce { set, id } => {
                annotate::<StatefulSet>(reach, set, names::ANNOTATION_MEMBER_ID, id.to_string())
            }
            ObjectAction::LabelVolume { volume, cluster, id } => {
                let labels =
                    json!({ names::LABEL_CLUSTER_ID: cluster.to_string(), names::LABEL_MEMBER_ID: id.to_string() });
                label::<PersistentVolumeClaim>(reach, volume, &labels)
            }
            ObjectAction::LabelPod { pod, role } => {
                label::<Pod>(reach, pod, &json!({ names::LABEL_ROLE: role.as_str() }))
            }
            ObjectAction::DeleteSet { set } => {
                reach.watch.about_to_delete(set, reach.api, reach.members);
                let deleted = reach.api.delete::<StatefulSet>(set, Compare::Version, Deletion::AtOnce, reach.clock());
                if deleted.is_ok() {
                    reach.watch.deleted();
                }
                moved(deleted)
            }
            ObjectAction::DeletePod { pod } => {
                moved(reach.api.delete::<Pod>(pod, Compare::Incarnation, Deletion::Marked, reach.clock()))
            }
            ObjectAction::EvictPod { pod } => evict(reach, pod),
        }
    }

    /// Calls a member, and remembers why it changed no membership until one is changed, as the shell does.
    fn call(&mut self, action: &MemberAction, reach: &mut Reach<'_>) -> Outcome {
        let done = call(action, reach);
        let reason = |name: &str| (name != "Unreachable").then(|| RefusalReason::from_name(name));
        if matches!(action, MemberAction::ChangeMembership { .. }) {
            let refusal = done.as_ref().err();
            self.refusal = refusal
                .map(|NotDone(name)| Refusal { reason: reason(name), message: format!("the member said {name}") });
        }
        let Err(NotDone(name)) = done else { return Outcome::Done };
        match reason(name).map(RefusalReason::then) {
            None => Outcome::Unknown,
            Some(AfterRefusal::ObserveAgain | AfterRefusal::Wait) => Outcome::MovedOn,
            Some(AfterRefusal::Fail) => Outcome::Refused,
        }
    }
}

/// An action in one line.
fn brief(action: &Action) -> String {
    match action {
        Action::Write(ObjectAction::Apply(object)) => match object.parse::<PodDisruptionBudget>() {
            Some(budget) => format!("Apply budget {:?}", budget.spec.and_then(|spec| spec.min_available)),
            None => format!("Apply {object}"),
        },
        Action::Write(ObjectAction::CreateSet { set, .. }) => {
            format!("CreateSet {:?} {:?}", set.metadata.name, set.metadata.annotations)
        }
        Action::Write(ObjectAction::CreateIdentity(_)) => "CreateRecord".to_owned(),
        Action::Call(MemberAction::Bootstrap { member, .. }) => format!("Bootstrap {member}"),
        Action::Call(MemberAction::Join { member, id, .. }) => format!("Join {member} {id}"),
        other => format!("{other:?}"),
    }
}

/// Applies an object of any kind that the simulated API server stores.
fn apply(object: &Object, reach: &mut Reach<'_>) -> Outcome {
    if let Some(set) = object.parse::<StatefulSet>() {
        reach.watch.applies(&set, reach.api);
        return moved(reach.api.apply(&set));
    }
    if let Some(service) = object.parse::<Service>() {
        return moved(reach.api.apply(&service));
    }
    let budget = object.parse::<PodDisruptionBudget>();
    moved(
        reach.api.apply(&budget.unwrap_or_else(|| panic!("{object} is of a kind that the simulated API server lacks"))),
    )
}

fn annotate<K: Stored>(reach: &mut Reach<'_>, seen: &Seen, key: &str, value: String) -> Outcome {
    moved(reach.api.patch::<K>(seen, Compare::Version, &json!({ "metadata": { "annotations": { key: value } } })))
}

fn label<K: Stored>(reach: &mut Reach<'_>, seen: &Seen, labels: &serde_json::Value) -> Outcome {
    moved(reach.api.patch::<K>(seen, Compare::Incarnation, &json!({ "metadata": { "labels": labels } })))
}

fn moved(outcome: Result<(), Refused>) -> Outcome {
    if outcome.is_ok() { Outcome::Done } else { Outcome::MovedOn }
}

/// The disruption budget has the last word: `minAvailable` ready voters must be left.
fn evict(reach: &mut Reach<'_>, pod: &Seen) -> Outcome {
    let voter = |pod: &Pod| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::LABEL_ROLE)).map(String::as_str)
            == Some("voter")
    };
    let ready = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && reach.members.is_ready(pod.metadata.uid.as_deref().unwrap_or_default())
    };
    let healthy = reach.api.now().pods.values().filter(|pod| voter(pod) && ready(pod)).count();
    let least = reach.api.now().budgets.values().next().and_then(|budget| match budget.spec.as_ref()?.min_available {
        Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(least)) => usize::try_from(least).ok(),
        _ => None,
    });
    let covered = reach.api.now().pods.get(&pod.name).is_some_and(voter);
    if covered && healthy <= least.unwrap_or(0) {
        return Outcome::Refused;
    }
    moved(reach.api.delete::<Pod>(pod, Compare::Incarnation, Deletion::Marked, reach.clock()))
}

fn ask_leader(members: &BTreeMap<Ordinal, ObservedMember>, reach: &mut Reach<'_>) -> Option<Linearizable> {
    members.iter().find_map(|(ordinal, member)| {
        let leads = matches!(&member.answer, Some(Answer::Report(report)) if report.role == RaftRole::Leader);
        let pod = member.pod.as_ref().filter(|_| leads)?.metadata.uid.clone()?;
        let configuration = reach.members.configuration(&pod)?;
        Some(Linearizable { leader: *ordinal, configuration })
    })
}

/// Calls go to the pod that has the member's name now.
fn call(action: &MemberAction, reach: &mut Reach<'_>) -> Result<(), NotDone> {
    let pod = |reach: &Reach<'_>, ordinal: Ordinal| {
        let name = names::pod(CLUSTER, ordinal);
        reach.api.now().pods.get(&name).and_then(|pod| pod.metadata.uid.clone()).unwrap_or_default()
    };
    match action {
        MemberAction::Bootstrap { member, identity, voters } => {
            let pod = pod(reach, *member);
            reach.members.bootstrap(&pod, identity, voters)
        }
        MemberAction::Restore { member, cluster, id, info, .. } => {
            let pod = pod(reach, *member);
            reach.members.restore(&pod, *cluster, *id, info)
        }
        MemberAction::Join { member, cluster, id, .. } => {
            let pod = pod(reach, *member);
            reach.members.join(&pod, *cluster, *id)
        }
        MemberAction::ChangeMembership { leader, change } => {
            let pod = pod(reach, *leader);
            let outcome = reach.members.change(&pod, change);
            if outcome.is_ok() {
                reach.watch.changed(change, reach.members, reach.now);
            }
            outcome
        }
        MemberAction::TransferLeadership { leader, target } => {
            let pod = pod(reach, *leader);
            reach.members.transfer(&pod, *target)
        }
    }
}
