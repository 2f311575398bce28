//! One run: the time, the random numbers, and the steps of all parties. Owns the order of these steps. Does not own
//! faults (`faults.rs`) or invariants (`invariants.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crds::RaftCluster;
use crds::raft_cluster::{RaftClusterSpec, VolumeFate};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use plan::names;
use plan::observed::label;
use plan::observed::member::Configuration;
use serde_json::json;
use world::seed::{Random, Seed};
use world::settings;

use crate::api_server::{ApiServer, CLUSTER, wall_clock};
use crate::controllers;
use crate::invariants::OperatorInvariants;
use crate::members::Members;
use crate::operator::{Activity, Environment, Operator, OperatorFaults};

/// Simulated duration of one step.
const STEP: Duration = Duration::from_millis(10);

/// A simulated Kubernetes cluster with its operators and members.
#[derive(Debug)]
pub struct World {
    /// The API server.
    pub api: ApiServer,
    /// Members with their volumes and network.
    pub members: Members,
    /// The operators. All of them are active at the same time.
    pub operators: Vec<Operator>,
    /// The invariants, which are checked after every step.
    pub invariants: OperatorInvariants,
    /// Time since the start of the run.
    pub now: Duration,
    pub(super) random: Random,
    pub(super) deleted_by_hand: BTreeSet<String>,
    /// Time until which no Kubernetes node has capacity for another pod.
    pub(super) full_until: Duration,
    /// Time until which the API server refuses a kind of object.
    pub(super) refuses_until: Duration,
    /// UID of the claim whose program is older than its image.
    pub(super) aged: Option<String>,
    /// What a person keeps copies of.
    pub(super) kept: Kept,
    /// Whether a person watches the cluster, and repairs what people deleted.
    attentive: bool,
    seed: Seed,
    writes: u64,
}

/// Copies of what people deleted.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Deleted Secrets with an identity.
    pub(super) secrets: Vec<Secret>,
    /// The RaftCluster, while it is deleted.
    pub(super) cluster: Option<RaftCluster>,
    /// Whether the RaftCluster was ever deleted. Volumes of members that were being removed then stay.
    pub(super) was_deleted: bool,
}

impl World {
    /// Creates a world with a RaftCluster of `replicas` replicas and no other object.
    #[must_use]
    pub fn new(seed: Seed, replicas: i32, operators: Vec<OperatorFaults>) -> Self {
        Self::of(seed, replicas, operators, Activity::Always)
    }

    /// Creates a world like [`World::new`], in which only the operator that holds the lease works.
    #[must_use]
    pub fn with_lease(seed: Seed, replicas: i32, operators: Vec<OperatorFaults>) -> Self {
        Self::of(seed, replicas, operators, Activity::WithLease)
    }

    fn of(seed: Seed, replicas: i32, operators: Vec<OperatorFaults>, activity: Activity) -> Self {
        let mut random = Random::new(seed);
        let members = Members::new(Random::new(Seed(random.number())));
        let cluster: RaftCluster = serde_json::from_value(json!({
            "apiVersion": "raftoperator.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": { "name": CLUSTER, "namespace": "default", "generation": 1 },
            "spec": {
                "replicas": replicas,
                "storage": { "size": "1Gi" },
                "replacement": { "delay": "10s" },
                "tls": { "client": "Plaintext", "peer": "Plaintext" },
            },
        }))
        .expect("the spec is valid");
        let mut api = ApiServer::default();
        api.tick(wall_clock(Duration::ZERO));
        api.put_cluster(&cluster);
        // An operator starts a pass only after it has seen the RaftCluster.
        api.begin();
        let operators = operators.into_iter().map(|faults| Operator::new(faults, activity)).collect();
        Self {
            api,
            members,
            operators,
            invariants: OperatorInvariants::default(),
            now: Duration::ZERO,
            random,
            deleted_by_hand: BTreeSet::new(),
            full_until: Duration::ZERO,
            refuses_until: Duration::ZERO,
            aged: None,
            kept: Kept::default(),
            attentive: false,
            seed,
            writes: 0,
        }
    }

    /// Sets whether volumes of removed members are deleted or retained.
    #[must_use]
    pub fn with_removed_volumes(mut self, fate: VolumeFate) -> Self {
        self.edit(|spec| spec.storage.retention.when_scaled = fate);
        self
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(&mut RaftClusterSpec)) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            change(&mut cluster.spec);
            self.api.put_cluster(&cluster);
        }
    }

    /// Changes the number of replicas, as `kubectl scale` does.
    pub fn set_replicas(&mut self, replicas: i32) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            cluster.spec.replicas = replicas;
            self.api.put_cluster(&cluster);
        }
    }

    /// Changes the size and the StorageClass of the members' volumes.
    pub fn set_storage(&mut self, size: &str, class: &str) {
        self.edit(|spec| {
            spec.storage.size = Quantity(size.to_owned());
            spec.storage.storage_class_name = Some(class.to_owned());
        });
    }

    /// Sets `spec.stopped`.
    pub fn set_stopped(&mut self, stopped: bool) {
        self.edit(|spec| spec.stopped = stopped);
        self.invariants.note(self.now, format!("stopped: {stopped}"));
    }

    /// Returns whether no member runs or is about to run, and the status says so.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let objects = self.api.now();
        let is_new = |it: &RaftCluster| {
            it.status.as_ref().and_then(|status| status.observed_generation) == it.metadata.generation
        };
        objects.cluster.as_ref().is_some_and(is_new)
            && objects.pods.is_empty()
            && !objects.sets.values().any(|set| plan::desired::stateful_set::runs(set))
            && self.reason("Ready").as_deref() == Some("Stopped")
            && self.condition("Ready").as_deref() == Some("True")
            && self.condition("Reconciling").as_deref() == Some("False")
    }

    /// Runs for the duration `time`, in which no member of the stopped cluster may start.
    ///
    /// # Panics
    /// Panics if a StatefulSet asks for a pod, or a pod exists.
    pub fn run_stopped(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
            let runs = self.api.now().sets.values().any(|set| plan::desired::stateful_set::runs(set));
            assert!(
                !runs && self.api.now().pods.is_empty(),
                "seed {}, at {:?}: a member of a stopped cluster starts\n{}",
                self.seed,
                self.now,
                self.history()
            );
        }
    }

    /// Returns whether nothing of a deleted cluster is left, except volumes that are retained and Secrets with their
    /// identity.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let objects = self.api.now();
        let owned = objects.secrets.values().filter(|secret| secret.metadata.owner_references.is_some()).count();
        let own = [objects.sets.len(), objects.pods.len(), objects.services.len(), owned];
        objects.cluster.is_none() && own == [0; 4]
    }

    /// Returns the number of replicas in the spec.
    #[must_use]
    pub fn replicas(&self) -> usize {
        let replicas = self.api.now().cluster.as_ref().map_or(0, |cluster| cluster.spec.replicas);
        usize::try_from(replicas).expect("admission keeps it positive")
    }

    /// Advances time by one step, and lets every party take its step.
    pub fn step(&mut self) {
        self.now += STEP;
        self.api.tick(wall_clock(self.now));
        if self.now >= self.refuses_until {
            self.api.refuses.clear();
        }
        self.members.advance(self.now);
        if self.random.below(5) == 0 {
            let has_capacity = self.now >= self.full_until;
            controllers::step(&mut self.api, &mut self.members, has_capacity, wall_clock(self.now));
        }
        if self.random.below(10) == 0 {
            self.writes += 1;
            self.members.write(self.writes);
        }
        let mut operators = std::mem::take(&mut self.operators);
        for operator in &mut operators {
            operator.step(&mut Environment {
                api: &mut self.api,
                members: &mut self.members,
                invariants: &mut self.invariants,
                random: &mut self.random,
                now: self.now,
            });
        }
        self.operators = operators;
        if self.attentive && self.reason("Stalled").as_deref() == Some("IdentityLost") {
            self.put_identity_back();
        }
        self.invariants.check(&self.api, &self.members, self.now);
        if let Some(violated) = &self.invariants.violated {
            panic!("seed {}, at {:?}: {violated}\n{}", self.seed, self.now, self.history());
        }
    }

    /// Runs for the duration `time` without new faults.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Runs for the duration `time` with random faults and changes by users.
    pub fn run_disturbed(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.disturb();
            self.step();
        }
    }

    /// Runs for the duration `time` with random changes by users, and with the faults of the operators.
    pub fn run_changed(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.change();
            self.step();
        }
    }

    /// Lifts every fault: machines return, messages arrive, and operators restart and read the newest objects.
    pub fn lift_all_faults(&mut self) {
        self.members.lost.clear();
        self.members.network.profile.loss = 0;
        self.members.store_is_broken = false;
        self.full_until = self.now;
        self.refuses_until = self.now;
        self.api.refuses.clear();
        self.create_cluster_again();
        self.put_identity_back();
        self.members.renew_programs();
        self.correct_image();
        self.attentive = true;
        for operator in &mut self.operators {
            operator.faults = OperatorFaults::NONE;
            operator.crash();
        }
    }

    /// Runs until `reached` holds.
    ///
    /// # Panics
    /// Panics with the last status if `reached` does not return true within `limit`.
    pub fn run_until(&mut self, what: &str, limit: Duration, reached: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !reached(self) {
            assert!(
                self.now < end,
                "seed {}: not {what} within {limit:?}: {}\n{}",
                self.seed,
                self.explain(),
                self.history()
            );
            self.step();
        }
    }

    /// Returns whether the cluster matches its spec, serves, and has no objects besides those of its members.
    #[must_use]
    pub fn is_healed(&self) -> bool {
        let replicas = self.replicas();
        let voters = if replicas.is_multiple_of(2) { replicas - 1 } else { replicas }.min(7);
        let Some(committed) = self.members.newest_committed() else { return false };
        let objects = self.api.now();
        !committed.is_joint()
            && committed.voters.len() == voters
            && committed.learners.len() == replicas - voters
            && committed.everyone().iter().all(|id| self.members.is_up(*id))
            && objects.sets.len() == replicas
            && objects.pods.keys().filter(|pod| !self.is_left_by_the_user(&format!("data-{pod}"))).count() == replicas
            && self.volumes_are_right(replicas)
            && self.role_labels_are_right(&committed)
            && self.members.nothing_is_lost()
            && self.condition("Ready").as_deref() == Some("True")
            && self.condition("Reconciling").as_deref() == Some("False")
    }

    /// Returns whether each pod's label names the role of its member, so that Services and the disruption budget select
    /// it.
    fn role_labels_are_right(&self, committed: &Configuration) -> bool {
        let pods = &self.api.now().pods;
        committed.members.iter().filter(|(id, _)| committed.contains(**id)).all(|(id, info)| {
            let pod = pods.get(&format!("{}-0", info.name));
            let role = pod.and_then(|pod| label(&pod.metadata, names::LABEL_ROLE));
            role == Some(committed.role(*id).as_str())
        })
    }

    /// Returns whether each member has one volume as the spec asks for, and every other volume is retained on purpose.
    fn volumes_are_right(&self, replicas: usize) -> bool {
        let objects = self.api.now();
        let retains = objects
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.spec.storage.retention.when_scaled == VolumeFate::Retain);
        let has_set = |claim: &str| objects.sets.keys().any(|set| claim == format!("data-{set}-0"));
        let (used, rest): (Vec<_>, Vec<_>) = objects.volumes.iter().partition(|(claim, _)| has_set(claim));
        let may_stay = |(claim, volume): &(&String, &Arc<PersistentVolumeClaim>)| {
            let uid = volume.metadata.uid.as_deref().unwrap_or_default();
            let on_trial = self.invariants.kept_on_trial.contains(uid);
            let is_given_up = label(&volume.metadata, names::LABEL_REMOVED).is_some() && self.kept.was_deleted;
            retains || self.is_left_by_the_user(claim) || self.is_former(volume) || on_trial || is_given_up
        };
        used.len() == replicas && used.iter().all(|(_, claim)| self.is_as_wanted(claim)) && rest.iter().all(may_stay)
    }

    /// Returns whether a volume has the class and the size that the spec asks for, if it asks for a class.
    fn is_as_wanted(&self, claim: &PersistentVolumeClaim) -> bool {
        let wanted = self.api.now().cluster.as_ref().map(|cluster| &cluster.spec.storage);
        let Some(wanted) = wanted.filter(|wanted| wanted.storage_class_name.is_some()) else { return true };
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
        let size = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
        class == wanted.storage_class_name.as_ref() && size == Some(&wanted.size)
    }

    /// Returns whether the volume of a member, and its pod, may stay because its StatefulSet was deleted by hand. Only a
    /// person deletes them.
    fn is_left_by_the_user(&self, claim: &str) -> bool {
        let member = claim.strip_prefix("data-").and_then(|pod| pod.strip_suffix("-0")).unwrap_or_default();
        self.deleted_by_hand.contains(member) && !self.api.now().sets.contains_key(member)
    }

    /// Returns the status of a condition of the RaftCluster.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<String> {
        let conditions = &self.api.now().cluster.as_ref()?.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.clone())
    }

    /// Returns the reason of a condition of the RaftCluster.
    #[must_use]
    pub fn reason(&self, kind: &str) -> Option<String> {
        let conditions = &self.api.now().cluster.as_ref()?.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.reason.clone())
    }

    /// Returns the trace of the run if `TRACE` is set, otherwise an empty string.
    fn history(&self) -> String {
        if settings::traces() { self.invariants.history() } else { String::new() }
    }

    fn explain(&self) -> String {
        let objects = self.api.now();
        let status = objects.cluster.as_ref().and_then(|cluster| cluster.status.as_ref());
        let conditions: Vec<String> = status
            .iter()
            .flat_map(|status| &status.conditions)
            .map(|condition| {
                format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message)
            })
            .collect();
        format!(
            "spec: {} replicas\n{}\nStatefulSets {:?}\npods {:?}\nclaims {:?}\nplan {:?}\nconfiguration {:?}",
            self.replicas(),
            conditions.join("\n"),
            objects.sets.keys().collect::<Vec<_>>(),
            objects.pods.keys().collect::<Vec<_>>(),
            objects.volumes.keys().collect::<Vec<_>>(),
            status.and_then(|status| status.plan.as_ref()),
            self.members.newest_committed(),
        )
    }
}
