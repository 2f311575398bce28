//! One run: time, chance, and the turns of all parties. Owns the order of steps. Does not own faults (`faults.rs`) or
//! what must hold (`invariants.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use crds::RaftCluster;
use crds::raft_cluster::{RaftClusterSpec, VolumeFate};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use serde_json::json;
use world::seed::{Random, Seed};
use world::settings;

use crate::api_server::{ApiServer, CLUSTER, wall_clock};
use crate::controllers;
use crate::executor::{Operator, Reach, Troubles};
use crate::invariants::Watch;
use crate::members::Members;

/// How far time moves in one step.
const STEP: Duration = Duration::from_millis(10);

/// A simulated Kubernetes with its operators and members.
#[derive(Debug)]
pub struct World {
    /// The API server.
    pub api: ApiServer,
    /// Members.
    pub members: Members,
    /// Operators; all of them active.
    pub operators: Vec<Operator>,
    /// What must hold.
    pub watch: Watch,
    /// Time since the start.
    pub now: Duration,
    pub(super) random: Random,
    pub(super) deleted_by_hand: BTreeSet<String>,
    /// The identity, while it is deleted.
    pub(super) identity_kept: Option<Secret>,
    seed: Seed,
    writes: u64,
}

impl World {
    /// A RaftCluster of this many replicas, and nothing else yet.
    #[must_use]
    pub fn new(seed: Seed, replicas: i32, operators: Vec<Troubles>) -> Self {
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
        .expect("the spec is one");
        let mut api = ApiServer::default();
        api.put_cluster(cluster);
        let operators = operators.into_iter().map(Operator::new).collect();
        Self {
            api,
            members,
            operators,
            watch: Watch::default(),
            now: Duration::ZERO,
            random,
            deleted_by_hand: BTreeSet::new(),
            identity_kept: None,
            seed,
            writes: 0,
        }
    }

    /// What becomes of removed members' volumes.
    #[must_use]
    pub fn with_removed_volumes(mut self, fate: VolumeFate) -> Self {
        self.edit(|spec| spec.storage.retention.when_scaled = fate);
        self
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(&mut RaftClusterSpec)) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            change(&mut cluster.spec);
            self.api.put_cluster(cluster);
        }
    }

    /// Changes the number of replicas, as `kubectl scale` does.
    pub fn set_replicas(&mut self, replicas: i32) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            cluster.spec.replicas = replicas;
            cluster.metadata.generation = cluster.metadata.generation.map(|generation| generation + 1);
            self.api.put_cluster(cluster);
        }
    }

    /// Replicas wanted.
    #[must_use]
    pub fn replicas(&self) -> usize {
        let replicas = self.api.now().cluster.as_ref().map_or(0, |cluster| cluster.spec.replicas);
        usize::try_from(replicas).expect("admission keeps it positive")
    }

    /// Every party takes a turn.
    pub fn step(&mut self) {
        self.now += STEP;
        self.members.advance(self.now);
        if self.random.below(5) == 0 {
            controllers::step(&mut self.api, &mut self.members, wall_clock(self.now));
        }
        if self.random.below(10) == 0 {
            self.writes += 1;
            self.members.write(self.writes);
        }
        let mut operators = std::mem::take(&mut self.operators);
        for operator in &mut operators {
            operator.step(&mut Reach {
                api: &mut self.api,
                members: &mut self.members,
                watch: &mut self.watch,
                random: &mut self.random,
                now: self.now,
            });
        }
        self.operators = operators;
        self.watch.check(&self.api, &self.members);
        if let Some(violated) = &self.watch.violated {
            panic!("seed {}, at {:?}: {violated}\n{}", self.seed, self.now, self.history());
        }
    }

    /// Runs for a while.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Runs for a while in which things happen.
    pub fn run_disturbed(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.disturb();
            self.step();
        }
    }

    /// Lifts every fault: machines are back, messages arrive, and operators are awake and see what is.
    pub fn lift_all_faults(&mut self) {
        self.members.lost.clear();
        self.members.network.profile.loss = 0;
        self.members.store_is_broken = false;
        self.put_identity_back();
        for operator in &mut self.operators {
            operator.troubles = Troubles::NONE;
            operator.die();
        }
    }

    /// Runs until `reached` or for too long.
    ///
    /// # Panics
    /// It was not reached in time; tells what the last status said.
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

    /// Whether the cluster is what its spec asks for, and nothing else is left.
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
            && objects.pods.len() == replicas
            && self.volumes_are_right(replicas)
            && self.members.nothing_is_lost()
            && self.condition("Ready").as_deref() == Some("True")
            && self.condition("Reconciling").as_deref() == Some("False")
    }

    /// One volume a member; beyond them only what is retained on purpose.
    fn volumes_are_right(&self, replicas: usize) -> bool {
        let objects = self.api.now();
        let retains = objects
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.spec.storage.retention.when_scaled == VolumeFate::Retain);
        let has_set = |claim: &str| objects.sets.keys().any(|set| claim == format!("data-{set}-0"));
        let (used, rest): (Vec<_>, Vec<_>) = objects.volumes.iter().partition(|(claim, _)| has_set(claim));
        let may_stay = |(claim, volume): &(&String, &PersistentVolumeClaim)| {
            retains || self.is_left_by_the_user(claim) || self.is_former(volume)
        };
        used.len() == replicas && rest.iter().all(may_stay)
    }

    /// A removed member's volume whose StatefulSet was deleted by hand stays: only a person deletes such a volume.
    fn is_left_by_the_user(&self, claim: &str) -> bool {
        let member = claim.strip_prefix("data-").and_then(|pod| pod.strip_suffix("-0")).unwrap_or_default();
        self.deleted_by_hand.contains(member) && !self.api.now().sets.contains_key(member)
    }

    /// A condition of the RaftCluster.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<String> {
        let conditions = &self.api.now().cluster.as_ref()?.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.clone())
    }

    /// The reason of a condition of the RaftCluster.
    #[must_use]
    pub fn reason(&self, kind: &str) -> Option<String> {
        let conditions = &self.api.now().cluster.as_ref()?.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.reason.clone())
    }

    /// What happened, if `TRACE` asks for it.
    fn history(&self) -> String {
        if settings::traces() { self.watch.history() } else { String::new() }
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
            "wanted {} replicas\n{}\nStatefulSets {:?}\npods {:?}\nclaims {:?}\nplan {:?}\nconfiguration {:?}",
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
