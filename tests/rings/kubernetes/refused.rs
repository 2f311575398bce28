//! Tests that an object that the API server refuses, or that the operator cannot read, stops nothing else.

use dev_cluster::{Run, until};
use scenario::raft_cluster::{RaftCluster, Status};

use crate::namespace::{PATIENCE, TestNamespace};

/// Waits until a status is as asked for, and returns it.
fn await_status(cluster: &RaftCluster<'_>, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    until(what, PATIENCE, || {
        let status = cluster.status()?;
        anyhow::ensure!(holds(&status), "{}", status.explain());
        Ok(Some(status))
    })
    .expect("the operator reports it")
}

/// Messages of the Warning events with this reason about a RaftCluster.
fn warnings(namespace: &TestNamespace, cluster: &str, reason: &str) -> Vec<String> {
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

/// A definition with a value that this operator does not know. It is restored when the test ends, even by a panic.
struct NewerDefinition<'a>(&'a TestNamespace);

const WORDS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/imagePullPolicy/enum";

impl<'a> NewerDefinition<'a> {
    fn install(namespace: &'a TestNamespace) -> Self {
        let newer = Self(namespace);
        newer.patch(&format!(r#"[{{"op":"add","path":"{WORDS}/-","value":"Sometimes"}}]"#));
        newer
    }

    fn patch(&self, patch: &str) {
        let definition = "raftclusters.raftoperator.io";
        let patch = ["patch", "customresourcedefinition", definition, "--type=json", "--patch", patch];
        self.0.kubernetes.kubectl(patch).text().expect("the definition can be changed");
    }
}

impl Drop for NewerDefinition<'_> {
    fn drop(&mut self) {
        let test = format!(r#"{{"op":"test","path":"{WORDS}/3","value":"Sometimes"}}"#);
        self.patch(&format!(r#"[{test},{{"op":"remove","path":"{WORDS}/3"}}]"#));
    }
}

#[test]
fn an_unreadable_cluster_is_reported_on_itself_and_touches_no_other() {
    let namespace = TestNamespace::alone("unreadable");
    let newer = NewerDefinition::install(&namespace);
    let manifest = "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {name: odd}\nspec: {replicas: 1, \
                    storage: {size: 1Gi}, tls: {client: Plaintext, peer: Plaintext}, imagePullPolicy: Sometimes}\n";
    until("the newer definition is served", PATIENCE, || namespace.kubernetes.apply(manifest).map(Some))
        .expect("the value is admitted");
    let odd = RaftCluster::named(&namespace.kubernetes, "odd");
    let status = await_status(&odd, "it is reported", |status| status.reason("Stalled") == "Unreadable");
    assert!(status.is("Stalled"));
    let message = status.message("Stalled");
    assert!(message.contains("imagePullPolicy") && message.contains("Sometimes"), "{message}");
    until("an event names it", PATIENCE, || Ok((!warnings(&namespace, "odd", "Unreadable").is_empty()).then_some(())))
        .expect("an event is published");

    // A new operator lists all clusters at its start.
    let delete = ["delete", "pod", "--namespace", scenario::operator::RELEASE, "--all", "--wait=false"];
    namespace.kubernetes.kubectl(delete).text().expect("the operator's pod is deleted");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("another cluster is managed as always");

    let known = r#"{"spec":{"imagePullPolicy":"IfNotPresent"}}"#;
    let patch = ["patch", "raftcluster", "odd", "--type=merge", "--patch", known];
    namespace.kubernetes.kubectl(patch).text().expect("the field can be corrected");
    odd.wait_ready(PATIENCE).expect("it is managed once it can be read");
    drop(newer);
}
