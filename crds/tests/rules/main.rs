//! Tests that bad input is refused with a message that says what to do, and that good input is admitted. Each rule in the
//! definitions must be broken by a case here. The tests in this file use a model of admission; `real.rs` gives the same
//! cases to a real API server.

mod admission;
mod cases;
mod examples;
mod real;

use serde_json::{Value, json};
use std::collections::BTreeSet;

use admission::{admit, schema_of};
use cases::{Case, accepted_in_pods, cluster, refused_at_creation, with};

fn backup() -> Value {
    json!({
        "apiVersion": "raftoperator.io/v1alpha1",
        "kind": "RaftBackup",
        "metadata": { "name": "demo-1", "namespace": "default" },
        "spec": { "clusterName": "demo" },
    })
}

fn store() -> Value {
    json!({ "bucket": "raft", "endpoint": "http://s3:7070", "credentialsSecretRef": { "name": "s3" } })
}

fn refused_as_change() -> Vec<Case> {
    vec![
        (
            "/spec/storage/size",
            json!("512Mi"),
            "storage.size cannot shrink, because Kubernetes cannot make a volume smaller",
        ),
        (
            "/spec/storage/storageClassName",
            json!(null),
            "set storageClassName to the class you want instead of removing it",
        ),
        (
            "/spec/raft",
            json!({ "leaderLease": "200ms", "electionTimeout": "300ms", "leaseReads": true }),
            "change leaderLease and electionTimeout in two steps: members restart one at a time",
        ),
        (
            "/spec/bootstrap/restore/backupName",
            json!("monday"),
            "bootstrap.restore can be neither added nor changed, because it is read only when the cluster is created: to restore a backup, create a RaftCluster with a new name",
        ),
    ]
}

/// The object whose changes [`refused_as_change`] lists.
fn stored() -> Value {
    let sample = with(cluster(), "/spec/storage/storageClassName", json!("standard"));
    admit(&sample, None).expect("the sample is good")
}

fn refusal(resource: &Value, stored: Option<&Value>) -> String {
    admit(resource, stored).expect_err("should be refused").join("\n")
}

#[test]
fn a_bad_cluster_is_refused_with_what_to_do() {
    for (pointer, value, words) in refused_at_creation() {
        let refusal = refusal(&with(cluster(), pointer, value.clone()), None);
        assert!(refusal.contains(words), "{pointer} = {value}: wanted '{words}' in:\n{refusal}");
    }
}

#[test]
fn a_change_that_this_version_cannot_carry_out_is_refused_with_what_to_do() {
    let stored = stored();
    for (pointer, value, words) in refused_as_change() {
        let refusal = refusal(&with(stored.clone(), pointer, value.clone()), Some(&stored));
        assert!(refusal.contains(words), "{pointer} = {value}: wanted '{words}' in:\n{refusal}");
    }
}

/// Members restart with new settings one at a time, so the lease of a member with old settings must be shorter than the
/// election timeout of a member with new settings, and the other way round.
#[test]
fn with_lease_reads_the_lease_and_the_election_timeout_change_one_after_the_other() {
    let timing = |lease: &str, election: &str, reads: bool| {
        let raft = json!({ "leaderLease": lease, "electionTimeout": election, "leaseReads": reads });
        with(cluster(), "/spec/raft", raft)
    };
    let change = |old: &Value, new: &Value| admit(new, Some(&admit(old, None).expect("valid by itself"))).map(drop);
    let (slow, fast) = (timing("500ms", "1s", true), timing("200ms", "300ms", true));
    for (old, new) in [(&slow, &fast), (&fast, &slow), (&timing("500ms", "1s", false), &fast)] {
        let refusal = change(old, new).expect_err("a lease would outlast an election timeout").join("\n");
        assert!(refusal.contains("in two steps"), "{refusal}");
    }
    let between = timing("200ms", "1s", true);
    for (old, new) in [(&slow, &between), (&between, &fast), (&fast, &between), (&between, &slow)] {
        assert_eq!(change(old, new), Ok(()));
    }
    assert_eq!(
        change(&timing("500ms", "1s", false), &timing("200ms", "300ms", false)),
        Ok(()),
        "without lease reads both may change at once"
    );
}

#[test]
fn bootstrap_can_be_removed_and_only_take_up_can_be_added() {
    let restored = with(cluster(), "/spec/bootstrap/restore/backupName", json!("monday"));
    let stored = admit(&restored, None).expect("a restore by name is good");
    let changed = with(stored.clone(), "/spec/bootstrap/restore/backupName", json!("tuesday"));
    assert!(refusal(&changed, Some(&stored)).contains("bootstrap.restore can be neither added nor changed"));
    let plain = with(stored.clone(), "/spec/bootstrap", json!(null));
    assert!(admit(&plain, Some(&stored)).is_ok(), "a consumed restore may leave the spec");
    assert!(refusal(&stored, Some(&plain)).contains("bootstrap.restore can be neither added nor changed"));
    let take_up = |digit: &str| json!({ "takeUp": { "clusterID": digit.repeat(32) } });
    let taken = with(plain.clone(), "/spec/bootstrap", take_up("a"));
    let other = with(plain.clone(), "/spec/bootstrap", take_up("b"));
    for (before, after) in [(&plain, &taken), (&stored, &taken), (&taken, &other), (&taken, &plain)] {
        assert!(admit(after, Some(before)).is_ok(), "{before} {after}");
    }
    assert!(refusal(&stored, Some(&taken)).contains("bootstrap.restore can be neither added nor changed"));
    let both = with(taken, "/spec/bootstrap/restore/backupName", json!("monday"));
    assert!(refusal(&both, None).contains("set exactly one of bootstrap.restore"));
}

const RETENTION: &str = "/spec/storage/retention/whenDeleted";

/// A stopped member has no pod, and Kubernetes would leave the owner of its claim as it is: volumes that the spec retains
/// would go with the RaftCluster.
#[test]
fn the_fate_of_volumes_cannot_change_while_the_cluster_is_stopped() {
    let running = admit(&with(cluster(), RETENTION, json!("Delete")), None).expect("valid");
    let stopped = with(running.clone(), "/spec/stopped", json!(true));
    let refused = refusal(&with(stopped.clone(), RETENTION, json!("Retain")), Some(&stopped));
    assert!(refused.contains("set stopped to false, change whenDeleted once the members run"), "{refused}");
    let retained = with(running.clone(), RETENTION, json!("Retain"));
    let both = with(stopped.clone(), RETENTION, json!("Retain"));
    for (old, new) in [(&running, &retained), (&running, &both), (&stopped, &retained)] {
        assert_eq!(admit(new, Some(old)).map(drop), Ok(()), "its pods exist before or after the change");
    }
    let scaled = with(stopped.clone(), "/spec/replicas", json!(5));
    assert_eq!(admit(&scaled, Some(&stopped)).map(drop), Ok(()), "other fields can change");
}

#[test]
fn a_restore_from_two_places_is_refused() {
    let source = json!({ "objectStore": store(), "clusterID": "0".repeat(32), "manifest": "v1/0/manifest.json" });
    let both = with(cluster(), "/spec/bootstrap/restore", json!({ "backupName": "monday", "source": source }));
    assert!(refusal(&both, None).contains("set exactly one of restore.backupName"));
}

#[test]
fn a_quota_must_fit_into_the_memory_limit() {
    let limited = |memory: &str, quota: &str| {
        with(with(cluster(), "/spec/resources/limits/memory", json!(memory)), "/spec/quota", json!(quota))
    };
    assert!(admit(&limited("1280Mi", "512Mi"), None).is_ok(), "twice the quota plus 256Mi is just enough");
    let refusal = refusal(&limited("1279Mi", "512Mi"), None);
    assert!(refusal.contains("lower quota or raise resources.limits.memory"), "{refusal}");
}

#[test]
fn mutable_fields_can_be_changed() {
    let stored = admit(&cluster(), None).expect("the sample is good");
    let changes = [
        ("/spec/replicas", json!(4)),
        ("/spec/maxVoters", json!(3)),
        ("/spec/image", json!("registry.example/raft-node:2")),
        (
            "/spec/resources",
            json!({ "requests": { "cpu": 1, "memory": "1Gi" }, "limits": { "memory": 2147483648_u64 } }),
        ),
        ("/spec/quota", json!(1073741824)),
        ("/spec/storage/size", json!("1024Mi")),
        ("/spec/storage/size", json!("2Gi")),
        ("/spec/storage/storageClassName", json!("fast")),
        ("/spec/storage/retention/whenDeleted", json!("Delete")),
        ("/spec/raft/electionTimeout", json!("1.5s")),
        ("/spec/raft/heartbeatInterval", json!("500ms")),
        ("/spec/raft/leaderLease", json!("949ms")),
        ("/spec/replacement/delay", json!("5s")),
        ("/spec/tolerations", json!([{ "key": "dedicated", "operator": "Exists" }])),
        ("/spec/topologySpreadConstraints", json!([])),
        ("/spec/pod/env", json!([{ "name": "RAFT_NODE_LOG", "value": "debug" }])),
        ("/spec/backup/objectStore", store()),
        ("/spec/paused", json!(true)),
        ("/metadata/name", json!("a".repeat(40))),
    ];
    for (pointer, value) in changes {
        if let Err(errors) = admit(&with(stored.clone(), pointer, value.clone()), Some(&stored)) {
            panic!("{pointer} = {value}: {errors:?}");
        }
    }
}

#[test]
fn what_kubernetes_accepts_in_a_pod_is_admitted() {
    for (pointer, value) in accepted_in_pods() {
        if let Err(errors) = admit(&with(cluster(), pointer, value.clone()), None) {
            panic!("{pointer} = {value}: {errors:?}");
        }
    }
}

#[test]
fn a_backup_is_immutable_and_full() {
    let stored = admit(&backup(), None).expect("the sample is good");
    assert_eq!(stored["spec"]["type"], "Full");
    let other = with(stored.clone(), "/spec/clusterName", json!("other"));
    assert!(refusal(&other, Some(&stored)).contains("a RaftBackup is taken once and is immutable: create another"));
    let incremental = with(backup(), "/spec/type", json!("Incremental"));
    assert!(refusal(&incremental, None).contains(".spec.type: must be one of"));
}

/// kstatus counts a resource without a status as current. A new resource therefore has a status from the start, because
/// otherwise `helm --wait` would not wait for the resource.
#[test]
fn a_new_resource_has_the_observed_generation_minus_one() {
    for resource in [cluster(), backup()] {
        let stored = admit(&with(resource, "/status", json!(null)), None).expect("the sample is good");
        assert_eq!(stored["status"], json!({ "observedGeneration": -1 }));
    }
}

/// The API server fills in the schema's defaults, the types fill in their own: both must be equal.
#[test]
fn defaults_of_schema_and_types_agree() {
    let stored = admit(&cluster(), None).expect("the sample is good");
    let typed: crds::RaftCluster = serde_json::from_value(cluster()).expect("the sample fits the type");
    assert_eq!(serde_json::to_value(&typed.spec).expect("plain data"), stored["spec"]);
}

#[test]
fn every_rule_is_broken_by_a_case() {
    let mut broken = String::new();
    for (pointer, value, _) in refused_at_creation() {
        broken += &refusal(&with(cluster(), pointer, value), None);
    }
    let stored = stored();
    for (pointer, value, _) in refused_as_change() {
        broken += &refusal(&with(stored.clone(), pointer, value), Some(&stored));
    }
    let stopped = with(stored, "/spec/stopped", json!(true));
    broken += &refusal(&with(stopped.clone(), RETENTION, json!("Delete")), Some(&stopped));
    let taken = admit(&backup(), None).expect("the sample is good");
    broken += &refusal(&with(taken.clone(), "/spec/clusterName", json!("other")), Some(&taken));

    let mut messages = BTreeSet::new();
    for kind in ["RaftCluster", "RaftBackup"] {
        collect_messages(&schema_of(kind), &mut messages);
    }
    assert!(messages.len() >= 20, "rules went missing: {messages:?}");
    let untested: Vec<_> = messages.iter().filter(|message| !broken.contains(message.as_str())).collect();
    assert!(untested.is_empty(), "no case breaks: {untested:#?}");
}

/// Collects the messages of all rules below `schema`. Asserts that a rule points to a field that exists, because the API
/// server refuses the whole definition otherwise.
fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                messages.insert(rule["message"].as_str().expect("every rule has a message").to_owned());
                if let Some(path) = rule.get("fieldPath").and_then(Value::as_str) {
                    assert!(fields["properties"].get(&path[1..]).is_some(), "{path} is not a field next to {rule}");
                }
            }
            fields.values().for_each(|below| collect_messages(below, messages));
        }
        Value::Array(items) => items.iter().for_each(|below| collect_messages(below, messages)),
        _ => {}
    }
}
