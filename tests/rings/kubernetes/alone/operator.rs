//! Tests that clusters serve while the operator is stopped, and that a restarted operator continues from the Kubernetes
//! objects alone.

use dev_cluster::{Run, until};

use crate::namespace::{self, PATIENCE, TestNamespace};

#[test]
fn a_change_survives_the_operator_being_restarted_in_the_middle() {
    let namespace = TestNamespace::alone("restart");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    demo.scale(3).expect("kubectl scale is admitted");
    until("the change has begun", PATIENCE, || Ok((demo.claims()?.len() > 1).then_some(())))
        .expect("the change begins");
    let delete = ["delete", "pod", "--namespace", scenario::operator::RELEASE, "--all", "--wait=false"];
    namespace.kubernetes.kubectl(delete).text().expect("the operator's pod is deleted");
    demo.await_members(3, 0, PATIENCE).expect("the new operator finishes the change");
}

#[test]
fn clusters_serve_and_definitions_stay_after_helm_uninstall() {
    let namespace = TestNamespace::alone("uninstall");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    namespace.etcdctl(&demo, &["put", "key", "before"]);
    let uninstalled = scenario::operator::uninstall(&namespace.kubernetes);
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| namespace.etcdctl(&demo, &["get", "key"])));
    // The operator is installed again even if this test failed, because later tests need it.
    namespace::install(&namespace.kubernetes);
    uninstalled.expect("helm uninstalls");
    assert!(served.expect("the cluster serves without its operator").contains("before"));
    demo.scale(3).expect("the definitions are still there");
    demo.await_members(3, 0, PATIENCE).expect("a newly installed operator manages the cluster again");
}
