//! Desired objects, one kind per file. Owns their contents, and the comparison of a live object with the desired one.
//! Does not own when they are written (`objects.rs`, `membership`).

pub mod pod_disruption_budget;
pub(crate) mod recorded;
pub mod service;
pub mod stateful_set;

mod digest;
mod pod_template;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::Resource;
use serde::Serialize;
use serde_json::Value;

use crate::names;
use crate::observed;
use crate::quantity;

pub(crate) use digest::digest;

/// Annotates an object with a digest of its own fields. When a later version no longer sets a field, the digest
/// changes, and the object is applied again.
pub(crate) fn stamped<T: Resource + Serialize>(mut object: T) -> T {
    assert!(object.meta().uid.is_none(), "a desired object is no incarnation");
    assert!(
        observed::annotation(object.meta(), names::ANNOTATION_APPLIED).is_none(),
        "a stamp covers no other stamp, otherwise it would change with each version"
    );
    let stamp = digest(&object);
    object.meta_mut().annotations.get_or_insert_default().insert(names::ANNOTATION_APPLIED.to_owned(), stamp);
    object
}

/// The desired object for an apply. `None` if the live object is already as desired.
pub(crate) fn to_apply<T: Resource + Serialize>(wanted: T, live: Option<&T>) -> Option<T> {
    let Some(live) = live else { return Some(wanted) };
    assert_eq!(wanted.meta().name, live.meta().name, "an object is compared with the live one of its own name");
    (!is_applied(&wanted, live)).then_some(wanted)
}

fn is_applied<T: Resource + Serialize>(wanted: &T, live: &T) -> bool {
    let stamp = |meta: &ObjectMeta| observed::annotation(meta, names::ANNOTATION_APPLIED).map(str::to_owned);
    stamp(wanted.meta()) == stamp(live.meta()) && contains(&json(live), &json(wanted))
}

fn json<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("API objects always serialize")
}

/// Returns whether `live` contains everything in `wanted`. Fields that the API server added are ignored.
fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, value)| match live.get(key) {
            Some(found) => contains(found, value),
            None => is_empty(value),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        (Value::String(live), Value::String(wanted)) => live == wanted || same_quantity(live, wanted),
        _ => live == wanted,
    }
}

/// Returns whether the API server drops the value, as it does with empty lists, maps and strings.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Returns whether two strings denote the same quantity. The API server normalizes quantities: `1024Mi` comes back as
/// `1Gi`.
fn same_quantity(live: &str, wanted: &str) -> bool {
    let bytes = |text: &str| quantity::bytes(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.to_owned()));
    bytes(live).is_some_and(|live| bytes(wanted) == Some(live))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_the_api_server_adds_is_no_difference() {
        let wanted = json!({ "spec": { "ports": [{ "port": 1 }], "size": "1024Mi", "args": [] } });
        let live = json!({ "spec": { "ports": [{ "port": 1, "nodePort": 9 }], "size": "1Gi" }, "status": {} });
        assert!(contains(&live, &wanted));
    }

    /// The value of `env: [{name: X}]` defaults to an empty string, which the API server drops.
    #[test]
    fn a_field_that_the_api_server_drops_is_no_difference() {
        let wanted = json!({ "env": [{ "name": "X", "value": "" }], "tolerations": [{ "key": "", "effect": "" }] });
        let live = json!({ "env": [{ "name": "X" }], "tolerations": [{}] });
        assert!(contains(&live, &wanted));
        let changed = json!({ "env": [{ "name": "X", "value": "y" }], "tolerations": [{}] });
        assert!(!contains(&changed, &wanted));
    }

    #[test]
    fn a_field_that_another_manager_changed_is_a_difference() {
        let wanted = json!({ "spec": { "ports": [{ "port": 1 }], "type": "ClusterIP" } });
        for live in [
            json!({ "spec": { "ports": [{ "port": 2 }], "type": "ClusterIP" } }),
            json!({ "spec": { "ports": [{ "port": 1 }, { "port": 2 }], "type": "ClusterIP" } }),
            json!({ "spec": { "ports": [{ "port": 1 }] } }),
        ] {
            assert!(!contains(&live, &wanted), "{live}");
        }
    }
}
