//! Everything in which the simulated API server may differ from the real one, each with the reason why the operator
//! cannot see it. Owns the only list of such differences. Fields that no write of a run contained are not compared:
//! they are defaults that the real server alone sets (`compare.rs`).

use operators::api_server::Kind;
use operators::api_server::fields::{self, Step};
use serde_json::{Value, json};

/// The code that is compared: which code a success has is no difference, because kube and the operator treat all alike.
pub(crate) fn code(code: u16) -> u16 {
    if code < 300 { 200 } else { code }
}

/// Whether a write may make a new version on the real server although it changes nothing: the first write after the
/// creation also stores defaults that were not stored before. The operator then makes one pass more.
pub(crate) fn stores_defaults(kind: Kind, before: Option<&Value>) -> bool {
    let managers = before.and_then(|before| before["metadata"]["managedFields"].as_array());
    matches!(kind, Kind::RaftCluster | Kind::Claim) && managers.is_some_and(|managers| managers.len() < 2)
}

/// Metadata that is compared. UIDs and resource versions are compared by their changes (`compare.rs`), owners of fields
/// in the form of `owners.rs`. Of a time, only whether there is one.
const COMPARED: [&str; 8] = [
    "name",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
];

/// Removes the metadata that is not compared.
pub(crate) fn reduce_metadata(metadata: &mut Value) {
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|name, _| COMPARED.contains(&name.as_str()));
        for name in ["creationTimestamp", "deletionTimestamp"] {
            if let Some(time) = fields.get_mut(name) {
                *time = json!("a time");
            }
        }
    }
}

/// Removes what is no difference.
pub(crate) fn remove(kind: Kind, object: &mut Value) {
    if kind == Kind::Service && object["spec"]["clusterIP"].as_str().is_some_and(|address| address != "None") {
        object["spec"]["clusterIP"] = json!("an address");
    }
    let conditions = object["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten().filter(|condition| condition["type"] == "DisruptionTarget") {
        condition["lastTransitionTime"] = json!("a time");
    }
    remove_empty(object);
}

/// An empty object or list is no difference, because the operator's types do not distinguish it from an absent one.
fn remove_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(remove_empty);
            fields.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(remove_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether the owners of a field are compared. Those of a map or a list itself are not, unless it counts as one field:
/// a writer changes or removes what it contains. Those of the number of replicas of a RaftCluster are not: the real
/// server counts them separately for the subresource `scale`, and no operator writes this number.
pub(crate) fn is_owner_compared(kind: Kind, path: &[Step], shape: &Value) -> bool {
    let replicas = [Step::Field("spec".to_owned()), Step::Field("replicas".to_owned())];
    if kind == Kind::RaftCluster && path == replicas {
        return false;
    }
    match (path.last(), shape) {
        (Some(Step::Field(name)), Value::Object(_)) => fields::is_one_field(name),
        (Some(Step::Field(name)), Value::Array(_)) => !fields::has_keys(name),
        _ => true,
    }
}

/// The object without the owners of its fields, for people.
pub(crate) fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}
