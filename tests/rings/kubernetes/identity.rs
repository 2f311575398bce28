//! Tests that a cluster keeps its identity and its data when a person deletes what carries it. Owns the histories that
//! need Kubernetes' garbage collector and StatefulSet controller. Does not own what is planned meanwhile, which the
//! planner's tests cover.

use dev_cluster::{Run, until};
use scenario::Kubernetes;
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{PATIENCE, TestNamespace};

#[test]
fn a_deleted_cluster_is_taken_up_with_its_data() {
    let namespace = TestNamespace::new("taken-up");
    let demo = namespace.create("demo", 3, "");
    demo.await_members(3, 0, PATIENCE).expect("the cluster becomes Ready");
    namespace.etcdctl(&demo, &["put", "kept", "over the deletion"]);
    await_marked_claims(&namespace.kubernetes, &demo, 3);
    let (cluster, claims) = (cluster_id(&demo), demo.claims().expect("claims are listed"));
    namespace.kubernetes.kubectl(["delete", "raftcluster", "demo"]).text().expect("a RaftCluster can be deleted");
    // At once, while Kubernetes still collects what the former one owned.
    let demo = namespace.create("demo", 3, "");
    demo.await_members(3, 0, PATIENCE).expect("the retained volumes are taken up");
    assert_eq!(cluster_id(&demo), cluster);
    assert_eq!(demo.claims().expect("claims are listed"), claims, "every member is on its volume");
    assert!(namespace.etcdctl(&demo, &["get", "kept"]).contains("over the deletion"));
    namespace.etcdctl(&demo, &["put", "more", "writes"]);
    // It can grow, and can be deleted and taken up again.
    demo.scale(5).expect("kubectl scale is admitted");
    demo.await_members(5, 0, PATIENCE).expect("new members join");
    demo.scale(3).expect("kubectl scale is admitted");
    demo.await_members(3, 0, PATIENCE).expect("surplus members leave");
    await_marked_claims(&namespace.kubernetes, &demo, 3);
    namespace.kubernetes.kubectl(["delete", "raftcluster", "demo"]).text().expect("a RaftCluster can be deleted");
    let demo = namespace.create("demo", 1, "");
    demo.await_members(1, 0, PATIENCE).expect("three members come back, and two of them leave");
    assert!(namespace.etcdctl(&demo, &["get", "more"]).contains("writes"));
}

/// The claims of two clusters are left: the message lists them, and `takeUp` chooses.
#[test]
fn the_spec_chooses_among_the_volumes_of_two_clusters() {
    let namespace = TestNamespace::new("two-generations");
    let demo = namespace.create("demo", 1, "");
    demo.await_members(1, 0, PATIENCE).expect("the cluster becomes Ready");
    namespace.etcdctl(&demo, &["put", "generation", "the first"]);
    await_marked_claims(&namespace.kubernetes, &demo, 1);
    let first = cluster_id(&demo);
    namespace.kubernetes.kubectl(["delete", "raftcluster", "demo"]).text().expect("a RaftCluster can be deleted");
    // A claim that a restore tool brought back, with the labels of another cluster.
    let other = "0123456789abcdef0123456789abcdef";
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data-demo-7-0\n  labels:\n    \
         raftoperator.io/cluster: demo\n    raftoperator.io/cluster-id: '{other}'\n    raftoperator.io/member-id: \
         00000000000000aa\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {{requests: {{storage: 1Gi}}}}\n"
    );
    namespace.kubernetes.apply(&claim).expect("a claim is admitted");
    let demo = namespace.create("demo", 1, "");
    until("the volumes are refused", PATIENCE, || {
        let (reason, message) = (demo.status()?.reason("Stalled"), demo.status()?.message("Stalled"));
        anyhow::ensure!(reason == "RetainedVolumes", "{reason}: {message}");
        for part in [first.as_str(), other, "data-demo-1-0", "data-demo-7-0", "takeUp"] {
            anyhow::ensure!(message.contains(part), "{part} is not in {message}");
        }
        Ok(Some(()))
    })
    .expect("the claims are listed by cluster");
    let patch = format!("{{\"spec\":{{\"bootstrap\":{{\"takeUp\":{{\"clusterID\":\"{first}\"}}}}}}}}");
    let kubectl = ["patch", "raftcluster", "demo", "--type=merge", "--patch", &patch];
    namespace.kubernetes.kubectl(kubectl).text().expect("takeUp may be added");
    demo.await_members(1, 0, PATIENCE).expect("the chosen volume is taken up");
    assert!(namespace.etcdctl(&demo, &["get", "generation"]).contains("the first"));
    let claims = demo.claims().expect("claims are listed");
    assert!(claims.iter().any(|claim| claim.contains("data-demo-7-0")), "the other volume is left alone: {claims:?}");
}

#[test]
fn the_members_service_comes_back_with_its_pointer() {
    let namespace = TestNamespace::new("pointer");
    let demo = namespace.create("demo", 3, "");
    demo.await_members(3, 0, PATIENCE).expect("the cluster becomes Ready");
    namespace.etcdctl(&demo, &["put", "kept", "over the deletion"]);
    await_marked_claims(&namespace.kubernetes, &demo, 3);
    let (before, cluster) = (pointer(&namespace.kubernetes).expect("it is written"), cluster_id(&demo));
    assert!(before.starts_with(&format!("demo-identity-{}", &cluster[..8])), "{before} names {cluster}");
    namespace.kubernetes.kubectl(["delete", "service", "demo-members"]).text().expect("Services are not guarded");
    until("the pointer is back", PATIENCE, || {
        Ok((pointer(&namespace.kubernetes).as_ref() == Some(&before)).then_some(()))
    })
    .expect("the operator points at the same Secret");
    demo.scale(4).expect("kubectl scale is admitted");
    demo.await_members(3, 1, PATIENCE).expect("the cluster goes on");
    assert_eq!(cluster_id(&demo), cluster);
    assert!(namespace.etcdctl(&demo, &["get", "kept"]).contains("over the deletion"));
}

fn cluster_id(cluster: &RaftCluster<'_>) -> String {
    let id = cluster.status().expect("the status is readable").text("clusterID");
    assert_eq!(id.len(), 32, "{id:?} is a cluster ID");
    id
}

fn pointer(kubernetes: &Kubernetes) -> Option<String> {
    let service = kubernetes.get("service", "demo-members").expect("the API server responds")?;
    service["metadata"]["annotations"]["raftoperator.io/identity"].as_str().map(str::to_owned)
}

/// Waits until this many claims say whose data they hold, and that they are no copies.
fn await_marked_claims(kubernetes: &Kubernetes, cluster: &RaftCluster<'_>, count: usize) {
    until("the claims are marked", PATIENCE, || {
        let selector = format!("raftoperator.io/cluster={},raftoperator.io/cluster-id", cluster.name);
        let claims = kubernetes.list("persistentvolumeclaims", &selector)?;
        let is_marked = |claim: &&serde_json::Value| {
            let metadata = &claim["metadata"];
            metadata["annotations"]["raftoperator.io/claim-uid"] == metadata["uid"]
        };
        Ok((claims.iter().filter(is_marked).count() == count && claims.len() == count).then_some(()))
    })
    .expect("members report what their volumes hold");
}
