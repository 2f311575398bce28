//! Tests that the pods carry what the spec says, and nothing else: a field that a user removes or changes reaches the
//! pods. Owns the tests that need field managers, defaults and admission of a real API server. Does not own which
//! fields are written, which the planner's tests cover.

use dev_cluster::{Run, until};
use scenario::raft_cluster::RaftCluster;
use serde_json::Value;

use crate::causes::await_reason;
use crate::namespace::{PATIENCE, TestNamespace};

/// An apply after a create removes no field, because Kubernetes counts the two as different writers. So pods kept the
/// selector and the class, got both constraints, and stayed Pending permanently.
#[test]
fn removed_and_changed_fields_reach_the_pods() {
    let namespace = TestNamespace::new("fields");
    let class = "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: raft-fields}, value: 1000}";
    namespace.kubernetes.apply(class).expect("the class is created");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| remove_fields(&namespace)));
    namespace.kubernetes.kubectl(["delete", "priorityclass", "raft-fields"]).text().expect("the class can be deleted");
    outcome.expect("removed fields reach the pods");
}

fn remove_fields(namespace: &TestNamespace) {
    let constraint =
        |when: &str| format!("[{{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: {when}}}]");
    let with = |selector: &str| {
        format!(
            "  nodeSelector: {{{selector}}}\n  priorityClassName: raft-fields\n  topologySpreadConstraints: {}\n",
            constraint("DoNotSchedule")
        )
    };
    let without = format!("  topologySpreadConstraints: {}\n", constraint("ScheduleAnyway"));
    // The pod never started.
    let demo = namespace.create("demo", 1, &with("raft-fields: none"));
    await_reason(&demo, "Unschedulable");
    namespace.create("demo", 1, &without);
    await_plain_pod(namespace, &demo);
    // The pod runs: it is evicted.
    namespace.create("demo", 1, &with("kubernetes.io/os: linux"));
    await_pod(namespace, &demo, "has the selector", |pod| pod["spec"]["nodeSelector"]["kubernetes.io/os"] == "linux");
    namespace.create("demo", 1, &without);
    await_plain_pod(namespace, &demo);
    hold_data_without_an_instance(namespace);
}

/// Waits until the member's pod is ready and carries what is left of the fields.
fn await_plain_pod(namespace: &TestNamespace, demo: &RaftCluster<'_>) {
    await_pod(namespace, demo, "has lost the removed fields", |pod| {
        let spec = &pod["spec"];
        let constraints = spec["topologySpreadConstraints"].as_array().map(Vec::as_slice).unwrap_or_default();
        let words: Vec<&Value> = constraints.iter().map(|constraint| &constraint["whenUnsatisfiable"]).collect();
        spec["nodeSelector"].is_null() && spec["priorityClassName"].is_null() && words == ["ScheduleAnyway"]
    });
}

fn await_pod(namespace: &TestNamespace, demo: &RaftCluster<'_>, what: &str, holds: impl Fn(&Value) -> bool) {
    until(&format!("the pod of demo-1 {what}"), PATIENCE, || {
        let pod = namespace.kubernetes.get("pod", "demo-1-0")?;
        let status = demo.status()?;
        anyhow::ensure!(status.settled(), "{}", status.explain());
        Ok(pod.filter(|pod| holds(pod)).map(|_| ()))
    })
    .expect("the pod carries what the spec says");
}

/// Argo CD deletes objects with the label `app.kubernetes.io/instance` that are not in Git and have no owner. The claim is
/// made one of an older version of the operator, which wrote the label and did not note what it wrote.
fn hold_data_without_an_instance(namespace: &TestNamespace) {
    let older = r#"{"metadata":{"labels":{"app.kubernetes.io/instance":"demo"},"annotations":{"raftoperator.io/applied":null}}}"#;
    let claim = ["patch", "persistentvolumeclaim", "data-demo-1-0", "--type=merge", "--patch", older];
    namespace.kubernetes.kubectl(claim).text().expect("the claim can be labelled");
    until("the label is taken off the claim", PATIENCE, || {
        let labelled = namespace.kubernetes.list("persistentvolumeclaim", "app.kubernetes.io/instance")?;
        Ok(labelled.is_empty().then_some(()))
    })
    .expect("the operator labels the claim as it wants");
    for kind in ["persistentvolumeclaim", "secret"] {
        let labelled = namespace.kubernetes.list(kind, "app.kubernetes.io/instance").expect("they are listed");
        let ours = namespace.kubernetes.list(kind, "raftoperator.io/cluster=demo").expect("they are listed");
        assert_eq!((labelled.len(), ours.len()), (0, 1), "{kind}: {labelled:?}");
    }
}
