//! Gives the cases of `cases.rs` to a real API server: it must accept the definitions, refuse what the rules refuse, and
//! still accept updates of objects that were stored before a rule existed.

use dev_cluster::{ApiServer, Run, until};
use serde_json::{Value, json};
use std::time::Duration;

use crate::admission::breaks_only_rules;
use crate::cases::{Case, accepted_in_pods, cluster, refused_at_creation, with};

/// Time within which the API server serves a changed definition.
const PATIENCE: Duration = Duration::from_secs(60);

/// The definition of RaftClusters, with or without its rules.
fn definition(rules: bool) -> Value {
    let definition = crds::definitions().into_iter().find(|definition| definition.spec.names.kind == "RaftCluster");
    let mut definition = serde_json::to_value(definition.expect("RaftCluster is defined")).expect("plain data");
    if !rules {
        remove_rules(&mut definition);
    }
    definition
}

fn remove_rules(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(remove_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_rules),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The object of a case, under a name of its own, and the words of its refusal.
fn objects(cases: &[Case]) -> Vec<(String, Value, &'static str)> {
    let each = cases.iter().enumerate().map(|(place, (pointer, value, words))| {
        let named = with(cluster(), "/metadata/name", json!(format!("case-{place}")));
        let object = with(named, pointer, value.clone());
        (object["metadata"]["name"].as_str().expect("a name").to_owned(), object, *words)
    });
    each.collect()
}

/// Runs kubectl on many objects. Returns what it printed about the objects that were refused.
fn refusals(server: &ApiServer, arguments: &[&str], objects: &[&Value]) -> String {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let file = server.kubeconfig().with_file_name("objects.json");
    std::fs::write(&file, list.to_string()).expect("a temporary file");
    let file = file.to_string_lossy().into_owned();
    let all = [arguments, &["--filename", &file]].concat();
    server.kubectl(all).text().map_or_else(|error| error.to_string(), |_| String::new())
}

/// The part of kubectl's output that is about one object; empty if the object was not refused.
fn about<'r>(refusals: &'r str, name: &str) -> &'r str {
    let begin = refusals.find(&format!("\"{name}\" is invalid")).unwrap_or(refusals.len());
    let rest = &refusals[begin..];
    rest.find("\nThe RaftCluster ").map_or(rest, |end| &rest[..end])
}

fn install(server: &ApiServer, rules: bool) {
    let text = definition(rules).to_string();
    server
        .kubectl(["apply", "--server-side", "--filename", "-"])
        .text_from(text.as_bytes())
        .expect("the definition is accepted");
    let probe = with(cluster(), "/spec/maxVoters", json!(4));
    until("the definition is served", PATIENCE, || {
        let refused = refusals(server, &["create", "--dry-run=server"], &[&probe]);
        let is_served = if rules { refused.contains("maxVoters must be") } else { refused.is_empty() };
        Ok(is_served.then_some(()))
    })
    .expect("the API server serves the definition");
}

/// One server answers all questions, because it takes seconds to start.
#[test]
fn a_real_api_server_enforces_the_rules_and_spares_stored_objects() {
    let server = ApiServer::start(&|line| println!("{line}")).expect("an API server starts");
    let cases = objects(&refused_at_creation());

    install(&server, false);
    let all: Vec<&Value> = cases.iter().map(|(_, object, _)| object).collect();
    refusals(&server, &["create", "--validate=ignore"], &all);
    let stored = server.kubectl(["get", "raftclusters", "--output=name"]).text().expect("they can be listed");
    let stored: Vec<&str> = stored.lines().filter_map(|line| line.split_once('/')).map(|(_, name)| name).collect();

    install(&server, true);
    every_case_is_refused(&server, &cases);
    what_pods_may_contain_is_admitted(&server);
    let breaks_a_rule = |name: &&(String, Value, &str)| stored.contains(&name.0.as_str());
    let old: Vec<_> = cases.iter().filter(breaks_a_rule).collect();
    let expected = cases.iter().filter(|(_, object, _)| breaks_only_rules(object));
    let names = |(name, ..): &(String, Value, &str)| name.clone();
    assert_eq!(
        old.iter().copied().map(names).collect::<Vec<_>>(),
        expected.map(names).collect::<Vec<_>>(),
        "without rules, what breaks only rules is stored"
    );
    stored_objects_can_be_scaled_and_reported_on(&server, &old);
}

fn every_case_is_refused(server: &ApiServer, cases: &[(String, Value, &str)]) {
    let all: Vec<Value> = cases
        .iter()
        .map(|(name, object, _)| {
            let mut object = object.clone();
            // Objects of the same names are stored already.
            object["metadata"]["namespace"] = json!("kube-system");
            assert_eq!(object["metadata"]["name"], json!(name));
            object
        })
        .collect();
    let refused =
        refusals(server, &["create", "--dry-run=server", "--validate=ignore"], &all.iter().collect::<Vec<_>>());
    for (name, object, words) in cases {
        let refusal = about(&refused, name);
        // The model has words of its own for what the schema refuses. The API server drops an unknown field here.
        let wanted = if words.starts_with('.') { "" } else { *words };
        let is_dropped = words.ends_with("unknown field");
        assert!(
            is_dropped || (!refusal.is_empty() && refusal.contains(wanted)),
            "{object}: wanted '{words}' in:\n{refusal}"
        );
    }
}

fn what_pods_may_contain_is_admitted(server: &ApiServer) {
    let good = accepted_in_pods().into_iter().enumerate().map(|(place, (pointer, value))| {
        with(with(cluster(), "/metadata/name", json!(format!("good-{place}"))), pointer, value)
    });
    let good: Vec<Value> = good.collect();
    let refused = refusals(server, &["create", "--dry-run=server"], &good.iter().collect::<Vec<_>>());
    assert_eq!(refused, "");
}

/// Number of objects for one kubectl. After ten requests, two for each object, kubectl sends only five per second.
const AT_ONCE: usize = 5;

fn stored_objects_can_be_scaled_and_reported_on(server: &ApiServer, old: &[&(String, Value, &str)]) {
    let names: Vec<String> = old.iter().map(|(name, ..)| format!("raftclusters/{name}")).collect();
    let patch = |patch| ["patch", "--type=merge", "--patch", patch];
    let spec = patch(r#"{"spec":{"replicas":5}}"#);
    let status = [&patch(r#"{"status":{"leader":"demo-1"}}"#)[..], &["--subresource=status"]].concat();
    for names in names.chunks(AT_ONCE) {
        for change in [&spec[..], &status, &["scale", "--replicas=4"]] {
            let all = change.iter().copied().chain(names.iter().map(String::as_str));
            let changed = server.kubectl(all).text().unwrap_or_else(|error| panic!("they can be changed: {error}"));
            assert_eq!(changed.lines().count(), names.len(), "{changed}");
        }
    }
}
