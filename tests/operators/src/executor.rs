//! A simulated operator: it observes, plans with the real planner, and carries out the plan one action at a time, as
//! `operator/src` does. It may read stale objects, pause between two actions, lose replies, and crash after any
//! action. A crash loses everything that the operator remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use plan::Plan;
use plan::action::{Action, MemberAction, Object, ObjectAction};
use plan::identity::ClusterIdentity;
use plan::ids::ClusterId;
use plan::names::{self, Ordinal};
use plan::observed::member::{Answer, RaftRole};
use plan::observed::refusal::AfterRefusal;
use plan::observed::{
    Entropy, Linearizable, Observed, ObservedMember, ObservedServices, OperatorSettings, Refusal, Seen,
};
use serde_json::json;
use world::seed::Random;

use crate::api_server::{ApiServer, CLUSTER, Compare, Deletion, Objects, Refused, Stored, wall_clock};
use crate::invariants::OperatorInvariants;
use crate::members::{CallError, Members};

/// Faults of an operator. Rates are per million actions or calls.
#[derive(Clone, Copy, Debug)]
pub struct OperatorFaults {
    /// Rate of lost replies: the action takes effect, but the operator does not learn the outcome.
    pub lost_replies: u32,
    /// Rate of lost calls: the action has no effect, and the operator does not learn the outcome.
    pub lost_calls: u32,
    /// Rate of crashes after an action.
    pub crashes: u32,
    /// Rate of pauses before the next action.
    pub pauses: u32,
    /// Maximum length of a pause.
    pub pause_max: Duration,
    /// Maximum number of versions by which a read may lag.
    pub stale_max: u64,
}

impl OperatorFaults {
    /// No faults.
    pub const NONE: Self =
        Self { lost_replies: 0, lost_calls: 0, crashes: 0, pauses: 0, pause_max: Duration::ZERO, stale_max: 0 };
}

/// An operator with its state in memory. A crash empties this state.
#[derive(Debug)]
pub struct Operator {
    /// Faults of this operator.
    pub faults: OperatorFaults,
    reserved: BTreeSet<Ordinal>,
    unreachable_since: BTreeMap<Ordinal, Duration>,
    refusal: Option<Refusal>,
    pass: Option<Pass>,
    resumes_at: Duration,
    /// Number of actions that were carried out, including those before crashes.
    pub actions: u64,
    /// The status that the operator published last.
    pub published: Option<crds::RaftClusterStatus>,
}

/// A plan whose actions are being carried out.
#[derive(Debug)]
struct Pass {
    plan: Plan,
    next: usize,
    course: plan::pass::Pass,
}

/// Outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// A precondition failed because another writer was first. The operator observes again.
    Conflict,
    /// The action was refused, and had no effect.
    Refused,
    /// The reply was lost: the action may or may not have taken effect.
    Unknown,
}

/// The parts of the world that an operator uses.
pub struct Environment<'w> {
    /// The API server.
    pub api: &'w mut ApiServer,
    /// The members that the operator calls.
    pub members: &'w mut Members,
    /// The invariants, which are notified of the operator's actions.
    pub invariants: &'w mut OperatorInvariants,
    /// Random numbers.
    pub random: &'w mut Random,
    /// Time since the start of the run.
    pub now: Duration,
}

impl Environment<'_> {
    fn clock(&self) -> Timestamp {
        wall_clock(self.now)
    }
}

impl Operator {
    /// Creates an operator that has just started.
    #[must_use]
    pub fn new(faults: OperatorFaults) -> Self {
        Self {
            faults,
            reserved: BTreeSet::new(),
            unreachable_since: BTreeMap::new(),
            refusal: None,
            pass: None,
            resumes_at: Duration::ZERO,
            actions: 0,
            published: None,
        }
    }

    /// Crashes the process. Its state in memory is lost.
    pub fn crash(&mut self) {
        self.reserved.clear();
        self.unreachable_since.clear();
        self.refusal = None;
        self.pass = None;
    }

    /// Takes the next step unless the operator is paused. A step is one of these: an observation and the plan made from
    /// it, one action, or the status write that ends the pass.
    pub fn step(&mut self, environment: &mut Environment<'_>) {
        if environment.now < self.resumes_at {
            return;
        }
        let Some(pass) = &mut self.pass else {
            if let Some(observed) = self.observe(environment) {
                let plan = plan::plan(&observed);
                self.pass = Some(Pass { plan, next: 0, course: plan::pass::Pass::default() });
            }
            return;
        };
        let Some(action) = pass.plan.actions.get(pass.next).cloned() else {
            self.finish(environment);
            return;
        };
        pass.next += 1;
        let about = action.describe();
        if pass.course.withholds(&action, &about) {
            return;
        }
        let outcome = self.try_act(&action, environment);
        self.actions += 1;
        environment.invariants.note(environment.now, format!("{action} {outcome:?}", action = summarize(&action)));
        match outcome {
            Outcome::Done => {}
            Outcome::Conflict => self.pass = None,
            Outcome::Refused | Outcome::Unknown => {
                if let Some(pass) = &mut self.pass {
                    pass.course.failed(&about);
                }
            }
        }
        if environment.random.chance(self.faults.crashes) {
            self.crash();
        }
        if environment.random.chance(self.faults.pauses) {
            self.resumes_at = environment.now + environment.random.time(Duration::ZERO, self.faults.pause_max);
        }
    }

    fn finish(&mut self, environment: &mut Environment<'_>) {
        let Some(pass) = self.pass.take() else { return };
        let had_actions = !pass.plan.actions.is_empty();
        let pause = if had_actions { Duration::from_millis(100) } else { pass.plan.requeue_after };
        self.resumes_at = environment.now + pause;
        if let Some(mut cluster) = environment.api.now().cluster.clone()
            && cluster.status.as_ref() != Some(&pass.plan.status)
        {
            cluster.status = Some(pass.plan.status.clone());
            environment.api.put_cluster(cluster);
        }
        self.published = Some(pass.plan.status);
    }

    /// Reads objects in the same order as `operator/src`. Each read may lag as far as the faults allow, but no further
    /// than the previous read.
    fn observe(&mut self, environment: &mut Environment<'_>) -> Option<Observed> {
        let mut age = environment.random.between(0, self.faults.stale_max);
        let mut older = |random: &mut Random| {
            age = random.between(0, age);
            usize::try_from(age).unwrap_or(usize::MAX)
        };
        let cluster_age = older(environment.random);
        let cluster = environment.api.ago(cluster_age).cluster.clone()?;
        let name = cluster.metadata.name.clone().unwrap_or_default();
        let mut members: BTreeMap<Ordinal, ObservedMember> = BTreeMap::new();
        for (claim, volume) in &environment.api.ago(older(environment.random)).volumes {
            if let Some(ordinal) = names::ordinal_of_volume(&name, claim) {
                members.entry(ordinal).or_default().volume = Some(volume.clone());
            }
        }
        for (set_name, set) in &environment.api.ago(older(environment.random)).sets {
            if let Some(ordinal) = names::ordinal_of_member(&name, set_name) {
                members.entry(ordinal).or_default().set = Some(set.clone());
            }
        }
        let rest: Objects = environment.api.ago(older(environment.random)).clone();
        for (pod_name, pod) in rest.pods {
            if let Some(ordinal) = names::ordinal_of_pod(&name, &pod_name) {
                members.entry(ordinal).or_default().pod = Some(pod);
            }
        }
        let identity = rest.secrets.get(&names::identity(&name)).cloned();
        let proven = identity
            .as_ref()
            .and_then(|secret| ClusterIdentity::from_secret(secret).ok())
            .map(|identity| identity.cluster);
        for (ordinal, member) in members.iter_mut().filter(|(_, member)| member.set.is_some()) {
            member.answer = Some(self.query_member(*ordinal, member.pod.as_ref(), proven, environment));
        }
        let configuration = query_leader(&members, environment);
        Some(Observed {
            now: environment.clock(),
            operator: OperatorSettings { node_image: "raft-node".to_owned(), node_image_pull_policy: None },
            services: ObservedServices {
                client: rest.services.get(&names::client_service(&name)).cloned(),
                read: rest.services.get(&names::read_service(&name)).cloned(),
                members: rest.services.get(&names::member_service(&name)).cloned(),
            },
            budget: rest.budgets.get(&names::budget(&name)).cloned(),
            identity,
            cluster,
            members,
            configuration,
            zones: BTreeMap::new(),
            restore_from: None,
            probe: None,
            refusal: self.refusal.clone(),
            reserved: self.reserved.clone(),
            entropy: Entropy {
                cluster_id: u128::from(environment.random.number()) << 64 | u128::from(environment.random.number()),
                token: [7; 32],
            },
        })
    }

    fn query_member(
        &mut self,
        ordinal: Ordinal,
        pod: Option<&Pod>,
        proven: Option<ClusterId>,
        environment: &mut Environment<'_>,
    ) -> Answer {
        let lost = environment.random.chance(self.faults.lost_calls);
        let report = pod.and_then(|pod| environment.members.describe(pod.metadata.uid.as_deref()?, proven));
        let report = report.filter(|_| !lost);
        match report {
            Some(report) => {
                self.unreachable_since.remove(&ordinal);
                Answer::Report(Box::new(report))
            }
            None => {
                let since = *self.unreachable_since.entry(ordinal).or_insert(environment.now);
                Answer::Silent { since: wall_clock(since), error: "no answer".to_owned() }
            }
        }
    }

    fn try_act(&mut self, action: &Action, environment: &mut Environment<'_>) -> Outcome {
        if environment.random.chance(self.faults.lost_calls) {
            return self.note(action, Outcome::Unknown);
        }
        let outcome = self.act(action, environment);
        let outcome = if environment.random.chance(self.faults.lost_replies) { Outcome::Unknown } else { outcome };
        self.note(action, outcome)
    }

    /// Updates the state in memory after an outcome, as `operator/src` does. An ordinal is reserved only if the
    /// reservation is known to have succeeded. A reserved ordinal counts as used after a create, unless it is known
    /// that no StatefulSet was created.
    fn note(&mut self, action: &Action, outcome: Outcome) -> Outcome {
        match (action, outcome) {
            (Action::Write(ObjectAction::ReserveOrdinals { first, last, .. }), Outcome::Done) => {
                self.reserved.extend((first.0..=last.0).map(Ordinal));
            }
            (
                Action::Write(ObjectAction::CreateSet { ordinal, .. }),
                Outcome::Done | Outcome::Unknown | Outcome::Conflict,
            ) => {
                self.reserved.remove(ordinal);
            }
            _ => {}
        }
        outcome
    }

    fn act(&mut self, action: &Action, environment: &mut Environment<'_>) -> Outcome {
        match action {
            Action::Write(write) => self.write(write, environment),
            Action::Call(call) => self.call(call, environment),
        }
    }

    fn write(&mut self, write: &ObjectAction, environment: &mut Environment<'_>) -> Outcome {
        match write {
            ObjectAction::Apply(wanted) => apply(wanted.object(), environment),
            ObjectAction::ReplaceSet(replace) => {
                let set: StatefulSet = replace.object().parse().expect("only a StatefulSet is replaced");
                moved(environment.api.replace(&set))
            }
            ObjectAction::ReserveOrdinals { service, last, .. } => {
                annotate::<Service>(environment, service, names::ANNOTATION_LAST_ORDINAL, last.to_string())
            }
            ObjectAction::CreateSet { ordinal, set } => {
                environment.invariants.creates(*ordinal, set, self.reserved.contains(ordinal), environment.api);
                match environment.api.create(&**set) {
                    Ok(_) | Err(Refused::AlreadyExists) => Outcome::Done,
                    Err(_) => Outcome::Refused,
                }
            }
            ObjectAction::CreateIdentity(secret) => match environment.api.create::<Secret>(secret) {
                Ok(_) => {
                    environment.invariants.identities_created += 1;
                    Outcome::Done
                }
                Err(_) => Outcome::Conflict,
            },
            ObjectAction::NoteFormed { service, cluster } => {
                annotate::<Service>(environment, service, names::ANNOTATION_FORMED, cluster.to_string())
            }
            ObjectAction::Announce { set, id } => {
                annotate::<StatefulSet>(environment, set, names::ANNOTATION_MEMBER_ID, id.to_string())
            }
            ObjectAction::LabelVolume { volume, cluster, id } => {
                let labels =
                    json!({ names::LABEL_CLUSTER_ID: cluster.to_string(), names::LABEL_MEMBER_ID: id.to_string() });
                label::<PersistentVolumeClaim>(environment, volume, &labels)
            }
            ObjectAction::RelabelVolume { volume, labels, stamp } => {
                let notes = json!({ names::ANNOTATION_APPLIED: stamp });
                let patch = json!({ "metadata": { "labels": labels, "annotations": notes } });
                moved(environment.api.patch::<PersistentVolumeClaim>(volume, Compare::Uid, &patch))
            }
            ObjectAction::LabelPod { pod, role } => {
                label::<Pod>(environment, pod, &json!({ names::LABEL_ROLE: role.as_str() }))
            }
            ObjectAction::DeleteSet { set } => {
                environment.invariants.about_to_delete(set, environment.api, environment.members);
                let deleted =
                    environment.api.delete::<StatefulSet>(set, Compare::Version, Deletion::AtOnce, environment.clock());
                if deleted.is_ok() {
                    environment.invariants.deleted();
                }
                moved(deleted)
            }
            ObjectAction::DeletePod { pod } => {
                moved(environment.api.delete::<Pod>(pod, Compare::Uid, Deletion::Marked, environment.clock()))
            }
            ObjectAction::EvictPod { pod } => evict(environment, pod),
        }
    }

    /// Calls a member. As in `operator/src`, the operator remembers the refusal of the latest membership change. A
    /// change that succeeds clears it.
    fn call(&mut self, action: &MemberAction, environment: &mut Environment<'_>) -> Outcome {
        let done = call(action, environment);
        if matches!(action, MemberAction::ChangeMembership { .. }) {
            self.refusal = done.err().map(|error| Refusal {
                reason: match error {
                    CallError::Unreachable => None,
                    CallError::Refused(reason) => Some(reason),
                },
                message: format!("the change failed: {error:?}"),
            });
        }
        match done {
            Ok(()) => Outcome::Done,
            Err(CallError::Unreachable) => Outcome::Unknown,
            Err(CallError::Refused(reason)) => match reason.then() {
                AfterRefusal::ObserveAgain => Outcome::Conflict,
                AfterRefusal::Wait | AfterRefusal::Fail => Outcome::Refused,
            },
        }
    }
}

/// Describes an action in one line of the trace.
fn summarize(action: &Action) -> String {
    match action {
        Action::Write(ObjectAction::Apply(apply)) => match apply.object().parse::<PodDisruptionBudget>() {
            Some(budget) => format!("Apply budget {:?}", budget.spec.and_then(|spec| spec.min_available)),
            None => format!("Apply {}", apply.object()),
        },
        Action::Write(ObjectAction::ReplaceSet(replace)) => format!("ReplaceSet {}", replace.object()),
        Action::Write(ObjectAction::CreateSet { set, .. }) => {
            format!("CreateSet {:?} {:?}", set.metadata.name, set.metadata.annotations)
        }
        Action::Write(ObjectAction::CreateIdentity(_)) => "CreateIdentity".to_owned(),
        Action::Call(MemberAction::Bootstrap { member, .. }) => format!("Bootstrap {member}"),
        Action::Call(MemberAction::Join { member, id, .. }) => format!("Join {member} {id}"),
        other => format!("{other:?}"),
    }
}

/// Applies an object of any kind that the simulated API server stores.
fn apply(object: &Object, environment: &mut Environment<'_>) -> Outcome {
    if let Some(service) = object.parse::<Service>() {
        return moved(environment.api.apply(&service));
    }
    let budget = object.parse::<PodDisruptionBudget>();
    moved(
        environment.api.apply(
            &budget.unwrap_or_else(|| panic!("{object} has a kind that the simulated API server does not store")),
        ),
    )
}

fn annotate<K: Stored>(environment: &mut Environment<'_>, seen: &Seen, key: &str, value: String) -> Outcome {
    moved(environment.api.patch::<K>(seen, Compare::Version, &json!({ "metadata": { "annotations": { key: value } } })))
}

fn label<K: Stored>(environment: &mut Environment<'_>, seen: &Seen, labels: &serde_json::Value) -> Outcome {
    moved(environment.api.patch::<K>(seen, Compare::Uid, &json!({ "metadata": { "labels": labels } })))
}

fn moved(outcome: Result<(), Refused>) -> Outcome {
    if outcome.is_ok() { Outcome::Done } else { Outcome::Conflict }
}

/// Evicts a pod. The disruption budget refuses the eviction of a voter if at most `minAvailable` voters are ready.
fn evict(environment: &mut Environment<'_>, pod: &Seen) -> Outcome {
    let voter = |pod: &Pod| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::LABEL_ROLE)).map(String::as_str)
            == Some("voter")
    };
    let ready = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && environment.members.is_ready(pod.metadata.uid.as_deref().unwrap_or_default())
    };
    let healthy = environment.api.now().pods.values().filter(|pod| voter(pod) && ready(pod)).count();
    let least =
        environment.api.now().budgets.values().next().and_then(|budget| match budget.spec.as_ref()?.min_available {
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(least)) => usize::try_from(least).ok(),
            _ => None,
        });
    let covered = environment.api.now().pods.get(&pod.name).is_some_and(voter);
    if covered && healthy <= least.unwrap_or(0) {
        return Outcome::Refused;
    }
    moved(environment.api.delete::<Pod>(pod, Compare::Uid, Deletion::Marked, environment.clock()))
}

fn query_leader(
    members: &BTreeMap<Ordinal, ObservedMember>,
    environment: &mut Environment<'_>,
) -> Option<Linearizable> {
    members.iter().find_map(|(ordinal, member)| {
        let leads = matches!(&member.answer, Some(Answer::Report(report)) if report.role == RaftRole::Leader);
        let pod = member.pod.as_ref().filter(|_| leads)?.metadata.uid.clone()?;
        let configuration = environment.members.configuration(&pod)?;
        Some(Linearizable { leader: *ordinal, configuration })
    })
}

/// Calls the member's current pod, which is found by its name. The pod may be newer than the observed one.
fn call(action: &MemberAction, environment: &mut Environment<'_>) -> Result<(), CallError> {
    let pod = |environment: &Environment<'_>, ordinal: Ordinal| {
        let name = names::pod(CLUSTER, ordinal);
        environment.api.now().pods.get(&name).and_then(|pod| pod.metadata.uid.clone()).unwrap_or_default()
    };
    match action {
        MemberAction::Bootstrap { member, identity, voters } => {
            let pod = pod(environment, *member);
            environment.members.bootstrap(&pod, identity, voters)
        }
        MemberAction::Restore { member, cluster, id, info, .. } => {
            let pod = pod(environment, *member);
            environment.members.restore(&pod, *cluster, *id, info)
        }
        MemberAction::Join { member, cluster, id, .. } => {
            let pod = pod(environment, *member);
            environment.members.join(&pod, *cluster, *id)
        }
        MemberAction::ChangeMembership { leader, change } => {
            let pod = pod(environment, *leader);
            let outcome = environment.members.change(&pod, change);
            if outcome.is_ok() {
                environment.invariants.changed(change, environment.members, environment.now);
            }
            outcome
        }
        MemberAction::TransferLeadership { leader, target } => {
            let pod = pod(environment, *leader);
            environment.members.transfer(&pod, *target)
        }
    }
}
