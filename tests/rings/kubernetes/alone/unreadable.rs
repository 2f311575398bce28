//! Tests that a RaftCluster that the operator cannot read stops nothing else. The test changes the definition for all.

use dev_cluster::{Run, until};
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{PATIENCE, TestNamespace};
use crate::refused::{await_status, warnings};

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
