//! Which fields of an object its writers own, as server-side apply defines it: the paths of an object, the merge of an
//! applied object into the live one, and the removal of what its applier no longer sends. Owns the lists and maps that
//! merge by key or count as one field. Does not own preconditions or storage (`api_server.rs`).
//!
//! The rules are those of Kubernetes' structured-merge-diff, without defaults and without versions of a schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A step from a value to one that it contains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a list that has these keys.
    Item(String),
}

/// A path from an object to one of its fields.
pub type Path = Vec<Step>;

/// How a writer wrote the fields that it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// By server-side apply. A later apply removes the fields that it no longer contains.
    Apply,
    /// By create, replace or patch.
    Update,
}

/// The part of an object that a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything except the status.
    Main,
    /// The status.
    Status,
}

/// A writer, and the fields that it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOwner {
    /// Name of the writer.
    pub name: String,
    /// How it wrote them. One writer may occur with both operations.
    pub operation: Operation,
    /// The part of the object that it wrote.
    pub part: Part,
    /// The fields.
    pub fields: BTreeSet<Path>,
}

/// Keys that identify the items of a list. An item is identified by those that it has. Empty: the list counts as one
/// field.
fn keys_of(list: &str) -> &'static [&'static str] {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => &["name"],
        "ports" => &["containerPort", "port", "protocol"],
        "volumeMounts" => &["mountPath"],
        "conditions" => &["type"],
        "members" => &["name"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        _ => &[],
    }
}

/// Returns whether each item of a list counts as one field.
fn has_whole_items(list: &str) -> bool {
    matches!(list, "ownerReferences" | "imagePullSecrets")
}

/// Returns whether the items of a list merge by key.
#[must_use]
pub fn has_keys(list: &str) -> bool {
    !keys_of(list).is_empty()
}

fn is_whole_item(path: &[Step]) -> bool {
    matches!(path, [.., Step::Field(list), Step::Item(_)] if has_whole_items(list))
}

/// Returns whether a map counts as one field.
#[must_use]
pub fn is_one_field(map: &str) -> bool {
    matches!(map, "selector" | "nodeSelector" | "labelSelector")
}

fn key(item: &Value, keys: &[&str]) -> String {
    let text = |key: &&str| match item.get(key) {
        Some(value) => Some(value.to_string()),
        // The only key with a default.
        None => (*key == "protocol").then(|| "\"TCP\"".to_owned()),
    };
    keys.iter().filter_map(text).collect::<Vec<_>>().join(",")
}

/// Fields of the metadata that no writer owns.
const OF_NO_WRITER: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
];

/// Returns the paths of all fields that a writer of this part owns if it wrote the whole object.
#[must_use]
pub fn paths(object: &Value, part: Part) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let belongs = match part {
            Part::Main => !matches!(name.as_str(), "apiVersion" | "kind" | "status"),
            Part::Status => name == "status",
        };
        if belongs {
            let mut path = vec![Step::Field(name.clone())];
            collect(value, name, &mut path, &mut found);
        }
    }
    found.retain(|path| match &path[..] {
        [Step::Field(top), Step::Field(name), ..] => top != "metadata" || !OF_NO_WRITER.contains(&name.as_str()),
        _ => true,
    });
    found
}

fn collect(value: &Value, name: &str, path: &mut Path, found: &mut BTreeSet<Path>) {
    match value {
        Value::Null => {}
        Value::Object(fields) if !fields.is_empty() && !is_one_field(name) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                collect(value, name, path, found);
                path.pop();
            }
        }
        Value::Array(items) if !keys_of(name).is_empty() => {
            for item in items {
                path.push(Step::Item(key(item, keys_of(name))));
                found.insert(path.clone());
                if !has_whole_items(name) {
                    collect(item, "", path, found);
                }
                path.pop();
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.insert(path.clone());
        }
    }
}

/// Returns the value at a path.
#[must_use]
pub fn at<'v>(object: &'v Value, path: &[Step]) -> Option<&'v Value> {
    let mut value = object;
    let mut list = "";
    for step in path {
        value = match step {
            Step::Field(name) => {
                list = name;
                value.get(name)?
            }
            Step::Item(wanted) => value.as_array()?.iter().find(|item| key(item, keys_of(list)) == *wanted)?,
        };
    }
    Some(value)
}

/// Merges an applied object into the live one: the applied fields replace the live ones, other fields stay.
pub fn merge(live: &mut Value, applied: &Value, name: &str) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !is_one_field(name) => {
            for (name, value) in applied.iter().filter(|(_, value)| !value.is_null()) {
                merge(live.entry(name.clone()).or_insert(Value::Null), value, name);
            }
        }
        (Value::Array(live), Value::Array(applied)) if !keys_of(name).is_empty() => {
            *live = merge_items(std::mem::take(live), applied, name);
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// Merges the items of two lists: live items that are not applied stay where they are, and the order of the applied
/// ones counts, as in structured-merge-diff.
fn merge_items(live: Vec<Value>, applied: &[Value], list: &str) -> Vec<Value> {
    let keys = keys_of(list);
    let key_of = |item: &Value| key(item, keys);
    let is_applied = |item: &Value| applied.iter().any(|other| key_of(other) == key_of(item));
    let merged = |item: &Value| {
        let same = live.iter().find(|other| key_of(other) == key_of(item));
        let mut merged = same.filter(|_| !has_whole_items(list)).cloned().unwrap_or(Value::Object(Map::new()));
        if has_whole_items(list) {
            merged = item.clone();
        } else {
            merge(&mut merged, item, "");
        }
        merged
    };
    let mut all: Vec<Value> = Vec::new();
    let mut rest = live.iter().peekable();
    // Applied items that the live list has, too, from the next one on.
    let is_live = |item: &&Value| live.iter().any(|other| key_of(other) == key_of(item));
    for item in applied {
        let shared = applied.iter().filter(is_live).find(|item| !all.iter().any(|done| key_of(done) == key_of(item)));
        let shared = shared.map(key_of);
        while let Some(next) = rest.peek() {
            let is_wanted = key_of(next) == key_of(item) || is_applied(next) && shared == Some(key_of(next));
            if is_wanted {
                break;
            }
            if !is_applied(next) {
                all.push((*next).clone());
            }
            rest.next();
        }
        if rest.peek().is_some_and(|next| key_of(next) == key_of(item)) {
            rest.next();
        }
        all.push(merged(item));
    }
    all.extend(rest.filter(|item| !is_applied(item)).cloned());
    all
}

/// Removes a field, and the objects and lists around it that are empty then.
pub fn remove(object: &mut Value, path: &[Step]) {
    remove_in(object, path, "");
}

fn remove_in(value: &mut Value, path: &[Step], list: &str) {
    let Some((step, rest)) = path.split_first() else { return };
    match (value, step) {
        (Value::Object(fields), Step::Field(name)) => {
            let is_empty = match fields.get_mut(name) {
                None => return,
                Some(inner) if !rest.is_empty() => {
                    remove_in(inner, rest, name);
                    inner.as_object().is_some_and(Map::is_empty) || inner.as_array().is_some_and(Vec::is_empty)
                }
                Some(_) => true,
            };
            if is_empty {
                fields.remove(name);
            }
        }
        (Value::Array(items), Step::Item(wanted)) => {
            let keys = keys_of(list);
            if rest.is_empty() {
                items.retain(|item| key(item, keys) != *wanted);
            } else if let Some(item) = items.iter_mut().find(|item| key(item, keys) == *wanted) {
                remove_in(item, rest, "");
            }
        }
        _ => {}
    }
}

/// Maps that Kubernetes drops when they are empty.
const DROPPED_IF_EMPTY: [&str; 5] = ["labels", "annotations", "nodeSelector", "requests", "data"];

/// Applies a merge patch (RFC 7396).
pub fn patch(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            let value = fields.entry(name.clone()).or_insert(Value::Null);
            self::patch(value, change);
            if DROPPED_IF_EMPTY.contains(&name.as_str()) && value.as_object().is_some_and(Map::is_empty) {
                fields.remove(name);
            }
        }
    }
}

/// Returns whether an apply without force is refused: it changes a field that another writer owns.
#[must_use]
pub fn conflicts(managers: &[FieldOwner], name: &str, part: Part, live: &Value, applied: &Value) -> bool {
    let others = managers.iter().filter(|other| other.part == part && !is_applier(other, name));
    let wanted = paths(applied, part);
    // The path of a list's item stands for the item's existence, in which writers never differ.
    let is_value = |path: &&Path| !matches!(path.last(), Some(Step::Item(_))) || is_whole_item(path);
    let mut shared = others.flat_map(|other| other.fields.intersection(&wanted)).filter(is_value);
    shared.any(|path| at(live, path) != at(applied, path))
}

/// Returns the live object after an apply, and changes the writers accordingly. A field that this writer applied
/// before and that the applied object lacks is removed, unless another writer owns it.
pub fn apply(managers: &mut Vec<FieldOwner>, name: &str, part: Part, live: &Value, applied: &Value) -> Value {
    let wanted = paths(applied, part);
    let mut object = live.clone();
    for (field, value) in applied.as_object().into_iter().flatten() {
        if (field == "status") == (part == Part::Status) {
            merge(object.as_object_mut().expect("an object").entry(field.clone()).or_insert(Value::Null), value, field);
        }
    }
    let before = managers.iter().position(|manager| manager.part == part && is_applier(manager, name));
    let former = before.map(|place| managers.remove(place).fields).unwrap_or_default();
    for path in former.difference(&wanted) {
        let others = managers.iter().flat_map(|other| &other.fields);
        let is_shared = others.chain(&wanted).any(|owned| match path.last() {
            // The owner of a field in a list's item does not keep the item.
            Some(Step::Item(_)) => owned == path,
            Some(Step::Field(_)) | None => owned.starts_with(path),
        });
        if !is_shared {
            remove(&mut object, path);
        }
    }
    managers.push(FieldOwner { name: name.to_owned(), operation: Operation::Apply, part, fields: wanted.clone() });
    disown(managers, live, &object, |manager, path| {
        manager.part == part && is_applier(manager, name) && wanted.contains(path)
    });
    object
}

/// Changes the writers after a create, replace or patch that made `now` from `live`.
pub fn update(managers: &mut Vec<FieldOwner>, name: &str, part: Part, live: &Value, now: &Value) {
    let is_changed = |path: &Path| match path.last() {
        Some(Step::Item(_)) if !is_whole_item(path) => at(live, path).is_none(),
        Some(Step::Item(_) | Step::Field(_)) | None => at(live, path) != at(now, path),
    };
    let changed: BTreeSet<Path> = paths(now, part).into_iter().filter(is_changed).collect();
    let is_own =
        |manager: &FieldOwner| manager.name == name && manager.operation == Operation::Update && manager.part == part;
    match managers.iter_mut().find(|manager| is_own(manager)) {
        Some(own) => own.fields.extend(changed),
        None => {
            managers.push(FieldOwner { name: name.to_owned(), operation: Operation::Update, part, fields: changed })
        }
    }
    disown(managers, live, now, |manager, _| is_own(manager));
}

fn is_applier(manager: &FieldOwner, name: &str) -> bool {
    manager.name == name && manager.operation == Operation::Apply
}

/// Takes the changed and the removed fields from all writers, except where `keeps` returns true for a field that still
/// exists.
fn disown(managers: &mut Vec<FieldOwner>, live: &Value, now: &Value, keeps: impl Fn(&FieldOwner, &Path) -> bool) {
    for manager in managers.iter_mut() {
        let mut fields = std::mem::take(&mut manager.fields);
        fields.retain(|path| {
            let value = at(now, path);
            // The path of a list's item stands for the item's existence, which its fields do not change.
            let is_existence = matches!(path.last(), Some(Step::Item(_))) && !is_whole_item(path);
            let is_same = at(live, path) == value || is_existence && at(live, path).is_some();
            value.is_some() && (is_same || keeps(manager, path))
        });
        manager.fields = fields;
    }
    managers.retain(|manager| !manager.fields.is_empty());
}
