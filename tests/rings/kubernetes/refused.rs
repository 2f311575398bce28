//! Tests that an object that the API server refuses stops nothing else. Objects that the operator cannot read:
//! `alone/unreadable.rs`.

use dev_cluster::{Run, until};
use scenario::raft_cluster::{RaftCluster, Status};

use crate::namespace::{PATIENCE, TestNamespace};

/// Waits until a status is as asked for, and returns it.
pub(crate) fn await_status(cluster: &RaftCluster<'_>, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    until(what, PATIENCE, || {
        let status = cluster.status()?;
        anyhow::ensure!(holds(&status), "{}", status.explain());
        Ok(Some(status))
    })
    .expect("the operator reports it")
}

/// Messages of the Warning events with this reason about a RaftCluster.
pub(crate) fn warnings(namespace: &TestNamespace, cluster: &str, reason: &str) -> Vec<String> {
    let fields = format!("type=Warning,reason={reason},involvedObject.name={cluster}");
    let template = "{range .items[*]}{.message}{\"\\n\"}{end}";
    let get = ["get", "events", "--field-selector", &fields, "--output", &format!("jsonpath={template}")];
    let text = namespace.kubernetes.kubectl(get).text().expect("events can be listed");
    text.lines().map(str::to_owned).collect()
}

/// The fault is a namespace in `affinity`, which no rule of the definition checks, so that only the API server finds it.
#[test]
fn a_refused_stateful_set_is_named_and_a_lost_member_is_still_replaced() {
    let namespace = TestNamespace::new("refused");
    let demo = namespace.create("demo", 4, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    let term = r#"{"topologyKey": "kubernetes.io/hostname", "namespaces": ["No Namespace"]}"#;
    let affinity = format!(
        r#"{{"spec":{{"affinity":{{"podAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}}}}}}"#
    );
    let patch = |spec: &str| {
        let patch = ["patch", "raftcluster", "demo", "--type=merge", "--patch", spec];
        namespace.kubernetes.kubectl(patch).text().expect("the spec is admitted");
    };
    patch(&affinity);
    let status =
        await_status(&demo, "the refusal is the reason of Ready", |status| status.reason("Ready") == "Refused");
    let message = status.message("Ready");
    assert!(message.contains("StatefulSet demo-") && message.contains("No Namespace"), "{message}");
    let published = until("an event names the refusal", PATIENCE, || {
        Ok(Some(warnings(&namespace, "demo", "Refused")).filter(|published| !published.is_empty()))
    });
    assert!(published.expect("an event is published").iter().all(|message| message.contains("No Namespace")));

    // The member's volume is lost, and the learner takes over its vote.
    let voter = demo.leader().expect("there is a leader");
    let follower = ["demo-1", "demo-2", "demo-3"].into_iter().find(|name| *name != voter).expect("there are three");
    let claim = format!("data-{follower}-0");
    let mark = "raftoperator.io/allow-deletion=true";
    namespace.kubernetes.kubectl(["annotate", "pvc", &claim, mark]).text().expect("the claim is marked");
    namespace.kubernetes.kubectl(["delete", "pvc", &claim, "--wait=false"]).text().expect("the claim is deleted");
    namespace.kubernetes.kubectl(["delete", "pod", &demo.pod(follower)]).text().expect("the pod is deleted");
    await_status(&demo, "the learner has replaced the lost voter", |status| {
        let healthy =
            |name: &str| status.members().iter().any(|(member, health)| member == name && health == "Healthy");
        status.number("voters") == 3 && status.number("failuresTolerated") == 1 && healthy("demo-4")
    });

    patch(r#"{"spec":{"affinity":null}}"#);
    demo.await_members(3, 1, PATIENCE).expect("a new learner is created once the spec is corrected");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
}
