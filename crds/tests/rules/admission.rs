//! Owns a model of an API server's admission: defaults, then structure, then rules. Refuses unknown fields, as
//! `kubectl apply` does. Does not implement all of JSON Schema, only the keywords that our definitions use.

use kube_core::cel::{Validator, apply_defaults};
use regex::Regex;
use serde_json::{Map, Value};

/// The resource as the API server would store it.
///
/// # Errors
/// Returns every reason for a refusal, each as `path: message`.
pub(crate) fn admit(resource: &Value, stored: Option<&Value>) -> Result<Value, Vec<String>> {
    let schema = schema_of(resource["kind"].as_str().expect("resources in tests have a kind"));
    let resource = apply_defaults(&schema, resource);

    let mut errors = Vec::new();
    let mut body = resource.clone();
    let envelope = body.as_object_mut().expect("a resource is an object");
    for name in ["apiVersion", "kind", "metadata"] {
        envelope.remove(name);
    }
    check_structure(&schema, &body, "", &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }

    let mut schema = schema;
    settle_old_self(&mut schema, stored.is_some());
    match Validator::new().validate(&schema, &resource, stored) {
        Ok(()) => Ok(resource),
        Err(broken) => {
            Err(broken.as_slice().iter().map(|error| format!("{}: {}", error.field_path, error.message)).collect())
        }
    }
}

/// Returns whether the API server would store the resource if the definition had no rules. It drops unknown fields,
/// and refuses a negative number of replicas because of the scale subresource.
pub(crate) fn breaks_only_rules(resource: &Value) -> bool {
    let schema = schema_of(resource["kind"].as_str().expect("resources in tests have a kind"));
    let mut errors = Vec::new();
    check_structure(&schema["properties"]["spec"], &resource["spec"], ".spec", &mut errors);
    let can_scale = resource["spec"]["replicas"].as_i64().is_none_or(|replicas| replicas >= 0);
    can_scale && errors.iter().all(|error| error.ends_with("unknown field"))
}

/// The installed schema of a kind.
pub(crate) fn schema_of(kind: &str) -> Value {
    let definition = crds::definitions()
        .into_iter()
        .find(|definition| definition.spec.names.kind == kind)
        .unwrap_or_else(|| panic!("no definition of kind {kind}"));
    let schema = definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    serde_json::to_value(schema.expect("every definition has a schema")).expect("a schema is plain data")
}

/// Decides whether there is an old value, in the rules that ask for it. The engine passes such rules a plain value or
/// null, where the API server passes an optional.
fn settle_old_self(schema: &mut Value, exists: bool) {
    match schema {
        Value::Object(fields) => {
            for rule in fields.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut).into_iter().flatten() {
                if rule["optionalOldSelf"] == true {
                    let text = rule["rule"].as_str().expect("a rule is text");
                    let settled = text.replace("oldSelf.hasValue()", &exists.to_string());
                    rule["rule"] = settled.replace("oldSelf.value()", "oldSelf").into();
                }
            }
            fields.values_mut().for_each(|below| settle_old_self(below, exists));
        }
        Value::Array(items) => items.iter_mut().for_each(|below| settle_old_self(below, exists)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_structure(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    let mut refuse = |message: String| errors.push(format!("{path}: {message}"));
    if keywords.contains_key("x-kubernetes-int-or-string") {
        if !value.is_i64() && !value.is_string() {
            refuse("must be a number or a string".into());
        }
        return;
    }
    match (keywords["type"].as_str().expect("structural schemas are typed"), value) {
        ("object", Value::Object(fields)) => check_object(keywords, fields, path, errors),
        ("array", Value::Array(items)) => {
            if let Some(max) = keywords.get("maxItems").and_then(Value::as_u64)
                && items.len() as u64 > max
            {
                refuse(format!("must have at most {max} items"));
            }
            for (position, item) in items.iter().enumerate() {
                check_structure(&keywords["items"], item, &format!("{path}[{position}]"), errors);
            }
        }
        ("string", Value::String(text)) => check_string(keywords, text, path, errors),
        ("integer", Value::Number(number)) if number.is_i64() => {
            let number = number.as_f64().expect("a small integer");
            if keywords.get("minimum").and_then(Value::as_f64).is_some_and(|minimum| number < minimum)
                || keywords.get("maximum").and_then(Value::as_f64).is_some_and(|maximum| number > maximum)
            {
                refuse("out of range".into());
            }
        }
        ("boolean", Value::Bool(_)) => {}
        (wanted, _) => refuse(format!("must be of type {wanted}")),
    }
}

fn check_object(keywords: &Map<String, Value>, fields: &Map<String, Value>, path: &str, errors: &mut Vec<String>) {
    for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            errors.push(format!("{path}.{name}: required"));
        }
    }
    for (name, value) in fields {
        let below = format!("{path}.{name}");
        match (keywords.get("properties").and_then(|known| known.get(name)), keywords.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => check_structure(schema, value, &below, errors),
            (None, None) => errors.push(format!("{below}: unknown field")),
        }
    }
}

fn check_string(keywords: &Map<String, Value>, text: &str, path: &str, errors: &mut Vec<String>) {
    let length = text.chars().count() as u64;
    let limit = |keyword: &str| keywords.get(keyword).and_then(Value::as_u64);
    if limit("minLength").is_some_and(|min| length < min) || limit("maxLength").is_some_and(|max| length > max) {
        errors.push(format!("{path}: length {length} is out of range"));
    }
    if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
        && !Regex::new(pattern).expect("patterns compile").is_match(text)
    {
        errors.push(format!("{path}: must match {pattern}"));
    }
    if let Some(words) = keywords.get("enum").and_then(Value::as_array)
        && !words.iter().any(|word| word == text)
    {
        errors.push(format!("{path}: must be one of {words:?}"));
    }
}
