//! Tests of the policy that guards clusters' objects against deletion: its expressions are evaluated without an API
//! server. Owns the model of how an API server evaluates the policy. `tests/rings/kubernetes` tries a real one.

use std::collections::BTreeSet;

use kube_core::cel::{AdmissionRequest, GroupVersionResource, VapEvaluator, VapExpression};
use serde_json::{Value, json};

use crate::helm::{self, Helm};

const OPERATOR: &str = "system:serviceaccount:operators:release-raft-operator";
const CONTROLLERS: [&str; 3] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:kube-controller-manager",
];
/// People, tools, controllers that have no reason to delete, and operators of other releases.
const OTHERS: [&str; 5] = [
    "kubernetes-admin",
    "system:serviceaccount:argocd:argocd-application-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
    "system:serviceaccount:operators:other",
    "system:serviceaccount:elsewhere:release-raft-operator",
];

/// The objects that a cluster needs, as resource and name.
const NEEDED: [(&str, &str); 5] = [
    ("statefulsets", "demo-1"),
    ("persistentvolumeclaims", "data-demo-1-0"),
    ("secrets", "demo-identity"),
    ("secrets", "demo-identity-0123abcd"),
    ("secrets", "demo-identity-0123abcd-owned"),
];

/// A request to delete an object.
struct Deletion {
    user: &'static str,
    resource: &'static str,
    object: Value,
    /// The RaftClusters in the namespace of the object.
    clusters: Vec<Value>,
    namespace: Value,
}

impl Deletion {
    /// The deletion of an object of the cluster `demo` while that cluster and another one exist.
    fn of(resource: &'static str, name: &str) -> Self {
        let metadata = |name: &str| json!({ "metadata": { "name": name, "namespace": "team-a" } });
        let mut object = metadata(name);
        object["metadata"]["labels"] = json!({ "raftoperator.io/cluster": "demo" });
        let clusters = ["other", "demo"].map(metadata).to_vec();
        Self { user: OTHERS[0], resource, object, clusters, namespace: metadata("team-a") }
    }

    /// The message of the refusal; `None` if the object may be deleted. Evaluates in the order of an API server: which
    /// objects match, then for each parameter the conditions, and only if all hold the validations.
    fn refusal(&self, policy: &Value) -> Option<String> {
        let spec = &policy["spec"];
        let label = spec["matchConstraints"]["objectSelector"]["matchExpressions"][0]["key"].as_str().expect("a key");
        let has_label = self.object["metadata"]["labels"].get(label).is_some();
        if !has_label || !matched(spec).contains(&format!("DELETE {}", self.resource)) {
            return None;
        }
        self.clusters.iter().find_map(|cluster| {
            let evaluate = |expressions: &Value| {
                let expressions = expressions.as_array().expect("a list").iter().map(expression);
                self.evaluator(cluster).evaluate(&expressions.collect::<Vec<_>>())
            };
            if !evaluate(&spec["matchConditions"]).iter().all(|condition| condition.passed) {
                return None;
            }
            evaluate(&spec["validations"]).into_iter().find_map(|validation| validation.message)
        })
    }

    fn evaluator(&self, cluster: &Value) -> VapEvaluator {
        let resource = GroupVersionResource { resource: self.resource.to_owned(), ..GroupVersionResource::default() };
        let request = AdmissionRequest {
            operation: "DELETE".to_owned(),
            username: self.user.to_owned(),
            namespace: "team-a".to_owned(),
            resource,
            ..AdmissionRequest::default()
        };
        VapEvaluator::builder()
            .old_object(self.object.clone())
            .params(cluster.clone())
            .namespace_object(self.namespace.clone())
            .request(request)
            .build()
    }
}

fn expression(entry: &Value) -> VapExpression {
    VapExpression {
        expression: escaped(entry["expression"].as_str().expect("an expression")),
        message: entry["message"].as_str().map(str::to_owned),
        message_expression: entry["messageExpression"].as_str().map(escaped),
    }
}

/// The evaluator knows no schema, and therefore escapes every key. An API server does not escape the keys of labels and
/// annotations.
fn escaped(expression: &str) -> String {
    expression
        .replace("'raftoperator.io/cluster'", "'raftoperator__dot__io__slash__cluster'")
        .replace("'raftoperator.io/allow-deletion'", "'raftoperator__dot__io__slash__allow__dash__deletion'")
        .replace("metadata.namespace", "metadata.__namespace__")
}

/// The operations that the policy matches, such as `DELETE secrets`.
fn matched(spec: &Value) -> BTreeSet<String> {
    let rules = spec["matchConstraints"]["resourceRules"].as_array().expect("rules");
    rules
        .iter()
        .flat_map(|rule| {
            let operations = crate::words(&rule["operations"]);
            crate::words(&rule["resources"]).into_iter().flat_map(move |resource| {
                operations.clone().into_iter().map(move |operation| format!("{operation} {resource}"))
            })
        })
        .collect()
}

fn guard(helm: &Helm, arguments: &[&str]) -> Option<(Value, Value)> {
    let objects = helm.render("raft-operator", arguments);
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).cloned();
    find("ValidatingAdmissionPolicy").zip(find("ValidatingAdmissionPolicyBinding"))
}

fn policy() -> Value {
    guard(&Helm::find(), &[]).expect("the guard is on by default").0
}

#[test]
fn only_the_operator_and_kubernetes_delete_what_a_cluster_needs() {
    let policy = policy();
    for (resource, name) in NEEDED {
        for user in OTHERS {
            let refusal = Deletion { user, ..Deletion::of(resource, name) }.refusal(&policy);
            let refusal = refusal.unwrap_or_else(|| panic!("{user} may delete {resource} {name}"));
            let mark =
                format!("kubectl annotate --namespace team-a {resource} {name} raftoperator.io/allow-deletion=true");
            for part in ["belongs to the RaftCluster demo", "lower spec.replicas", &mark] {
                assert!(refusal.contains(part), "{part:?} is not in: {refusal}");
            }
            assert!(!refusal.contains('\n'), "the message is one line: {refusal}");
        }
        for user in [OPERATOR].into_iter().chain(CONTROLLERS) {
            assert_eq!(Deletion { user, ..Deletion::of(resource, name) }.refusal(&policy), None, "{user} {resource}");
        }
    }
}

#[test]
fn a_marked_object_can_be_deleted() {
    let policy = policy();
    for (value, is_allowed) in [("true", true), ("false", false), ("", false)] {
        let mut deletion = Deletion::of("persistentvolumeclaims", "data-demo-1-0");
        deletion.object["metadata"]["annotations"] =
            json!({ "raftoperator.io/allow-deletion": value, "other": "true" });
        assert_eq!(deletion.refusal(&policy).is_none(), is_allowed, "{value:?}");
    }
}

#[test]
fn objects_can_be_deleted_once_their_cluster_or_namespace_is_deleted() {
    let policy = policy();
    let deleted = json!("2026-01-01T00:00:00Z");
    for (resource, name) in NEEDED {
        let mut without = Deletion::of(resource, name);
        without.clusters.pop();
        assert_eq!(without.refusal(&policy), None, "{name}: only another cluster exists");
        without.clusters.clear();
        assert_eq!(without.refusal(&policy), None, "{name}: no cluster exists");
        let mut ending = Deletion::of(resource, name);
        ending.clusters[1]["metadata"]["deletionTimestamp"] = deleted.clone();
        assert_eq!(ending.refusal(&policy), None, "{name}: its cluster is being deleted");
        let mut closing = Deletion::of(resource, name);
        closing.namespace["metadata"]["deletionTimestamp"] = deleted.clone();
        assert_eq!(closing.refusal(&policy), None, "{name}: its namespace is being deleted");
    }
}

/// The guard lets an object be deleted before it gets a deletion timestamp. Finalizers may keep it for a while.
#[test]
fn an_object_that_is_being_deleted_can_be_deleted_again() {
    let policy = policy();
    for (resource, name) in NEEDED {
        let mut again = Deletion::of(resource, name);
        again.object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(again.refusal(&policy), None, "{name}");
    }
}

#[test]
fn allowed_users_may_delete() {
    let helm = Helm::find();
    let allowed = &OTHERS[1..3];
    let list = format!("deletionGuard.allowedUsers={{{}}}", allowed.join(","));
    let (policy, _) = guard(&helm, &["--set", &list]).expect("the guard is on");
    for user in OTHERS.into_iter().chain(CONTROLLERS).chain([OPERATOR]) {
        let is_refused =
            Deletion { user, ..Deletion::of("persistentvolumeclaims", "data-demo-1-0") }.refusal(&policy).is_some();
        assert_eq!(is_refused, OTHERS.contains(&user) && !allowed.contains(&user), "{user}");
    }
    let wrong = ["template", "r", &helm::chart("raft-operator"), "--set", "deletionGuard.allowedUsers={it's}"];
    let refusal = helm.run(&wrong).expect_err("the name would end the expression's text");
    assert!(refusal.contains("allowedUsers"), "{refusal}");
}

#[test]
fn other_objects_are_not_guarded() {
    let policy = policy();
    for (resource, name) in [
        ("secrets", "backup-keys"),
        ("persistentvolumeclaims", "demo-dumps"),
        ("statefulsets", "dashboard"),
        ("pods", "demo-1-0"),
    ] {
        assert_eq!(Deletion::of(resource, name).refusal(&policy), None, "{name}");
    }
    let mut unlabelled = Deletion::of("statefulsets", "demo-1");
    unlabelled.object["metadata"]["labels"] = json!({});
    assert_eq!(unlabelled.refusal(&policy), None);
}

/// An error of the policy must never stop the garbage collector.
#[test]
fn the_policy_guards_deletions_only_and_fails_open() {
    let policy = policy();
    let spec = &policy["spec"];
    let wanted = ["DELETE persistentvolumeclaims", "DELETE secrets", "DELETE statefulsets"].map(str::to_owned);
    assert_eq!(matched(spec), BTreeSet::from(wanted));
    assert_eq!(spec["failurePolicy"], "Ignore");
    assert_eq!(spec["paramKind"], json!({ "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster" }));
}

#[test]
fn the_guard_is_bound_to_the_watched_namespaces_and_can_be_turned_off() {
    let helm = Helm::find();
    let (policy, binding) = guard(&helm, &[]).expect("it is on by default");
    // Both are cluster-wide, therefore the name contains the namespace of the release.
    assert_eq!(policy["metadata"]["name"], "release-raft-operator.operators");
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    assert_eq!(binding["spec"]["paramRef"], json!({ "selector": {}, "parameterNotFoundAction": "Allow" }));
    assert_eq!(binding["spec"]["matchResources"], Value::Null, "all namespaces are watched");
    let (_, binding) = guard(&helm, &["--set", "watch.namespaces={team-a,team-b}"]).expect("it is on");
    let selector = &binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0];
    let wanted = json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a", "team-b"] });
    assert_eq!(*selector, wanted);
    assert_eq!(guard(&helm, &["--set", "deletionGuard.enabled=false"]), None);
}

#[test]
fn the_guard_names_the_service_account_that_the_operator_uses() {
    let helm = Helm::find();
    let given = ["--set", "serviceAccount.create=false", "--set", "serviceAccount.name=keeper"];
    let (policy, _) = guard(&helm, &given).expect("it is on");
    let of = |user| Deletion { user, ..Deletion::of("statefulsets", "demo-1") }.refusal(&policy);
    assert_eq!(of("system:serviceaccount:operators:keeper"), None);
    assert!(of(OPERATOR).is_some());
}
