//! The simulated API server answers as Kubernetes does: preconditions, owners of fields, immutable fields, refusals.
//! Does not own the comparison with a real API server.

use operators::api_server::fields::Part;
use operators::api_server::{ApiServer, Expected, Kind, Refused, Writer, wall_clock};
use serde_json::{Value, json};
use std::time::Duration;

const OPERATOR: Writer<'static> = Writer { manager: "operator", part: Part::Main };
const PERSON: Writer<'static> = Writer { manager: "person", part: Part::Main };

fn set(spec: &Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "demo-1" }, "spec": spec })
}

fn pod_spec(fields: &Value) -> Value {
    let mut spec =
        json!({ "selector": {}, "template": { "spec": { "containers": [{ "name": "node", "image": "raft-node" }] } } });
    for (name, value) in fields.as_object().expect("fields") {
        spec["template"]["spec"][name] = value.clone();
    }
    spec
}

fn live(api: &ApiServer) -> Value {
    api.get(Kind::StatefulSet, "demo-1", 0).expect("it exists").object.clone()
}

fn in_pod(api: &ApiServer, field: &str) -> Value {
    live(api)["spec"]["template"]["spec"][field].clone()
}

#[test]
fn an_apply_removes_what_its_applier_no_longer_sends() {
    let mut api = ApiServer::default();
    let before = pod_spec(&json!({ "priorityClassName": "high", "nodeSelector": { "disk": "fast" } }));
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &set(&before), true).expect("created");
    api.apply(Kind::StatefulSet, "demo-1", PERSON, &set(&json!({ "minReadySeconds": 5 })), false).expect("applied");
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &set(&pod_spec(&json!({}))), true).expect("applied");
    assert_eq!((in_pod(&api, "priorityClassName"), in_pod(&api, "nodeSelector")), (Value::Null, Value::Null));
    assert_eq!(live(&api)["spec"]["minReadySeconds"], 5, "another applier's field stays");
    assert_eq!(in_pod(&api, "containers")[0]["name"], "node");
}

/// A create is an update, and an apply never removes what was written by an update, even under the same name.
#[test]
fn an_apply_removes_nothing_that_a_create_owns() {
    let mut api = ApiServer::default();
    let before = set(&pod_spec(&json!({ "priorityClassName": "high" })));
    api.post(Kind::StatefulSet, before.clone(), "operator").expect("created");
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &before, true).expect("applied");
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &set(&pod_spec(&json!({}))), true).expect("applied");
    assert_eq!(in_pod(&api, "priorityClassName"), "high");
    let mut whole = set(&pod_spec(&json!({})));
    whole["metadata"]["resourceVersion"] = live(&api)["metadata"]["resourceVersion"].clone();
    api.replace(Kind::StatefulSet, "demo-1", OPERATOR, whole).expect("replaced");
    assert_eq!(in_pod(&api, "priorityClassName"), Value::Null, "a replacement is whole");
}

#[test]
fn an_apply_that_changes_nothing_makes_no_version() {
    let mut api = ApiServer::default();
    let object = set(&pod_spec(&json!({ "volumes": [{ "name": "a" }, { "name": "b" }] })));
    let first = api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &object, true).expect("created");
    let second = api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &object, true).expect("applied");
    assert_eq!(first.object, second.object);
}

#[test]
fn without_force_a_field_of_another_writer_is_a_conflict() {
    let mut api = ApiServer::default();
    let wanted = |class: &str| set(&pod_spec(&json!({ "priorityClassName": class })));
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &wanted("high"), true).expect("created");
    let refused = api.apply(Kind::StatefulSet, "demo-1", PERSON, &wanted("low"), false);
    assert_eq!(refused.expect_err("it is owned"), Refused::Conflict);
    api.apply(Kind::StatefulSet, "demo-1", PERSON, &wanted("low"), true).expect("forced");
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &set(&pod_spec(&json!({}))), true).expect("applied");
    assert_eq!(in_pod(&api, "priorityClassName"), "low", "the former owner does not remove it");
}

#[test]
fn a_write_under_an_old_uid_or_version_is_a_conflict() {
    let mut api = ApiServer::default();
    let now = wall_clock(Duration::ZERO);
    let old = api.post(Kind::StatefulSet, set(&pod_spec(&json!({}))), "operator").expect("created").object.clone();
    let text = |field: &str| old["metadata"][field].as_str().map(str::to_owned);
    let (uid, version) = (text("uid"), text("resourceVersion"));
    let label = |metadata: Value| json!({ "metadata": metadata });
    let patch = label(json!({ "labels": { "a": "b" } }));
    api.merge(Kind::StatefulSet, "demo-1", PERSON, &patch).expect("patched");
    let stale = label(json!({ "resourceVersion": version, "labels": { "a": "c" } }));
    assert_eq!(api.merge(Kind::StatefulSet, "demo-1", OPERATOR, &stale).expect_err("stale"), Refused::Conflict);
    let stale = Expected { uid: uid.clone(), version };
    assert_eq!(api.remove(Kind::StatefulSet, "demo-1", &stale, now), Err(Refused::Conflict));
    api.remove(Kind::StatefulSet, "demo-1", &Expected { uid: uid.clone(), version: None }, now).expect("deleted");
    let mut gone = set(&pod_spec(&json!({})));
    gone["metadata"]["uid"] = json!(uid);
    let refused = api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &gone, true);
    assert_eq!(refused.expect_err("a deleted object is not created again"), Refused::Conflict);
    assert_eq!(api.merge(Kind::StatefulSet, "demo-1", OPERATOR, &patch).expect_err("gone"), Refused::NotFound);
}

#[test]
fn a_claim_template_cannot_be_changed() {
    let mut api = ApiServer::default();
    let wanted = |mode: &str| {
        let mut set = set(&pod_spec(&json!({})));
        set["spec"]["volumeClaimTemplates"] = json!([{ "spec": { "volumeMode": mode } }]);
        set
    };
    api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &wanted("Block"), true).expect("created");
    let refused = api.apply(Kind::StatefulSet, "demo-1", OPERATOR, &wanted("Filesystem"), true);
    assert_eq!(refused.expect_err("immutable"), Refused::Invalid("volumeClaimTemplates"));
}

#[test]
fn a_read_may_lag_but_sees_one_state() {
    let mut api = ApiServer::default();
    api.post(Kind::StatefulSet, set(&pod_spec(&json!({}))), "operator").expect("created");
    api.merge(Kind::StatefulSet, "demo-1", PERSON, &json!({ "metadata": { "labels": { "a": "b" } } }))
        .expect("patched");
    let label =
        |age| api.get(Kind::StatefulSet, "demo-1", age).map(|record| record.object["metadata"]["labels"]["a"].clone());
    assert_eq!((label(0), label(1), label(2)), (Some(json!("b")), Some(Value::Null), None));
    let found = |age| api.list(Kind::StatefulSet, &[], age).len();
    assert_eq!((found(0), found(1), found(2)), (1, 1, 0));
}
