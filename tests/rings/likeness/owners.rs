//! The owners of an object's fields, in one form for both servers. Owns the conversion from the simulated server's
//! records, and from Kubernetes' `managedFields`.

use std::collections::{BTreeMap, BTreeSet};

use operators::api_server::fields::{FieldOwner, Operation, Part, Step};
use serde_json::Value;

/// The fields of each owner. An owner is a manager, its operation, and whether it wrote the status.
pub(crate) type Owned = BTreeMap<(String, &'static str, bool), BTreeSet<Vec<Step>>>;

/// Converts the records of the simulated server.
pub(crate) fn of_simulated(managers: &[FieldOwner]) -> Owned {
    let mut owned = Owned::new();
    for manager in managers {
        let operation = match manager.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let key = (manager.name.clone(), operation, manager.part == Part::Status);
        owned.entry(key).or_default().extend(manager.fields.iter().cloned());
    }
    owned
}

/// Converts `managedFields`.
pub(crate) fn of_real(object: &Value) -> Owned {
    let mut owned = Owned::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let operation = if entry["operation"] == "Apply" { "Apply" } else { "Update" };
        let manager = entry["manager"].as_str().unwrap_or_default().to_owned();
        let fields = owned.entry((manager, operation, entry["subresource"] == "status")).or_default();
        collect(&entry["fieldsV1"], &mut Vec::new(), fields);
    }
    owned
}

fn collect(fields: &Value, path: &mut Vec<Step>, found: &mut BTreeSet<Vec<Step>>) {
    let children: Vec<_> = fields.as_object().into_iter().flatten().filter(|(name, _)| *name != ".").collect();
    // The dot of a map stands for the map itself, which no writer removes while it has fields.
    let is_item = matches!(path.last(), Some(Step::Item(_)));
    let is_itself = fields.get(".").is_some();
    if children.is_empty() && !is_itself || is_item && is_itself {
        found.insert(path.clone());
    }
    for (name, inner) in children {
        path.push(match name.split_once(':') {
            Some(("f", field)) => Step::Field(field.to_owned()),
            Some(("k", keys)) => Step::Item(item(keys)),
            Some((_, value)) => Step::Item(value.to_owned()),
            None => panic!("{name} is no step of a path"),
        });
        collect(inner, path, found);
        path.pop();
    }
}

fn item(keys: &str) -> String {
    let keys: BTreeMap<String, Value> = serde_json::from_str(keys).expect("the keys of an item");
    keys.values().map(Value::to_string).collect::<Vec<_>>().join(",")
}
