//! The operator itself comes and goes: clusters do not depend on it, and a restarted one goes on from the world alone.

use dev_cluster::{Run, until};

use crate::namespace::{self, PATIENCE, TestNamespace};

#[test]
fn a_change_survives_the_operator_being_restarted_in_the_middle() {
    let namespace = TestNamespace::create("restart");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    demo.scale(3).expect("kubectl scale is admitted");
    until("the change has begun", PATIENCE, || Ok((demo.claims()?.len() > 1).then_some(()))).expect("it begins");
    let delete = ["delete", "pod", "--namespace", scenario::operator::RELEASE, "--all", "--wait=false"];
    namespace.kubernetes.kubectl(delete).text().expect("the operator's pod goes");
    demo.await_members(3, 0, PATIENCE).expect("the new operator finishes the change");
}

#[test]
fn clusters_serve_and_definitions_stay_after_helm_uninstall() {
    let namespace = TestNamespace::create("uninstall");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    namespace.etcdctl(&demo, &["put", "key", "before"]);
    let uninstalled = scenario::operator::uninstall(&namespace.kubernetes);
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| namespace.etcdctl(&demo, &["get", "key"])));
    // Whatever happened, the tests after this one need the operator.
    namespace::install(&namespace.kubernetes);
    uninstalled.expect("helm uninstalls");
    assert!(served.expect("the cluster serves without its operator").contains("before"));
    demo.scale(3).expect("the definitions are still there");
    demo.await_members(3, 0, PATIENCE).expect("a newly installed operator takes the cluster up again");
}
