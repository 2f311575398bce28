//! Tests that a real API server enforces the admission rules, with messages that say what to do. Does not own the tests
//! of the individual rules, which run without a cluster.

use dev_cluster::Run;

use crate::namespace::TestNamespace;

#[test]
fn invalid_specs_are_refused_with_advice() {
    let namespace = TestNamespace::new("admission");
    let with = |name: &str, spec: &str| {
        format!("apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let tls = "tls: {client: Plaintext, peer: Plaintext}";
    let cases = [
        (
            with("none", &format!("{{replicas: 0, storage: {{size: 1Gi}}, {tls}}}")),
            "to stop the cluster and keep its data, set spec.stopped",
        ),
        (
            with("even", &format!("{{replicas: 3, maxVoters: 4, storage: {{size: 1Gi}}, {tls}}}")),
            "tolerates no more failures",
        ),
        (with("bare", "{replicas: 3, storage: {size: 1Gi}}"), "tls"),
        (with(&"long".repeat(11), &format!("{{replicas: 3, storage: {{size: 1Gi}}, {tls}}}")), "at most 40 characters"),
        (with("unknown", &format!("{{replicas: 3, replica: 5, storage: {{size: 1Gi}}, {tls}}}")), "replica"),
    ];
    for (manifest, expected) in cases {
        let mut kubectl = namespace.kubernetes.kubectl(["apply", "--validate=strict", "-f", "-"]);
        let refusal = kubectl.text_from(manifest.as_bytes()).expect_err("an invalid spec is refused").to_string();
        assert!(refusal.contains(expected), "{manifest}\nis refused without {expected:?}: {refusal}");
    }
}

#[test]
fn changes_that_cannot_be_carried_out_are_refused() {
    let namespace = TestNamespace::new("immutable");
    // The cluster is created paused, so that the operator starts no member.
    namespace.create("demo", 1, "  paused: true\n");
    for (patch, expected) in [
        (r#"{"spec":{"storage":{"size":"512Mi"}}}"#, "storage.size cannot shrink"),
        (
            r#"{"spec":{"bootstrap":{"restore":{"backupName":"monday"}}}}"#,
            "bootstrap.restore can be neither added nor changed",
        ),
    ] {
        let mut kubectl =
            namespace.kubernetes.kubectl(["patch", "raftcluster", "demo", "--type=merge", "--patch", patch]);
        let refusal = kubectl.text().expect_err("the change is refused").to_string();
        assert!(refusal.contains(expected), "{patch} is refused without {expected:?}: {refusal}");
    }
}
