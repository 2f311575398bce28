//! Owns the cases of `every_field.rs`: for each field of a RaftCluster another value, and where that value is found
//! afterwards.

use dev_cluster::ObjectStore;
use serde_json::{Value, json};

use super::{ALIAS, PRIORITY, World};

/// A field, or all fields below a path.
pub(super) struct Case {
    pub(super) path: &'static str,
    /// The new value.
    pub(super) value: Value,
    pub(super) reaches: Reaches,
}

/// Where a value is found.
pub(super) enum Reaches {
    /// In pods, objects or the status, after a step.
    At(Step, fn(&World, &Value) -> bool),
    /// Nowhere: the change is refused, with these words.
    Refused(&'static str),
    /// Nowhere: the field has a single admitted value.
    OneValue,
    /// In no object: the operator reads it when it decides. The named file has a case for the decision.
    Decision(&'static str),
}

/// The changes of one edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Fields of the pod template: all members restart once.
    Restart,
    /// Fields that change without a restart.
    Live,
    /// The volumes. The class does not exist, so that the step stays pending.
    Volumes,
    /// `stopped`.
    Stop,
    /// `paused`.
    Pause,
}

impl Step {
    /// Whether the status says in the end that everything is done.
    pub(super) fn settles(self) -> bool {
        match self {
            Self::Restart | Self::Live => true,
            Self::Volumes | Self::Stop | Self::Pause => false,
        }
    }
}

impl Case {
    pub(super) fn step(&self) -> Option<Step> {
        match self.reaches {
            Reaches::At(step, _) => Some(step),
            Reaches::Refused(_) | Reaches::OneValue | Reaches::Decision(_) => None,
        }
    }
}

pub(super) fn cases(store: &ObjectStore) -> Vec<Case> {
    let mut all = pod_cases();
    all.extend(program_cases());
    all.extend(backup_cases(store));
    all.extend(object_cases());
    all
}

fn at(step: Step, path: &'static str, value: Value, asks: fn(&World, &Value) -> bool) -> Case {
    Case { path, value, reaches: Reaches::At(step, asks) }
}

fn other(path: &'static str, value: Value, reaches: Reaches) -> Case {
    Case { path, value, reaches }
}

/// Returns whether `live` contains `wanted`, apart from what Kubernetes adds.
fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| live.get(name).is_some_and(|live| contains(live, value)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            wanted.iter().all(|value| live.iter().any(|live| contains(live, value)))
        }
        _ => live == wanted,
    }
}

fn every_pod_contains(world: &World, pointer: &str, wanted: &Value) -> bool {
    world.every_pod(|pod| pod.pointer(pointer).is_some_and(|live| contains(live, wanted)))
}

/// Fields that a pod takes over as they are.
fn pod_cases() -> Vec<Case> {
    let pod = |path, value, asks| at(Step::Restart, path, value, asks);
    let preferred =
        json!({ "weight": 1, "preference": { "matchExpressions": [{ "key": "disk", "operator": "Exists" }] } });
    vec![
        pod("image", json!(ALIAS), |world, value| every_pod_contains(world, "/spec/containers/0/image", value)),
        pod("imagePullPolicy", json!("Never"), |world, value| {
            every_pod_contains(world, "/spec/containers/0/imagePullPolicy", value)
        }),
        pod("imagePullSecrets", json!([{ "name": "walk" }]), |world, value| {
            every_pod_contains(world, "/spec/imagePullSecrets", value)
        }),
        pod("resources.requests", json!({ "cpu": "11m", "memory": "64Mi" }), |world, value| {
            every_pod_contains(world, "/spec/containers/0/resources/requests", value)
        }),
        pod("resources.limits", json!({ "memory": "1Gi" }), |world, value| {
            every_pod_contains(world, "/spec/containers/0/resources/limits", value)
        }),
        pod(
            "affinity",
            json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [preferred] } }),
            |world, value| every_pod_contains(world, "/spec/affinity", value),
        ),
        pod(
            "topologySpreadConstraints",
            json!([{ "maxSkew": 3, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway" }]),
            |world, value| every_pod_contains(world, "/spec/topologySpreadConstraints", value),
        ),
        pod("tolerations", json!([{ "key": "walk", "operator": "Exists" }]), |world, value| {
            every_pod_contains(world, "/spec/tolerations", value)
        }),
        pod("nodeSelector", json!({ "kubernetes.io/os": "linux" }), |world, value| {
            every_pod_contains(world, "/spec/nodeSelector", value)
        }),
        pod("priorityClassName", json!(PRIORITY), |world, value| {
            every_pod_contains(world, "/spec/priorityClassName", value)
        }),
        pod("pod.labels", json!({ "walk": "label" }), |world, value| {
            every_pod_contains(world, "/metadata/labels", value)
        }),
        pod("pod.annotations", json!({ "walk": "annotation" }), |world, value| {
            every_pod_contains(world, "/metadata/annotations", value)
        }),
        pod("pod.env", json!([{ "name": "RAFT_NODE_LOG", "value": "debug" }]), |world, value| {
            every_pod_contains(world, "/spec/containers/0/env", value)
        }),
        pod("pod.securityContext.runAsUser", json!(65533), |world, value| {
            every_pod_contains(world, "/spec/securityContext/runAsUser", value)
        }),
        pod("pod.securityContext.runAsGroup", json!(65534), |world, value| {
            every_pod_contains(world, "/spec/securityContext/runAsGroup", value)
        }),
        pod("pod.securityContext.fsGroup", json!(65534), |world, value| {
            every_pod_contains(world, "/spec/securityContext/fsGroup", value)
        }),
        // The tolerations are written into the template, and reach a pod with its next restart.
        pod("replacement.delay", json!("77s"), |world, _| {
            every_pod_contains(world, "/spec/tolerations", &json!([{ "tolerationSeconds": 77 }]))
        }),
    ]
}

/// Fields that reach a member's program as a flag or as a variable.
fn program_cases() -> Vec<Case> {
    fn flag(world: &World, flag: &str) -> bool {
        every_pod_contains(world, "/spec/containers/0/args", &json!([flag]))
    }
    fn variable(world: &World, name: &str, value: &str) -> bool {
        every_pod_contains(world, "/spec/containers/0/env", &json!([{ "name": name, "value": value }]))
    }
    let pod = |path, value, asks| at(Step::Restart, path, value, asks);
    vec![
        pod("quota", json!("256Mi"), |world, _| flag(world, "--quota-bytes=268435456")),
        pod("raft.heartbeatInterval", json!("140ms"), |world, _| flag(world, "--heartbeat-interval=140ms")),
        pod("raft.electionTimeout", json!("1100ms"), |world, _| flag(world, "--election-timeout=1100ms")),
        pod("raft.leaderLease", json!("510ms"), |world, _| flag(world, "--leader-lease=510ms")),
        pod("raft.leaseReads", json!(true), |world, _| flag(world, "--lease-reads=true")),
        pod("raft.preVote", json!(false), |world, _| flag(world, "--pre-vote=false")),
        pod("raft.commitTimeout", json!("6s"), |world, _| variable(world, "RAFT_NODE_COMMIT_TIMEOUT", "6000ms")),
        pod("raft.maxAppendEntries", json!(65), |world, _| variable(world, "RAFT_NODE_MAX_APPEND_ENTRIES", "65")),
        pod("snapshots.threshold", json!(2000), |world, _| variable(world, "RAFT_NODE_SNAPSHOT_THRESHOLD", "2000")),
        pod("snapshots.retain", json!(4), |world, _| variable(world, "RAFT_NODE_SNAPSHOTS_RETAIN", "4")),
    ]
}

/// The credentials are mounted. Members receive the rest with each call, and a backup names where it went.
fn backup_cases(store: &ObjectStore) -> Vec<Case> {
    let credentials = json!(scenario::backup::CREDENTIALS);
    vec![
        at(Step::Live, "backup.objectStore.bucket", json!(store.bucket), |world, value| {
            world.backup["location"]["bucket"] == *value
        }),
        at(Step::Live, "backup.objectStore.prefix", json!("walk/every-field"), |world, value| {
            world.backup["location"]["prefix"] == *value
        }),
        at(Step::Live, "backup.objectStore.endpoint", json!(store.endpoint), |world, value| {
            world.backup["location"]["endpoint"] == *value
        }),
        at(Step::Live, "backup.objectStore.region", json!(store.region), |world, value| {
            world.backup["location"]["region"] == *value
        }),
        at(Step::Restart, "backup.objectStore.credentialsSecretRef.name", credentials, |world, value| {
            let source = json!([{ "projected": { "sources": [{ "secret": { "name": value } }] } }]);
            every_pod_contains(world, "/spec/volumes", &source)
        }),
    ]
}

/// Fields that reach the objects around the pods, or the number of members.
fn object_cases() -> Vec<Case> {
    const REFUSED: &str = "bootstrap.restore can be neither added nor changed";
    let single = |path| other(path, Value::Null, Reaches::OneValue);
    vec![
        at(Step::Live, "replicas", json!(2), |world, _| world.sets.len() == 2),
        at(Step::Live, "maxVoters", json!(1), |world, _| world.status.number("voters") == 1),
        at(Step::Live, "storage.retention.whenScaled", json!("Retain"), |world, _| world.claims.len() == 3),
        at(Step::Live, "storage.retention.whenDeleted", json!("Delete"), |world, value| {
            world.every_set(|set| set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == *value)
        }),
        at(Step::Live, "replacement.enabled", json!(false), |world, _| {
            let delayed = json!([{ "tolerationSeconds": 77 }]);
            world.every_set(|set| !contains(&set["spec"]["template"]["spec"]["tolerations"], &delayed))
        }),
        other("replacement.maxConcurrent", Value::Null, Reaches::Decision("operator/plan/testdata/replacement.txt")),
        other("rollout", Value::Null, Reaches::Decision("operator/plan/tests/plans/rollouts.rs")),
        // A new member waits for a volume of the class, and the former ones are shown as pending.
        at(Step::Volumes, "storage.size", json!("2Gi"), |world, value| {
            let template = |set: &Value| set["spec"]["volumeClaimTemplates"][0]["spec"].clone();
            world.sets.iter().any(|set| template(set)["resources"]["requests"]["storage"] == *value)
        }),
        at(Step::Volumes, "storage.storageClassName", json!("raft-every-field"), |world, value| {
            let class = |set: &Value| set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] == *value;
            world.sets.iter().any(class) && world.status.reason("Reconciling") == "MovingVolumes"
        }),
        at(Step::Stop, "stopped", json!(true), |world, _| {
            world.every_set(|set| set["spec"]["replicas"] == 0) && world.status.number("replicas") == 0
        }),
        at(Step::Pause, "paused", json!(true), |world, _| world.status.reason("Reconciling") == "Paused"),
        single("tls.client"),
        single("tls.peer"),
        other("bootstrap", json!({ "restore": { "backupName": "walk" } }), Reaches::Refused(REFUSED)),
    ]
}
