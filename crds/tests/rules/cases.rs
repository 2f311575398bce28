//! Owns the specs that each rule refuses, and the sample that they change.

use serde_json::{Value, json};

/// A bad value: where it is put (JSON pointer), the value (null removes the field), and a part of the refusal.
pub(crate) type Case = (&'static str, Value, &'static str);

pub(crate) fn cluster() -> Value {
    json!({
        "apiVersion": "raftoperator.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": { "name": "demo", "namespace": "default" },
        "spec": {
            "replicas": 3,
            "storage": { "size": "1Gi" },
            "tls": { "client": "Plaintext", "peer": "Plaintext" },
        },
    })
}

/// `resource` with `value` at `pointer`. Missing objects on the way are created; null removes the field.
pub(crate) fn with(mut resource: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut resource;
    let mut steps = pointer.trim_start_matches('/').split('/').peekable();
    while let Some(step) = steps.next() {
        let fields = at.as_object_mut().expect("pointers in tests lead through objects");
        match (steps.peek(), value.is_null()) {
            (None, true) => {
                fields.remove(step);
                return resource;
            }
            (None, false) => {
                fields.insert(step.into(), value);
                return resource;
            }
            (Some(_), _) => at = fields.entry(step).or_insert_with(|| json!({})),
        }
    }
    resource
}

/// Specs that are refused when a cluster is created.
pub(crate) fn refused_at_creation() -> Vec<Case> {
    [cluster_cases(), pod_cases(), toleration_cases(), spread_cases(), affinity_cases()].concat()
}

fn cluster_cases() -> Vec<Case> {
    vec![
        (
            "/spec/replicas",
            json!(0),
            "replicas must be at least 1: to stop the cluster and keep its data, set spec.stopped",
        ),
        ("/spec/replicas", json!(-3), "replicas must be at least 1"),
        ("/spec/replicas", json!(51), "replicas must be at most 50"),
        ("/spec/maxVoters", json!(4), "maxVoters must be 1, 3, 5, 7 or 9"),
        ("/spec/maxVoters", json!(11), "maxVoters must be 1, 3, 5, 7 or 9"),
        ("/spec/maxVoters", json!(-1), "maxVoters must be 1, 3, 5, 7 or 9"),
        ("/metadata/name", json!("a".repeat(41)), "choose a name of at most 40 characters"),
        ("/metadata/name", json!("1st"), "starts with a letter"),
        ("/metadata/name", json!("demo.prod"), "choose a name"),
        ("/spec/storage/size", json!("100Mi"), "storage.size must be a quantity of at least 256Mi"),
        ("/spec/storage/size", json!("plenty"), "storage.size must be a quantity"),
        ("/spec/storage/size", json!(0), "storage.size must be a quantity"),
        ("/spec/quota", json!("1Mi"), "quota must be a quantity of bytes from 16Mi to 64Gi"),
        ("/spec/quota", json!("65Gi"), "quota must be a quantity of bytes from 16Mi to 64Gi"),
        ("/spec/quota", json!("lots"), "quota must be a quantity of bytes"),
        (
            "/spec/resources/limits/memory",
            json!("319Mi"),
            "resources.limits.memory must be a quantity of at least 320Mi",
        ),
        ("/spec/resources/limits/memory", json!("much"), "resources.limits.memory must be a quantity"),
        ("/spec/raft/heartbeatInterval", json!("600ms"), "raise electionTimeout or lower heartbeatInterval"),
        ("/spec/raft/heartbeatInterval", json!("9ms"), "heartbeatInterval must be from 10ms to 10s"),
        ("/spec/raft/electionTimeout", json!("61s"), "electionTimeout must be from 100ms to 60s"),
        ("/spec/raft/leaderLease", json!("950ms"), "lower leaderLease or raise electionTimeout"),
        ("/spec/raft/leaderLease", json!("2s"), "lower leaderLease or raise electionTimeout"),
        ("/spec/raft/leaderLease", json!("1ms"), "leaderLease must be from 10ms to 60s"),
        ("/spec/raft/commitTimeout", json!("900ms"), "raise commitTimeout to at least electionTimeout"),
        ("/spec/raft/commitTimeout", json!("6m"), "commitTimeout must be from 100ms to 5m"),
        ("/spec/raft/commitTimeout", json!("soon"), ".raft.commitTimeout: must match"),
        ("/spec/raft/commitTimeout", json!("5"), ".raft.commitTimeout: must match"),
        ("/spec/raft/maxAppendEntries", json!(0), ".raft.maxAppendEntries: out of range"),
        ("/spec/snapshots/retain", json!(0), ".snapshots.retain: out of range"),
        ("/spec/replacement/delay", json!("0s"), "replacement.delay must be from 1s to 24h"),
        ("/spec/replacement/delay", json!("25h"), "to turn replacement off, set replacement.enabled to false"),
        ("/spec/tls", json!(null), ".spec.tls: required"),
        ("/spec/tls/client", json!("TLS"), "tls.client must be Plaintext: this version has no TLS"),
        ("/spec/tls/peer", json!("Mutual"), "tls.peer must be Plaintext: this version has no TLS"),
        ("/spec/bootstrap/restore", json!({}), "set exactly one of restore.backupName"),
        ("/spec/bootstrap", json!({}), "set exactly one of bootstrap.restore"),
        ("/spec/bootstrap/takeUp/clusterID", json!("0123abcd"), "spec.bootstrap.takeUp.clusterID"),
        ("/spec/replica", json!(3), ".spec.replica: unknown field"),
        ("/spec/storage/class", json!("fast"), ".spec.storage.class: unknown field"),
        ("/spec/pod/containers", json!([]), ".spec.pod.containers: unknown field"),
        ("/spec/imagePullPolicy", json!("Sometimes"), ".spec.imagePullPolicy: must be one of"),
        (
            "/spec/pod/env",
            json!([{ "name": "RAFT_NODE_LOG", "value": "info" }, { "name": "RAFT_NODE_QUOTA_BYTES", "value": "1" }]),
            "remove this variable from pod.env: the operator sets it",
        ),
        ("/spec/backup/objectStore", json!({ "bucket": "raft" }), ".credentialsSecretRef: required"),
        (
            "/spec",
            json!({
                "replicas": 3, "storage": { "size": "1Gi" }, "tls": { "client": "Plaintext", "peer": "Plaintext" },
                "quota": "1Gi", "resources": { "limits": { "memory": "1Gi" } },
            }),
            "lower quota or raise resources.limits.memory",
        ),
        ("/spec/rollout", json!({ "progressDeadline": "5s" }), "rollout.progressDeadline must be from 10s to 24h"),
        ("/spec/storage/storageClassName", json!("Fast"), "storageClassName must be the name of a StorageClass"),
    ]
}

/// Faults for which Kubernetes would refuse the members' pods.
fn pod_cases() -> Vec<Case> {
    let resources = |requests: &Value, limits: &Value| json!({ "requests": requests, "limits": limits });
    vec![
        ("/spec/image", json!(" raft-node:1"), "remove the white space"),
        ("/spec/priorityClassName", json!("High Priority"), "priorityClassName must be the name of a PriorityClass"),
        (
            "/spec/resources",
            resources(&json!({ "memory": "6Gi" }), &json!({ "memory": "5Gi" })),
            "lower resources.requests or raise resources.limits",
        ),
        (
            "/spec/resources",
            resources(&json!({ "cpu": 2 }), &json!({ "cpu": "1500m" })),
            "lower resources.requests or raise resources.limits",
        ),
        (
            "/spec/resources",
            resources(&json!({ "example.com/disk": 2 }), &json!({ "example.com/disk": 3 })),
            "Kubernetes does not overcommit them",
        ),
        ("/spec/resources/requests/hugepages-2Mi", json!("2Mi"), "Kubernetes does not overcommit them"),
        ("/spec/resources/requests/cpu", json!("-1"), "an amount must be a quantity that is not negative"),
        ("/spec/resources/requests/cpu", json!("much"), "an amount must be a quantity"),
        ("/spec/resources/requests/cpus", json!(2), "a resource must be cpu, memory"),
        ("/spec/pod/labels", json!({ "team!": "a" }), "the key of a label must be at most 63"),
        ("/spec/pod/labels", json!({ "a/b/c": "a" }), "the key of a label must be at most 63"),
        ("/spec/pod/labels/team", json!("storage and more"), "the value of a label must begin and end"),
        ("/spec/pod/labels/team", json!("a".repeat(64)), ".pod.labels.team"),
        ("/spec/pod/annotations", json!({ "my note": "x" }), "the key of an annotation must be at most 63"),
        ("/spec/nodeSelector", json!({ "disk/": "fast" }), "the key of a label must be at most 63"),
        ("/spec/nodeSelector/disk", json!("-fast"), "the value of a label must begin and end"),
        ("/spec/pod/securityContext/runAsUser", json!(3_000_000_000_i64), "runAsUser must be at most 2147483647"),
        ("/spec/pod/securityContext/runAsGroup", json!(3_000_000_000_i64), "runAsGroup must be at most 2147483647"),
        ("/spec/pod/securityContext/fsGroup", json!(3_000_000_000_i64), "fsGroup must be at most 2147483647"),
    ]
}

fn toleration_cases() -> Vec<Case> {
    let one = |toleration: Value, words| ("/spec/tolerations", json!([toleration]), words);
    vec![
        one(json!({ "key": "my taint", "operator": "Exists" }), "the key of a toleration must be the key of a taint"),
        one(json!({ "key": "dedicated", "operator": "Has" }), "the operator of a toleration must be Equal or Exists"),
        one(json!({ "operator": "Equal", "value": "raft" }), "set the key of the toleration"),
        one(json!({ "effect": "NoSchedule" }), "set the key of the toleration"),
        one(json!({ "key": "dedicated", "operator": "Exists", "value": "raft" }), "remove the value of the toleration"),
        one(json!({ "key": "dedicated", "value": "for raft" }), "the value of a toleration must begin and end"),
        one(
            json!({ "key": "size", "operator": "Gt", "value": "big" }),
            "set the value of the toleration to an integer",
        ),
        one(json!({ "key": "size", "operator": "Lt" }), "set the value of the toleration to an integer"),
        one(
            json!({ "key": "dedicated", "operator": "Exists", "effect": "NoStart" }),
            "the effect of a toleration must be NoSchedule",
        ),
        one(json!({ "key": "dedicated", "operator": "Exists", "tolerationSeconds": 9 }), "remove tolerationSeconds"),
    ]
}

fn spread_cases() -> Vec<Case> {
    let zone = "topology.kubernetes.io/zone";
    let of = |skew: i32, when: &str| json!({ "maxSkew": skew, "topologyKey": zone, "whenUnsatisfiable": when });
    let all = |constraints: &[Value], words| ("/spec/topologySpreadConstraints", json!(constraints), words);
    let but = |field: &str, value: Value| with(of(1, "ScheduleAnyway"), field, value);
    vec![
        all(&[of(0, "DoNotSchedule")], "maxSkew must be at least 1"),
        all(&[but("topologyKey", json!(""))], "topologyKey must be the key of a label of the nodes"),
        all(&[of(1, "Never")], "whenUnsatisfiable must be DoNotSchedule or ScheduleAnyway"),
        all(
            &[but("minDomains", json!(2))],
            "minDomains must be at least 1, and needs whenUnsatisfiable: DoNotSchedule",
        ),
        all(&[with(of(1, "DoNotSchedule"), "minDomains", json!(0))], "minDomains must be at least 1"),
        all(
            &[but("nodeTaintsPolicy", json!("Obey"))],
            "nodeAffinityPolicy and nodeTaintsPolicy must be Honor or Ignore",
        ),
        all(&[but("nodeAffinityPolicy", json!("Obey"))], "nodeAffinityPolicy and nodeTaintsPolicy must be Honor"),
        all(&[of(1, "ScheduleAnyway"), of(2, "ScheduleAnyway")], "merge constraints that have the same topologyKey"),
    ]
}

fn affinity_cases() -> Vec<Case> {
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let node = |requirement: Value, words| {
        let terms = json!([{ "matchExpressions": [requirement] }]);
        ("/spec/affinity", json!({ "nodeAffinity": { REQUIRED: { "nodeSelectorTerms": terms } } }), words)
    };
    let pods = |selector: Value, words| {
        let term = json!({ "topologyKey": "kubernetes.io/hostname", "labelSelector": selector });
        ("/spec/affinity", json!({ "podAntiAffinity": { REQUIRED: [term] } }), words)
    };
    let requires = |operator: &str, values: &[&str]| json!({ "key": "disk", "operator": operator, "values": values });
    let preference = json!({ "matchExpressions": [{ "key": "disk", "operator": "Exists" }] });
    let weighted = json!({ "nodeAffinity": { PREFERRED: [{ "weight": 0, "preference": preference }] } });
    let term = json!({ "weight": 101, "podAffinityTerm": { "topologyKey": "kubernetes.io/hostname" } });
    let by_field = json!([{ "matchFields": [{ "key": "metadata.uid", "operator": "In", "values": ["x"] }] }]);
    vec![
        ("/spec/affinity", weighted, "weight must be from 1 to 100"),
        ("/spec/affinity", json!({ "podAffinity": { PREFERRED: [term] } }), "weight must be from 1 to 100"),
        (
            "/spec/affinity",
            json!({ "nodeAffinity": { REQUIRED: { "nodeSelectorTerms": [] } } }),
            "nodeSelectorTerms needs a term",
        ),
        (
            "/spec/affinity",
            json!({ "nodeAffinity": { REQUIRED: { "nodeSelectorTerms": by_field } } }),
            "matchFields selects by metadata.name",
        ),
        node(requires("Has", &[]), "the operator of a requirement on nodes must be In"),
        node(requires("In", &[]), "set values, because In and NotIn compare with them"),
        node(requires("Exists", &["fast"]), "remove values: Exists and DoesNotExist look at the key alone"),
        node(requires("Gt", &["1", "2"]), "set one value, an integer"),
        node(json!({ "key": "my disk", "operator": "Exists" }), "the key of a requirement must be the key of a label"),
        pods(
            json!({ "matchExpressions": [requires("Gt", &["1"])] }),
            "the operator of a requirement on labels must be In, NotIn, Exists or DoesNotExist",
        ),
        pods(json!({ "matchExpressions": [requires("NotIn", &[])] }), "set values, because In and NotIn compare"),
        pods(json!({ "matchLabels": { "app!": "raft" } }), "the key of a label must be at most 63"),
        pods(json!({ "matchLabels": { "app": "my app" } }), "the value of a label must begin and end"),
        (
            "/spec/affinity",
            json!({ "podAffinity": { REQUIRED: [{ "topologyKey": "" }] } }),
            "topologyKey of a term must be the key of a label of the nodes",
        ),
    ]
}

/// Values that Kubernetes accepts in a pod, so that no rule may refuse them.
pub(crate) fn accepted_in_pods() -> Vec<(&'static str, Value)> {
    let zone =
        json!({ "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule" });
    let node = json!({ "maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule" });
    let same_key = with(zone.clone(), "whenUnsatisfiable", json!("ScheduleAnyway"));
    vec![
        (
            "/spec/resources",
            json!({
                "requests": { "cpu": 2, "memory": "1Gi", "ephemeral-storage": "1Gi", "example.com/disk": "1000m" },
                "limits": { "cpu": "2000m", "memory": "1024Mi", "example.com/disk": 1 },
            }),
        ),
        ("/spec/resources", json!({ "limits": { "memory": "1Gi", "hugepages-2Mi": "2Mi" } })),
        ("/spec/pod/labels", json!({ "team": "", "example.com/Team_1": "a.B-c_9", "x": "a".repeat(63) })),
        ("/spec/pod/annotations", json!({ "Example.COM/Note": "any text: {}", "plain": "" })),
        ("/spec/nodeSelector", json!({ "kubernetes.io/os": "linux", "disk": "" })),
        ("/spec/tolerations", json!([{ "operator": "Exists" }, { "key": "" , "operator": "Exists", "effect": "" }])),
        (
            "/spec/tolerations",
            json!([
                { "key": "dedicated", "value": "raft" },
                { "key": "example.com/dedicated", "operator": "Equal", "value": "", "effect": "NoSchedule" },
                { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9 },
            ]),
        ),
        ("/spec/topologySpreadConstraints", json!([zone, same_key, node])),
        ("/spec/topologySpreadConstraints", json!([with(zone.clone(), "minDomains", json!(3))])),
        (
            "/spec/affinity",
            json!({
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                        { "matchExpressions": [
                            { "key": "example.com/disk", "operator": "NotIn", "values": ["slow"] },
                            { "key": "size", "operator": "Gt", "values": ["5"] },
                        ] },
                        { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["node1"] }] },
                    ] },
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        { "weight": 100, "preference": { "matchExpressions": [{ "key": "disk", "operator": "Exists" }] } },
                    ],
                },
                "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {
                        "matchLabels": { "app": "" },
                        "matchExpressions": [{ "key": "tier", "operator": "DoesNotExist" }],
                    },
                }] },
            }),
        ),
        ("/spec/priorityClassName", json!("system-cluster-critical")),
        ("/spec/image", json!("localhost:5000/raft-node@sha256:00")),
        ("/spec/pod/securityContext", json!({ "runAsUser": 2_147_483_647, "runAsGroup": 1, "fsGroup": 1000 })),
    ]
}
