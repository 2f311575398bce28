//! Tests that an older operator can read what a newer one wrote.

use crds::{RaftCluster, raft_cluster};
use serde_json::json;

/// After a downgrade the status holds words and fields that this version does not know. They are ignored, because an
/// operator that cannot read a RaftCluster cannot reconcile it.
#[test]
fn a_status_from_a_newer_operator_is_read() {
    let cluster: RaftCluster = serde_json::from_value(json!({
        "apiVersion": "raftoperator.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": { "name": "demo" },
        "spec": {
            "replicas": 3,
            "storage": { "size": "1Gi" },
            "tls": { "client": "Plaintext", "peer": "Plaintext" },
        },
        "status": {
            "observedGeneration": 7,
            "certificates": { "daysLeft": 30 },
            "members": [{ "name": "demo-1", "role": "Witness", "health": "Quarantined", "shard": 4 }],
            "plan": { "steps": [{ "action": "rebalance", "state": "Skipped" }] },
        },
    }))
    .expect("a newer status is no reason to fail");

    let status = cluster.status.expect("the status was given");
    assert_eq!(status.observed_generation, Some(7));
    assert_eq!(status.members[0].role, Some(raft_cluster::MemberRole::Unknown));
    assert_eq!(status.members[0].health, Some(raft_cluster::MemberHealth::Unknown));
    assert_eq!(status.plan.expect("the plan was given").steps[0].state, Some(raft_cluster::StepState::Unknown));
}

/// An absent status field is not written as `null`, because applying a part of the status must neither require nor erase
/// another part.
#[test]
fn an_empty_status_is_written_without_fields() {
    let empty = serde_json::to_value(raft_cluster::RaftClusterStatus::default()).expect("plain data");
    assert_eq!(empty, json!({}));
    let empty = serde_json::to_value(crds::RaftBackupStatus::default()).expect("plain data");
    assert_eq!(empty, json!({}));
}
