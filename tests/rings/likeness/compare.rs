//! Compares the answers of both servers to a write, and the objects after it. Owns what must be equal. Does not own the
//! exceptions (`exceptions.rs`).

use std::collections::{BTreeMap, BTreeSet};

use operators::api_server::Kind;
use operators::api_server::fields::Step;
use serde_json::{Map, Value, json};

use crate::exceptions;
use crate::owners::Owned;
use crate::server::Answer;
use crate::write::{Action, Write};

/// Writes and answers that must occur in a usual run; otherwise it proves little.
const OCCUR: &[(&str, &[u16])] = &[
    ("Create", &[201, 409]),
    ("Apply", &[200, 201, 409, 422]),
    ("ApplyStatus", &[200]),
    ("Replace", &[200, 404, 409, 422]),
    ("Merge", &[200, 404, 409, 422]),
    ("MergeStatus", &[200]),
    ("Scale", &[200]),
    ("Delete", &[200, 404, 409]),
    ("Evict", &[201, 409, 429]),
    ("Get", &[200]),
    ("List", &[200]),
];

/// The comparison of all runs.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// The shape of everything that was written so far to objects of a kind. The real server sets further fields, which
    /// are not compared.
    written: BTreeMap<Kind, Value>,
    counts: BTreeMap<(&'static str, u16), u32>,
}

impl Comparison {
    /// Returns the differences between both answers, one line each.
    pub(crate) fn differences(&mut self, write: &Write, simulated: &Answer, real: &Answer) -> Vec<String> {
        if let Some(contents) = write.contents() {
            add_shape(self.written.entry(write.kind).or_insert(Value::Null), contents);
        }
        *self.counts.entry((name(&write.action), real.code)).or_default() += 1;
        let mut found = Vec::new();
        let mut compare = |what: &str, simulated: String, real: String| {
            if simulated != real {
                found.push(format!("{what}: simulated {simulated}, real {real}"));
            }
        };
        compare("code", exceptions::code(simulated.code).to_string(), exceptions::code(real.code).to_string());
        compare("reason", simulated.reason.clone(), real.reason.clone());
        for field in ["uid", "resourceVersion"] {
            let effects = (effect(simulated, field), effect(real, field));
            if effects == ("unchanged", "changed") && exceptions::stores_defaults(write.kind, real.before.as_ref()) {
                continue;
            }
            compare(field, effects.0.to_owned(), effects.1.to_owned());
        }
        compare("names", format!("{:?}", simulated.names()), format!("{:?}", real.names()));
        compare("answer", is_newest(write, simulated).to_string(), is_newest(write, real).to_string());
        let shape = self.written.get(&write.kind).cloned().unwrap_or_default();
        let object = |answer: &Answer| answer.after.as_ref().map(|object| comparable(write.kind, object, &shape));
        let (ours, theirs) = (object(simulated).unwrap_or_default(), object(real).unwrap_or_default());
        let mut paths = Vec::new();
        differ(&ours, &theirs, "", &mut paths);
        for (path, ours, theirs) in paths {
            compare(&path, ours, theirs);
        }
        let owned = |answer: &Answer| known_owners(write.kind, &answer.owned, &shape);
        let (ours, theirs) = (owned(simulated), owned(real));
        for owner in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            let only = |one: &Owned, other: &Owned| {
                let (one, other) = (one.get(owner).cloned().unwrap_or_default(), other.get(owner).cloned());
                format!("{:?}", one.difference(&other.unwrap_or_default()).map(|path| shown(path)).collect::<Vec<_>>())
            };
            compare(
                &format!("fields that only one server knows as those of {owner:?}"),
                only(&ours, &theirs),
                only(&theirs, &ours),
            );
        }
        found
    }

    /// The number of writes with each answer.
    pub(crate) fn summary(&self) -> String {
        let each = self.counts.iter().map(|((name, code), count)| format!("{name} {code}: {count}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Checks that each kind of write met each kind of answer.
    pub(crate) fn check_coverage(&self) {
        for (name, codes) in OCCUR {
            for code in *codes {
                assert!(
                    self.counts.contains_key(&(*name, *code)),
                    "no {name} was answered by {code}: {}",
                    self.summary()
                );
            }
        }
    }
}

fn name(action: &Action) -> &'static str {
    match action {
        Action::Get => "Get",
        Action::List(_) => "List",
        Action::Create(_) => "Create",
        Action::Apply { status: false, .. } => "Apply",
        Action::Apply { status: true, .. } => "ApplyStatus",
        Action::Replace(_) | Action::ReplaceLive(_) => "Replace",
        Action::Merge { status: false, .. } => "Merge",
        Action::Merge { status: true, .. } => "MergeStatus",
        Action::Scale(_) => "Scale",
        Action::Delete { .. } => "Delete",
        Action::Evict => "Evict",
    }
}

/// What a write did to the UID or the resource version.
fn effect(answer: &Answer, field: &str) -> &'static str {
    let value = |object: &Option<Value>| object.as_ref().map(|object| object["metadata"][field].clone());
    match (value(&answer.before), value(&answer.after)) {
        (None, None) => "absent",
        (None, Some(_)) => "new",
        (Some(_), None) => "gone",
        (Some(before), Some(after)) if before == after => "unchanged",
        (Some(_), Some(_)) => "changed",
    }
}

/// Returns whether a successful answer contains the version that the write made. The operator compares it with the
/// version that it observed.
fn is_newest(write: &Write, answer: &Answer) -> bool {
    let contains_object = match write.action {
        Action::Create(_)
        | Action::Apply { .. }
        | Action::Replace(_)
        | Action::ReplaceLive(_)
        | Action::Merge { .. } => true,
        Action::Get | Action::List(_) | Action::Scale(_) | Action::Delete { .. } | Action::Evict => false,
    };
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    contains_object
        && answer.succeeded()
        && answer.after.as_ref().is_none_or(|after| version(after) == version(&answer.body))
}

/// Adds the fields of an object to a shape. All items of a list have one shape.
fn add_shape(shape: &mut Value, object: &Value) {
    match object {
        Value::Object(fields) => {
            if !shape.is_object() {
                *shape = Value::Object(Map::new());
            }
            for (name, value) in fields {
                add_shape(&mut shape[name.as_str()], value);
            }
        }
        Value::Array(items) => {
            if !shape.is_array() {
                *shape = json!([null]);
            }
            items.iter().for_each(|item| add_shape(&mut shape[0], item));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The part of an object that is compared: its metadata except what each server sets by itself, and the fields that
/// some write of this run contained.
fn comparable(kind: Kind, object: &Value, shape: &Value) -> Value {
    let mut object = object.clone();
    let mut metadata = object["metadata"].take();
    exceptions::reduce_metadata(&mut metadata);
    prune(&mut object, shape);
    object["metadata"] = metadata;
    exceptions::remove(kind, &mut object);
    object
}

fn prune(value: &mut Value, shape: &Value) {
    match (value, shape) {
        (Value::Object(fields), Value::Object(shape)) => {
            fields.retain(|name, _| shape.contains_key(name));
            fields.iter_mut().for_each(|(name, value)| prune(value, &shape[name]));
        }
        (Value::Array(items), Value::Array(shape)) => items.iter_mut().for_each(|item| prune(item, &shape[0])),
        _ => {}
    }
}

/// Collects the paths at which two values differ, with both values.
fn differ(one: &Value, other: &Value, path: &str, found: &mut Vec<(String, String, String)>) {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            for name in fields.keys().chain(others.keys()).collect::<BTreeSet<_>>() {
                differ(&one[name.as_str()], &other[name.as_str()], &format!("{path}/{name}"), found);
            }
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            for (place, (one, other)) in items.iter().zip(others).enumerate() {
                differ(one, other, &format!("{path}/{place}"), found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push((path.to_owned(), one.to_string(), other.to_string())),
    }
}

/// The owners of the fields that some write of this run contained.
fn known_owners(kind: Kind, owned: &Owned, shape: &Value) -> Owned {
    let mut known = Owned::new();
    for (owner, fields) in owned {
        let is_compared = |path: &&Vec<Step>| {
            in_shape(path, shape).is_some_and(|shape| exceptions::is_owner_compared(kind, path, shape))
        };
        let kept: BTreeSet<_> = fields.iter().filter(is_compared).cloned().collect();
        if !kept.is_empty() {
            known.insert(owner.clone(), kept);
        }
    }
    known
}

fn in_shape<'s>(path: &[Step], shape: &'s Value) -> Option<&'s Value> {
    path.iter().try_fold(shape, |shape, step| match step {
        Step::Field(name) => shape.get(name),
        Step::Item(_) => shape.get(0),
    })
}

fn shown(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Field(name) => format!("/{name}"),
        Step::Item(keys) => format!("[{keys}]"),
    };
    path.iter().map(step).collect()
}
