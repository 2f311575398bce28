//! Tests that a user's mistake appears as a condition that names the cause, that no data is lost, and that the cluster
//! recovers once the cause is removed.

use dev_cluster::{Run, until};
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{PATIENCE, TestNamespace};

/// Waits until a condition of the cluster has the reason `reason`, and returns the condition's message.
pub(crate) fn await_reason(cluster: &RaftCluster<'_>, reason: &str) -> String {
    until(&format!("{} reports {reason}", cluster.name), PATIENCE, || {
        let status = cluster.status()?;
        let kinds = ["Ready", "Reconciling", "Stalled", "Degraded", "BackupReady"].into_iter();
        let found = kinds.map(|kind| (status.reason(kind), status.message(kind))).find(|(found, _)| found == reason);
        anyhow::ensure!(found.is_some(), "{}", status.explain());
        Ok(found.map(|(_, message)| message))
    })
    .expect("the cause is reported")
}

#[test]
fn a_missing_storage_class_is_named_and_the_cluster_starts_once_it_exists() {
    let namespace = TestNamespace::new("storage-class");
    let manifest = "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {name: demo}\nspec: {replicas: 1, \
                    storage: {size: 1Gi, storageClassName: quick}, tls: {client: Plaintext, peer: Plaintext}}\n";
    namespace.kubernetes.apply(manifest).expect("the spec is valid");
    let demo = RaftCluster::named(&namespace.kubernetes, "demo");
    let message = await_reason(&demo, "VolumePending");
    assert!(message.contains("quick"), "the message names the class: {message}");
    let mut class = namespace
        .kubernetes
        .get("storageclass", "standard")
        .expect("the API server responds")
        .expect("there is a default class");
    let provisioner = class["provisioner"].take();
    let class = format!(
        "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: quick}}, provisioner: {provisioner}, volumeBindingMode: WaitForFirstConsumer}}"
    );
    namespace.kubernetes.apply(&class).expect("the class is created");
    let started = demo.wait_ready(PATIENCE);
    namespace.kubernetes.kubectl(["delete", "storageclass", "quick"]).text().expect("the class can be deleted");
    started.expect("the cluster starts once the class exists");
}

#[test]
fn an_unschedulable_member_is_named_and_starts_once_a_node_fits() {
    let namespace = TestNamespace::new("unschedulable");
    let demo = namespace.create("demo", 1, "  nodeSelector: {disk: fast}\n");
    await_reason(&demo, "Unschedulable");
    namespace.kubernetes.kubectl(["label", "node", "node1", "disk=fast"]).text().expect("a node can be labelled");
    let started = demo.wait_ready(PATIENCE);
    namespace.kubernetes.kubectl(["label", "node", "node1", "disk-"]).text().expect("the label can be removed");
    started.expect("the member starts once a node fits");
}

/// The operator does not see this limit, because the admission of the pod adds it. Each member reads its own.
#[test]
fn the_quota_follows_a_memory_limit_of_the_namespace() {
    let namespace = TestNamespace::new("limit-range");
    let limits = "{apiVersion: v1, kind: LimitRange, metadata: {name: memory}, spec: {limits: [{type: Container, default: {memory: 512Mi}}]}}";
    namespace.kubernetes.apply(limits).expect("the LimitRange is created");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("the cluster starts");
    let status = namespace.etcdctl(&demo, &["endpoint", "status", "--write-out=json"]);
    assert!(status.contains("\"dbSizeQuota\":134217728"), "512Mi minus 256Mi, divided by two: {status}");
}
