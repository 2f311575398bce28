//! Tests that a real API server refuses to delete what a live cluster needs, and that nothing else is hindered. Does
//! not own the cases of the policy's expressions, which run without a cluster (`crds/tests/charts`).

use std::collections::BTreeSet;

use dev_cluster::{Run, until};
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{PATIENCE, TestNamespace};

#[test]
fn what_a_live_cluster_needs_is_deleted_only_if_it_is_marked() {
    let namespace = TestNamespace::new("guard");
    let demo = namespace.create("demo", 3, "");
    demo.await_members(3, 0, PATIENCE).expect("the cluster becomes Ready");
    let kubernetes = &namespace.kubernetes;
    let identities = kubernetes.list("secrets", "raftoperator.io/cluster=demo").expect("the API server responds");
    let identity = identities[0]["metadata"]["name"].as_str().expect("objects have names");
    for object in ["statefulset/demo-1", "persistentvolumeclaim/data-demo-1-0", &format!("secret/{identity}")] {
        // The user of these tests has every right.
        let refusal = kubernetes.kubectl(["delete", object]).text().expect_err("it is refused").to_string();
        for part in ["belongs to the RaftCluster demo", "raftoperator.io/allow-deletion=true"] {
            assert!(refusal.contains(part), "{object} is refused without {part:?}: {refusal}");
        }
    }
    let all = ["delete", "statefulsets", "--all"];
    kubernetes.kubectl(all).text().expect_err("deleting all StatefulSets is refused");
    // One request for the whole collection, which kubectl does not send by itself.
    let collection = "/apis/apps/v1/namespaces/guard/statefulsets";
    let refusal = kubernetes.kubectl(["delete", "--raw", collection]).text().expect_err("it is refused").to_string();
    assert!(refusal.contains("belongs to the RaftCluster demo"), "the collection is refused otherwise: {refusal}");
    assert_eq!(kubernetes.list("statefulsets", "").expect("the API server responds").len(), 3, "none is deleted");
    marked_stateful_sets_come_back_on_their_volumes(&namespace, &demo);
    // A bad volume is given up by deleting it with its pod; the member is then replaced.
    let mark = ["annotate", "persistentvolumeclaim", "data-demo-1-0", "raftoperator.io/allow-deletion=true"];
    kubernetes.kubectl(mark).text().expect("a claim can be marked");
    kubernetes
        .kubectl(["delete", "persistentvolumeclaim", "data-demo-1-0", "--wait=false"])
        .text()
        .expect("it is marked");
    kubernetes.kubectl(["delete", "pod", "demo-1-0"]).text().expect("pods are not guarded");
    until("demo-1 is replaced", PATIENCE, || {
        let status = demo.status()?;
        let is_replaced = status.settled() && !status.members().iter().any(|(name, _)| name == "demo-1");
        anyhow::ensure!(is_replaced, "{}", status.explain());
        Ok(Some(()))
    })
    .expect("the member is replaced");
    // The operator deletes StatefulSets, and the garbage collector deletes volume claims.
    demo.scale(1).expect("kubectl scale is admitted");
    demo.await_members(1, 0, PATIENCE).expect("the guard lets the operator scale down");
    until("the volumes of removed members are deleted", PATIENCE, || Ok((demo.claims()?.len() == 1).then_some(())))
        .expect("the guard lets the garbage collector delete");
    demo.delete_with_volumes(PATIENCE).expect("the volume of a deleted cluster can be deleted");
}

/// A person deletes all StatefulSets on purpose, first without their pods, which go on. The volumes are retained, so the
/// cluster is the same afterwards.
fn marked_stateful_sets_come_back_on_their_volumes(namespace: &TestNamespace, demo: &RaftCluster<'_>) {
    let kubernetes = &namespace.kubernetes;
    let uids = |kind: &str| -> BTreeSet<String> {
        let objects = kubernetes.list(kind, "raftoperator.io/cluster=demo").expect("the API server responds");
        objects.iter().filter_map(|object| object["metadata"]["uid"].as_str().map(str::to_owned)).collect()
    };
    namespace.etcdctl(demo, &["put", "kept", "without StatefulSets"]);
    let before = demo.status().expect("the status is readable").text("clusterID");
    let (pods, claims) = (uids("pods"), uids("persistentvolumeclaims"));
    for cascade in ["--cascade=orphan", "--cascade=background"] {
        let sets = uids("statefulsets");
        let mark = ["annotate", "statefulsets", "--all", "raftoperator.io/allow-deletion=true"];
        kubernetes.kubectl(mark).text().expect("StatefulSets can be marked");
        kubernetes.kubectl(["delete", "statefulsets", "--all", cascade]).text().expect("they are marked");
        until("all members are back", PATIENCE, || {
            let status = demo.status()?;
            let now = uids("statefulsets");
            let is_new = now.len() == 3 && now.is_disjoint(&sets);
            anyhow::ensure!(is_new && status.settled(), "{now:?}: {}", status.explain());
            Ok(Some(()))
        })
        .expect("the StatefulSets are created again");
        // Kubernetes deletes the pods of the others a moment later.
        assert!(uids("pods") == pods || cascade != "--cascade=orphan", "pods that are left go on");
    }
    assert_eq!(demo.status().expect("the status is readable").text("clusterID"), before, "nothing was formed");
    assert_eq!(uids("persistentvolumeclaims"), claims, "the volumes are taken up again");
    assert!(namespace.etcdctl(demo, &["get", "kept"]).contains("without StatefulSets"));
}

#[test]
fn a_namespace_with_a_live_cluster_can_be_deleted() {
    let namespace = TestNamespace::new("guarded");
    let demo = namespace.create("demo", 3, "");
    demo.await_members(3, 0, PATIENCE).expect("the cluster becomes Ready");
    namespace.kubernetes.delete_namespace(PATIENCE).expect("the deletion of the namespace ends");
}
