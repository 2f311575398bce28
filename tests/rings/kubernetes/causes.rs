//! What a person did wrong shows as a condition that names the cause, nothing is lost, and it mends itself when the
//! cause goes.

use dev_cluster::{Run, until};
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{PATIENCE, TestNamespace};

/// Waits until some condition of the cluster carries the reason.
fn await_reason(cluster: &RaftCluster<'_>, reason: &str) -> String {
    until(&format!("{} tells {reason}", cluster.name), PATIENCE, || {
        let status = cluster.status()?;
        let told = ["Ready", "Reconciling", "Stalled", "Degraded", "BackupReady"].into_iter();
        let found = told.map(|kind| (status.reason(kind), status.message(kind))).find(|(told, _)| told == reason);
        anyhow::ensure!(found.is_some(), "{}", status.explain());
        Ok(found.map(|(_, message)| message))
    })
    .expect("the cause is named")
}

#[test]
fn a_missing_storage_class_is_named_and_the_cluster_starts_once_it_exists() {
    let namespace = TestNamespace::create("storage-class");
    let manifest = "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {name: demo}\nspec: {replicas: 1, \
                    storage: {size: 1Gi, storageClassName: quick}, tls: {client: Plaintext, peer: Plaintext}}\n";
    namespace.kubernetes.apply(manifest).expect("the spec is valid");
    let demo = RaftCluster::named(&namespace.kubernetes, "demo");
    let message = await_reason(&demo, "VolumePending");
    assert!(message.contains("quick"), "the message names the class: {message}");
    let mut class =
        namespace.kubernetes.get("storageclass", "standard").expect("it answers").expect("there is a default");
    let provisioner = class["provisioner"].take();
    let made = format!(
        "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: quick}}, provisioner: {provisioner}, volumeBindingMode: WaitForFirstConsumer}}"
    );
    namespace.kubernetes.apply(&made).expect("a class can be made");
    let started = demo.wait_ready(PATIENCE);
    namespace.kubernetes.kubectl(["delete", "storageclass", "quick"]).text().expect("the class can be deleted");
    started.expect("the cluster starts once the class exists");
}

#[test]
fn an_unschedulable_member_is_named_and_starts_once_a_node_fits() {
    let namespace = TestNamespace::create("unschedulable");
    let demo = namespace.create("demo", 1, "  nodeSelector: {disk: fast}\n");
    await_reason(&demo, "Unschedulable");
    namespace.kubernetes.kubectl(["label", "node", "node1", "disk=fast"]).text().expect("a node can be labelled");
    let started = demo.wait_ready(PATIENCE);
    namespace.kubernetes.kubectl(["label", "node", "node1", "disk-"]).text().expect("the label can go");
    started.expect("the member starts once a node fits");
}

#[test]
fn wrong_credentials_and_a_missing_bucket_are_named_and_mend_when_corrected() {
    let namespace = TestNamespace::create("store");
    let store = namespace.store();
    scenario::backup::create_credentials(&namespace.kubernetes, &store.access_key, "wrong")
        .expect("a Secret can be made");
    let demo = namespace.create("demo", 1, &scenario::backup::store_yaml(&store));
    demo.wait_ready(PATIENCE).expect("members serve without the store");
    await_reason(&demo, "CredentialsRefused");
    namespace.give_credentials();
    await_reason(&demo, "StoreReachable");
    namespace.cluster.stop_object_store().expect("our own server can be stopped");
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| await_reason(&demo, "StoreUnreachable")));
    namespace.cluster.start_object_store().expect("the server starts again");
    told.expect("an outage is told");
    await_reason(&demo, "StoreReachable");
    let elsewhere = r#"{"spec":{"backup":{"objectStore":{"bucket":"nowhere"}}}}"#;
    let patch = ["patch", "raftcluster", "demo", "--type=merge", "--patch", elsewhere];
    namespace.kubernetes.kubectl(patch).text().expect("the bucket can be changed");
    await_reason(&demo, "BucketMissing");
}
