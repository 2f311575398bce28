//! Accepted means applied, or shown as pending: changes every field of a RaftCluster on one running cluster, and asks the
//! pods and objects. The fields come from the installed definition, so that a new field without a case fails the test.
//! Owns where each field is found (`CASES`, in `every_field/cases.rs`). Does not own what a field does.

mod cases;

use std::path::Path;

use dev_cluster::{Run, until};
use scenario::raft_cluster::{RaftCluster, Status};
use serde_json::{Value, json};

use crate::namespace::{NODE, PATIENCE, TestNamespace};
use cases::{Case, Reaches, Step, cases};

/// Another name of the members' image.
const ALIAS: &str = "localhost/raft-node:every-field";
const PRIORITY: &str = "raft-every-field";

/// Everything that a field can reach.
struct World {
    pods: Vec<Value>,
    sets: Vec<Value>,
    claims: Vec<Value>,
    status: Status,
    rollout: Value,
    /// Status of a RaftBackup that was taken after the step.
    backup: Value,
}

impl World {
    fn read(namespace: &TestNamespace, demo: &RaftCluster<'_>, backup: &Value) -> anyhow::Result<Self> {
        let list = |kind: &str| namespace.kubernetes.list(kind, "raftoperator.io/cluster=demo");
        let (pods, sets, claims) = (list("pods")?, list("statefulsets")?, list("persistentvolumeclaims")?);
        let cluster = namespace.kubernetes.get("raftcluster", "demo")?.unwrap_or_default();
        let rollout = cluster["status"]["rollout"].clone();
        Ok(Self { pods, sets, claims, status: demo.status()?, rollout, backup: backup.clone() })
    }

    fn every_pod(&self, holds: impl Fn(&Value) -> bool) -> bool {
        !self.pods.is_empty() && self.pods.iter().all(holds)
    }

    fn every_set(&self, holds: impl Fn(&Value) -> bool) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(holds)
    }
}

#[test]
fn every_field_reaches_each_member_or_is_shown_as_pending() {
    let namespace = TestNamespace::new("every-field");
    let cases = cases(&namespace.store());
    every_field_has_a_case(&namespace, &cases);
    namespace.cluster.tag_image(NODE, ALIAS).expect("an image can have two names");
    let class =
        format!("{{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {{name: {PRIORITY}}}, value: 1}}");
    namespace.kubernetes.apply(&class).expect("the class is created");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change_every_field(&namespace, &cases)));
    namespace.kubernetes.kubectl(["delete", "priorityclass", PRIORITY]).text().expect("the class can be deleted");
    outcome.expect("every field reaches its place");
}

fn change_every_field(namespace: &TestNamespace, cases: &[Case]) {
    namespace.create_credentials();
    let former = "  rollout: {minReadySeconds: 0}\n  backup: {objectStore: {bucket: former, endpoint: 'http://former.invalid:7070', region: former, credentialsSecretRef: {name: former}}}\n";
    let demo = namespace.create("demo", 3, former);
    demo.await_members(3, 0, PATIENCE).expect("three members become Ready");
    for step in [Step::Restart, Step::Live, Step::Volumes, Step::Stop, Step::Pause] {
        let of_step: Vec<&Case> = cases.iter().filter(|case| case.step() == Some(step)).collect();
        change(namespace, &spec_of(&of_step)).expect("the change is admitted");
        let backup = if step == Step::Live { take_backup(namespace) } else { Value::Null };
        until(&format!("{step:?}: every field reaches its place"), PATIENCE * 2, || {
            let world = World::read(namespace, &demo, &backup)?;
            let reached = |case: &&&Case| matches!(case.reaches, Reaches::At(_, asks) if asks(&world, &case.value));
            let missing: Vec<&str> = of_step.iter().filter(|case| !reached(case)).map(|case| case.path).collect();
            anyhow::ensure!(is_counted(&world), "status.rollout is {}", world.rollout);
            let waits = step.settles() && !(world.status.settled() && world.rollout.is_null());
            anyhow::ensure!(missing.is_empty() && !waits, "{missing:?} are missing: {}", world.status.explain());
            Ok(Some(()))
        })
        .expect("accepted means applied");
    }
    for case in cases {
        match case.reaches {
            Reaches::Refused(words) => {
                let refusal = change(namespace, &spec_of(&[case])).expect_err("the change is refused").to_string();
                assert!(refusal.contains(words), "{} is refused without {words:?}: {refusal}", case.path);
            }
            Reaches::Decision(test) => {
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(test);
                assert!(file.exists(), "{}: {} does not exist", case.path, file.display());
            }
            Reaches::At(..) | Reaches::OneValue => {}
        }
    }
}

/// `status.rollout` counts the members that run other settings than the spec asks for, or that did not serve with them
/// yet. It is absent when there is none.
fn is_counted(world: &World) -> bool {
    let (updated, total) = (world.rollout["updated"].as_u64(), world.rollout["total"].as_u64());
    match (updated, total) {
        (Some(updated), Some(total)) => updated < total || !world.status.settled(),
        _ => world.rollout.is_null(),
    }
}

fn change(namespace: &TestNamespace, spec: &Value) -> anyhow::Result<String> {
    let patch = json!({ "spec": spec }).to_string();
    namespace.kubernetes.kubectl(["patch", "raftcluster", "demo", "--type=merge", "--patch", &patch]).text()
}

fn take_backup(namespace: &TestNamespace) -> Value {
    scenario::backup::create(&namespace.kubernetes, "walk", "demo").expect("a backup is admitted");
    scenario::backup::wait_complete(&namespace.kubernetes, "walk", PATIENCE).expect("the backup completes")
}

/// One spec with the value of each case at its path.
fn spec_of(cases: &[&Case]) -> Value {
    let mut spec = json!({});
    for case in cases {
        let mut at = &mut spec;
        for step in case.path.split('.') {
            at = &mut at[step];
        }
        *at = case.value.clone();
    }
    spec
}

fn every_field_has_a_case(namespace: &TestNamespace, cases: &[Case]) {
    let definition = namespace.kubernetes.get("customresourcedefinition", "raftclusters.raftoperator.io");
    let definition = definition.expect("the API server responds").expect("it is installed");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    collect(schema, "", &mut fields);
    assert!(fields.len() > 50, "the definition has more fields than {fields:?}");
    let covers = |case: &Case, field: &str| {
        field.strip_prefix(case.path).is_some_and(|below| below.is_empty() || below.starts_with('.'))
    };
    let without: Vec<&String> = fields.iter().filter(|field| !cases.iter().any(|case| covers(case, field))).collect();
    assert!(without.is_empty(), "fields without a case: {without:?}");
    let stale = cases.iter().find(|case| !fields.iter().any(|field| covers(case, field)));
    assert!(stale.is_none(), "a case without a field: {:?}", stale.map(|case| case.path));
}

/// Collects the paths of all fields that have no fields below them.
fn collect(schema: &Value, path: &str, fields: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        fields.push(path.to_owned());
        return;
    };
    for (name, below) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(below, &path, fields);
    }
}
