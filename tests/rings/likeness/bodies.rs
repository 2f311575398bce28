//! The objects of random writes: for each kind what every object has, and fields that a write may have or lack. They
//! are fields that the operator, its users and Kubernetes' controllers write. Does not own how often each is drawn
//! (`draw.rs`).

use operators::api_server::Kind;
use serde_json::{Map, Value, json};
use world::seed::Random;

use crate::write::resource;

/// A field and its possible values. `0` in a path is the container of the members.
type Field = (&'static str, Vec<Value>);

/// Names of the objects of a kind.
pub(crate) fn names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::RaftCluster => &["demo"],
        Kind::Service => &["demo-members", "demo"],
        Kind::Budget => &["demo"],
        Kind::StatefulSet => &["demo-1", "demo-2"],
        Kind::Pod => &["demo-1-0", "demo-2-0", "demo-3-0"],
        Kind::Claim => &["data-demo-1-0", "data-demo-2-0"],
        Kind::Secret => &["demo-identity", "demo-other"],
        Kind::Lease => &["raft-operator"],
    }
}

/// An object without contents.
pub(crate) fn bare(kind: Kind, name: &str) -> Value {
    let (version, kind, _) = resource(kind);
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } })
}

/// An object with everything that it must have, and some of its other fields.
pub(crate) fn whole(kind: Kind, name: &str, random: &mut Random) -> Value {
    let mut object = bare(kind, name);
    let required = required(kind, name);
    for (field, value) in required.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    for (path, values) in metadata().into_iter().chain(optional(kind)) {
        if random.coin() {
            set(&mut object, path, random.pick(&values).clone());
        }
    }
    object
}

/// An object with a few of its other fields.
pub(crate) fn partial(kind: Kind, name: &str, random: &mut Random) -> Value {
    let mut object = bare(kind, name);
    let all: Vec<Field> = metadata().into_iter().chain(optional(kind)).collect();
    for _ in 0..random.between(1, 3) {
        let (path, values) = random.pick(&all);
        set(&mut object, path, random.pick(values).clone());
    }
    object
}

/// A merge patch of some labels, annotations, and fields outside of lists. Null removes a field.
pub(crate) fn patch(kind: Kind, random: &mut Random) -> Value {
    let mut patch = json!({ "metadata": {} });
    let outside_lists = |(path, values): &Field| !path.contains("/0/") && !values.iter().any(Value::is_array);
    let fields = optional(kind).into_iter().filter(outside_lists);
    let all: Vec<Field> = metadata().into_iter().filter(outside_lists).chain(fields).collect();
    for _ in 0..random.between(1, 3) {
        let (path, values) = random.pick(&all);
        let value = if random.percent(25) { Value::Null } else { random.pick(values).clone() };
        set(&mut patch, path, value);
    }
    patch
}

/// A merge patch of a field that cannot be changed; `None` if every field can.
pub(crate) fn forbidden(kind: Kind, random: &mut Random) -> Option<Value> {
    let changes = match kind {
        Kind::StatefulSet => vec![
            json!({ "serviceName": "other" }),
            json!({ "podManagementPolicy": "OrderedReady" }),
            json!({ "selector": { "matchLabels": { "more": "labels" } } }),
            json!({ "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim_spec("9Gi") }] }),
        ],
        Kind::Service => vec![json!({ "clusterIP": "10.96.0.77" })],
        Kind::Claim => vec![json!({ "storageClassName": "slow" }), json!({ "accessModes": ["ReadWriteMany"] })],
        Kind::Pod => vec![json!({ "nodeName": "other" }), json!({ "hostname": "other" })],
        Kind::Secret => {
            let changes = [
                json!({ "data": { "token": "b3RoZXI=" } }),
                json!({ "immutable": false }),
                json!({ "immutable": null }),
                json!({ "type": "other" }),
            ];
            return Some(random.pick(&changes).clone());
        }
        Kind::RaftCluster | Kind::Budget | Kind::Lease => return None,
    };
    Some(json!({ "spec": random.pick(&changes) }))
}

/// A status as its writer sends it: the operator that of a RaftCluster, controllers and kubelets that of others.
pub(crate) fn status(kind: Kind, random: &mut Random) -> Option<Value> {
    let condition = |kind: &str, random: &mut Random| {
        let status = *random.pick(&["True", "False"]);
        json!({
            "type": kind, "status": status, "reason": "Because", "message": "Why",
            "lastTransitionTime": random.pick(&["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        })
    };
    Some(match kind {
        Kind::RaftCluster => {
            let mut status = json!({ "observedGeneration": random.between(1, 3) });
            let kinds = ["Ready", "Degraded", "Reconciling"].into_iter().filter(|_| random.coin());
            let kinds: Vec<&str> = kinds.collect();
            status["conditions"] = kinds.into_iter().map(|kind| condition(kind, random)).collect();
            for (path, values) in [
                ("/leader", vec![json!("demo-1"), json!("demo-2")]),
                ("/replicas", vec![json!(0), json!(3)]),
                (
                    "/members",
                    vec![
                        json!([{ "name": "demo-1", "health": "Healthy" }]),
                        json!([{ "name": "demo-1", "health": "Unknown", "id": "1" }, { "name": "demo-2" }]),
                    ],
                ),
                ("/plan/targetVoters", vec![json!(["1"]), json!(["1", "2"])]),
            ] {
                if random.coin() {
                    set(&mut status, path, random.pick(&values).clone());
                }
            }
            status
        }
        Kind::Pod => {
            let phase = if random.percent(85) { "Running" } else { random.pick(&["Pending", "Failed", "Succeeded"]) };
            json!({ "phase": phase, "conditions": [condition("Ready", random)] })
        }
        Kind::Claim => {
            json!({ "phase": "Bound", "capacity": { "storage": random.pick(&["1Gi", "2Gi"]) } })
        }
        Kind::Service | Kind::Budget | Kind::StatefulSet | Kind::Secret | Kind::Lease => return None,
    })
}

fn claim_spec(size: &str) -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } })
}

fn required(kind: Kind, name: &str) -> Value {
    let containers = json!([{ "name": "node", "image": "raft-node:1" }]);
    match kind {
        Kind::RaftCluster => json!({ "spec": {
            "replicas": 3, "storage": { "size": "1Gi" }, "tls": { "client": "Plaintext", "peer": "Plaintext" },
        }}),
        Kind::Service => {
            let mut spec = json!({
                "selector": { "cluster": "demo" },
                "ports": [{ "name": "client", "port": 2379, "targetPort": "client", "protocol": "TCP" }],
            });
            if name == "demo-members" {
                spec["clusterIP"] = json!("None");
            }
            json!({ "spec": spec })
        }
        Kind::Budget => {
            json!({ "spec": { "minAvailable": 1, "selector": { "matchLabels": { "role": "voter" } } } })
        }
        Kind::StatefulSet => json!({ "spec": {
            "serviceName": "demo-members",
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "OnDelete" },
            "selector": { "matchLabels": { "member": name } },
            "template": { "metadata": { "labels": { "member": name } }, "spec": { "containers": containers } },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim_spec("1Gi") }],
        }}),
        // A pod without a node would be deleted at once.
        Kind::Pod => json!({
            "metadata": { "name": name, "labels": { "role": "voter" } },
            "spec": { "nodeName": "node-1", "containers": containers },
        }),
        Kind::Claim => {
            let mut spec = claim_spec("1Gi");
            spec["storageClassName"] = json!("fast");
            json!({ "spec": spec })
        }
        Kind::Secret => json!({ "data": { "token": "c2VjcmV0" }, "type": "raftoperator.io/identity" }),
        Kind::Lease => json!({ "spec": { "holderIdentity": "a/1", "leaseDurationSeconds": 15 } }),
    }
}

fn metadata() -> Vec<Field> {
    let owner = |uid: &str| {
        json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster", "name": "demo", "uid": uid,
            "controller": uid == "u-1", "blockOwnerDeletion": true,
        })
    };
    vec![
        ("/metadata/labels/a", vec![json!("1"), json!("2")]),
        ("/metadata/labels/b", vec![json!("1"), json!("2")]),
        ("/metadata/annotations/last", vec![json!("1"), json!("2"), json!("3")]),
        ("/metadata/annotations/note", vec![json!("1"), json!("2")]),
        ("/metadata/ownerReferences", vec![json!([owner("u-1")]), json!([owner("u-2")])]),
    ]
}

fn optional(kind: Kind) -> Vec<Field> {
    match kind {
        Kind::StatefulSet => of_set(),
        Kind::RaftCluster => vec![
            ("/spec/replicas", vec![json!(1), json!(3), json!(5)]),
            ("/spec/image", vec![json!("raft-node:1"), json!("raft-node:2")]),
            ("/spec/stopped", vec![json!(true), json!(false)]),
            ("/spec/paused", vec![json!(true), json!(false)]),
            ("/spec/priorityClassName", vec![json!("high")]),
        ],
        Kind::Service => vec![
            ("/spec/publishNotReadyAddresses", vec![json!(true)]),
            ("/spec/selector", vec![json!({ "cluster": "demo" }), json!({ "cluster": "demo", "role": "voter" })]),
            (
                "/spec/ports",
                vec![
                    json!([{ "name": "client", "port": 2379, "targetPort": "client", "protocol": "TCP" }]),
                    json!([
                        { "name": "client", "port": 2379, "targetPort": "other" },
                        { "name": "peer", "port": 2380, "targetPort": "peer", "protocol": "TCP" },
                    ]),
                ],
            ),
        ],
        Kind::Budget => vec![
            ("/spec/minAvailable", vec![json!(0), json!(1), json!(2)]),
            ("/spec/unhealthyPodEvictionPolicy", vec![json!("IfHealthyBudget"), json!("AlwaysAllow")]),
        ],
        Kind::Pod => vec![
            ("/metadata/labels/role", vec![json!("voter"), json!("learner")]),
            ("/metadata/annotations/served", vec![json!("1")]),
        ],
        Kind::Claim => vec![("/spec/resources/requests/storage", vec![json!("1Gi"), json!("2Gi"), json!("3Gi")])],
        Kind::Secret => {
            vec![("/immutable", vec![json!(true)]), ("/data/voters", vec![json!("YQ=="), json!("Yg==")])]
        }
        Kind::Lease => vec![
            ("/spec/holderIdentity", vec![json!("a/1"), json!("b/2")]),
            ("/spec/leaseTransitions", vec![json!(1), json!(2)]),
            ("/spec/renewTime", vec![json!("2026-01-01T00:00:00.000000Z"), json!("2026-01-01T00:00:05.000000Z")]),
        ],
    }
}

fn of_set() -> Vec<Field> {
    let policy = |when: &str| json!({ "whenDeleted": when, "whenScaled": "Retain" });
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": { "cluster": "demo" } },
    }]);
    let toleration = |seconds: u32| json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds }]);
    let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
    vec![
        ("/spec/replicas", vec![json!(0), json!(1)]),
        ("/spec/minReadySeconds", vec![json!(5)]),
        ("/spec/revisionHistoryLimit", vec![json!(1), json!(2)]),
        ("/spec/persistentVolumeClaimRetentionPolicy", vec![policy("Delete"), policy("Retain")]),
        ("/spec/template/metadata/labels/role", vec![json!("voter"), json!("learner")]),
        ("/spec/template/metadata/annotations/settings", vec![json!("1"), json!("2")]),
        ("/spec/template/spec/nodeSelector/disk", vec![json!("fast"), json!("slow")]),
        ("/spec/template/spec/priorityClassName", vec![json!("high"), json!("low")]),
        ("/spec/template/spec/terminationGracePeriodSeconds", vec![json!(10), json!(20)]),
        ("/spec/template/spec/enableServiceLinks", vec![json!(false)]),
        ("/spec/template/spec/securityContext/runAsUser", vec![json!(1), json!(2)]),
        ("/spec/template/spec/securityContext/fsGroup", vec![json!(1)]),
        ("/spec/template/spec/tolerations", vec![toleration(10), toleration(20)]),
        ("/spec/template/spec/topologySpreadConstraints", vec![spread]),
        (
            "/spec/template/spec/imagePullSecrets",
            vec![json!([{ "name": "one" }]), json!([{ "name": "one" }, { "name": "two" }]), json!([{ "name": "two" }])],
        ),
        (
            "/spec/template/spec/volumes",
            vec![
                json!([{ "name": "scratch", "emptyDir": {} }]),
                json!([{ "name": "scratch", "emptyDir": { "medium": "Memory" } }, { "name": "more", "emptyDir": {} }]),
            ],
        ),
        ("/spec/template/spec/containers/0/image", vec![json!("raft-node:1"), json!("raft-node:2")]),
        ("/spec/template/spec/containers/0/args", vec![json!(["run"]), json!(["run", "--name=demo-1"])]),
        (
            "/spec/template/spec/containers/0/env",
            vec![
                json!([variable("A", "1")]),
                json!([variable("A", "2"), variable("B", "1")]),
                json!([variable("B", "1"), variable("A", "1")]),
            ],
        ),
        (
            "/spec/template/spec/containers/0/ports",
            vec![
                json!([{ "name": "client", "containerPort": 2379, "protocol": "TCP" }]),
                json!([
                    { "name": "client", "containerPort": 2379 },
                    { "name": "peer", "containerPort": 2380, "protocol": "TCP" },
                ]),
            ],
        ),
        ("/spec/template/spec/containers/0/volumeMounts", vec![json!([{ "name": "data", "mountPath": "/data" }])]),
        (
            "/spec/template/spec/containers/0/livenessProbe",
            vec![
                json!({ "httpGet": { "path": "/livez", "port": "metrics" }, "timeoutSeconds": 5 }),
                json!({ "httpGet": { "path": "/readyz", "port": "metrics" }, "timeoutSeconds": 3 }),
            ],
        ),
    ]
}

/// Sets the field at a path, and the objects around it.
pub(crate) fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for step in path.split('/').skip(1) {
        if step == "0" {
            if !place.is_array() {
                *place = json!([{ "name": "node" }]);
            }
            place = &mut place[0];
        } else {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[step];
        }
    }
    *place = value;
}
