//! Tests another StorageClass and larger volumes on a real Kubernetes: members move one by one, and claims are patched.
//! The provisioner of the dev cluster cannot expand a volume, so the test itself reports the larger capacity. Does not
//! own the order of a move, which the planner's tests cover.

use dev_cluster::{Run, until};
use scenario::raft_cluster::{RaftCluster, Status};
use serde_json::Value;

use crate::namespace::{PATIENCE, TestNamespace};

const CLASS: &str = "raft-volumes";

/// A StorageClass of the dev cluster's provisioner. It is deleted when the test ends, even by a panic.
struct Class<'a>(&'a TestNamespace);

impl<'a> Class<'a> {
    fn create(namespace: &'a TestNamespace) -> Self {
        let standard = namespace.kubernetes.get("storageclass", "standard").expect("the API server responds");
        let provisioner = standard.expect("there is a default class")["provisioner"].take();
        let class = format!(
            "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: {CLASS}}}, provisioner: {provisioner}, allowVolumeExpansion: true, volumeBindingMode: WaitForFirstConsumer}}"
        );
        namespace.kubernetes.apply(&class).expect("the class is created");
        Self(namespace)
    }
}

impl Drop for Class<'_> {
    fn drop(&mut self) {
        self.0.kubernetes.kubectl(["delete", "storageclass", CLASS]).text().expect("the class can be deleted");
    }
}

#[test]
fn volumes_move_to_another_class_one_by_one_and_grow() {
    let namespace = TestNamespace::new("volumes");
    let demo = namespace.create("demo", 3, "");
    demo.await_members(3, 0, PATIENCE).expect("three members become Ready");
    namespace.etcdctl(&demo, &["put", "kept", "over the move"]);
    a_class_without_expansion_refuses_and_says_so(&namespace, &demo);
    edit_storage(&namespace, &format!(r#"{{"storageClassName":"{CLASS}"}}"#));
    a_missing_class_takes_no_member_away(&demo);
    let class = Class::create(&namespace);
    every_member_moves(&namespace, &demo);
    assert!(namespace.etcdctl(&demo, &["get", "kept"]).contains("over the move"));
    claims_are_patched_and_followed(&namespace, &demo);
    drop(class);
}

fn edit_storage(namespace: &TestNamespace, storage: &str) {
    let patch = format!(r#"{{"spec":{{"storage":{storage}}}}}"#);
    let patch = ["patch", "raftcluster", "demo", "--type=merge", "--patch", &patch];
    namespace.kubernetes.kubectl(patch).text().expect("the change is admitted");
}

fn await_status(demo: &RaftCluster<'_>, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    until(what, PATIENCE, || {
        let status = demo.status()?;
        anyhow::ensure!(holds(&status), "{}", status.explain());
        Ok(Some(status))
    })
    .expect("the operator reports it")
}

fn claims(namespace: &TestNamespace) -> Vec<Value> {
    namespace.kubernetes.list("persistentvolumeclaims", "raftoperator.io/cluster=demo").expect("claims are listed")
}

fn requests(namespace: &TestNamespace) -> Vec<String> {
    let request = |claim: Value| claim["spec"]["resources"]["requests"]["storage"].as_str().map(str::to_owned);
    claims(namespace).into_iter().filter_map(request).collect()
}

fn a_class_without_expansion_refuses_and_says_so(namespace: &TestNamespace, demo: &RaftCluster<'_>) {
    edit_storage(namespace, r#"{"size":"2Gi"}"#);
    let status = await_status(demo, "the refusal is reported", |status| status.reason("Ready") == "Refused");
    let message = status.message("Ready");
    assert!(message.contains("growing volume claim data-demo-") && message.contains("resize"), "{message}");
    assert_eq!(requests(namespace), ["1Gi"; 3]);
}

fn a_missing_class_takes_no_member_away(demo: &RaftCluster<'_>) {
    let status = await_status(demo, "the new member waits for its volume", |status| {
        status.reason("Ready") == "VolumePending" && status.reason("Reconciling") == "MovingVolumes"
    });
    assert!(status.message("Ready").contains(CLASS), "{}", status.explain());
    assert_eq!((status.number("voters"), status.number("failuresTolerated")), (3, 1), "{}", status.explain());
}

fn every_member_moves(namespace: &TestNamespace, demo: &RaftCluster<'_>) {
    until("every member has a volume of the class", PATIENCE * 2, || {
        let status = demo.status()?;
        assert!(status.number("voters") >= 3, "a member left before its successor came: {}", status.explain());
        anyhow::ensure!(status.settled(), "{}", status.explain());
        Ok(claims(namespace).iter().all(|claim| claim["spec"]["storageClassName"] == CLASS).then_some(()))
    })
    .expect("members are replaced one by one");
    assert_eq!(requests(namespace), ["2Gi"; 3], "the former volumes are gone, and new ones have the new size");
}

fn claims_are_patched_and_followed(namespace: &TestNamespace, demo: &RaftCluster<'_>) {
    edit_storage(namespace, r#"{"size":"3Gi"}"#);
    let growing = |status: &Status| status.reason("Reconciling") == "GrowingVolumes";
    await_status(demo, "the growth is reported", growing);
    assert_eq!(requests(namespace), ["3Gi"; 3]);
    let names = demo.claims().expect("claims are listed");
    let report = |claim: &str, status: &str| {
        let patch = format!(r#"{{"status":{status}}}"#);
        let patch = ["patch", "pvc", claim, "--subresource=status", "--type=merge", "--patch", &patch];
        namespace.kubernetes.kubectl(patch).text().expect("the status of a claim can be written");
    };
    report(&names[0], r#"{"conditions":[{"type":"FileSystemResizePending","status":"True"}]}"#);
    await_status(demo, "the file system is reported", |status| {
        growing(status) && status.message("Reconciling").contains("its file system is to be resized")
    });
    for claim in &names {
        report(claim, r#"{"capacity":{"storage":"3Gi"},"conditions":null}"#);
    }
    await_status(demo, "the volumes have grown", Status::settled);
    assert_eq!(demo.claims().expect("claims are listed"), names, "growth replaces no member");
}
