//! Tests stopping a cluster and starting it again. Owns the test that needs Kubernetes' StatefulSet controller: pods
//! end, volumes and data stay. Does not own what is planned meanwhile, which the planner's tests cover.

use dev_cluster::{Run, until};

use crate::namespace::{PATIENCE, TestNamespace};

/// The cluster is stopped while it scales up, so that the start has to finish a change.
#[test]
fn a_stopped_cluster_keeps_its_data_and_starts_again() {
    let namespace = TestNamespace::new("stop");
    let demo = namespace.create("demo", 3, "");
    demo.wait_ready(PATIENCE).expect("three members become Ready");
    namespace.etcdctl(&demo, &["put", "kept", "over the stop"]);
    demo.scale(5).expect("kubectl scale is admitted");
    set_stopped(&namespace, true);
    until("the cluster is stopped", PATIENCE, || {
        let status = demo.status()?;
        let pods = namespace.kubernetes.list("pod", "raftoperator.io/cluster=demo")?;
        let stopped = status.is("Ready") && status.reason("Ready") == "Stopped" && status.number("replicas") == 0;
        anyhow::ensure!(stopped && pods.is_empty(), "{} pods; {}", pods.len(), status.explain());
        Ok(Some(()))
    })
    .expect("every pod ends");
    let claims = demo.claims().expect("claims are listed");
    assert!(claims.len() >= 3, "volumes are kept: {claims:?}");
    set_stopped(&namespace, false);
    demo.await_members(5, 0, PATIENCE).expect("the change that was under way ends after the start");
    let kept = demo.claims().expect("claims are listed");
    assert!(claims.iter().all(|claim| kept.contains(claim)), "no member was replaced: {claims:?}, then {kept:?}");
    assert!(namespace.etcdctl(&demo, &["get", "kept"]).contains("over the stop"));
}

fn set_stopped(namespace: &TestNamespace, stopped: bool) {
    let patch = format!("{{\"spec\":{{\"stopped\":{stopped}}}}}");
    let mut kubectl = namespace.kubernetes.kubectl(["patch", "raftcluster", "demo", "--type=merge", "--patch", &patch]);
    kubectl.text().expect("the patch is admitted");
}
