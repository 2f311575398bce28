//! Owns the schemas of Kubernetes types that our types embed: their structure without descriptions, which would make up
//! most of the definition and are available from `kubectl explain pod.spec`. Also owns the scalar schemas that several
//! fields share. Does not own `affinity` (`affinity.rs`), nor the rules that refuse what Kubernetes would refuse (`pod_rules.rs`).

use k8s_openapi::api::core::v1::{Toleration, TopologySpreadConstraint};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::pod_rules::{self, RULES};

/// Longest key of a label or annotation: a domain of 253 characters, a slash and a name of 63.
pub(crate) const KEY_MAX: usize = 317;

/// Number of bytes in Kubernetes notation (`512Mi`, `10Gi`, or a plain number).
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

/// Schema of one word. The schema has no `enum`, because the API server would then refuse other words without saying
/// what to do. Instead, a CEL rule on the field refuses other words with a message that says what to do.
pub(crate) fn word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32 })
}

/// Removes the description of an enum, because it would replace the description of an optional field of that type.
pub(crate) fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

/// `requests` and `limits`; not `claims`, which would need an entry in the pod's spec too.
pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    let amounts = |description: &str| {
        json!({
            "description": description,
            "type": "object",
            "maxProperties": 16,
            "additionalProperties": {
                "x-kubernetes-int-or-string": true,
                "maxLength": 64,
                RULES: pod_rules::amount(),
            },
            RULES: pod_rules::resource_names(),
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "requests": amounts("Amounts that the scheduler reserves for each member, by resource name."),
            "limits": amounts(
                "Largest amounts that each member may use, by resource name. `memory` determines the default of `quota`."
            ),
        },
        RULES: pod_rules::resources(),
    })
}

/// Labels of a pod, or labels that a node must have.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63, RULES: pod_rules::label_value() },
        RULES: pod_rules::label_keys(),
    })
}

pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string" },
        RULES: pod_rules::annotation_keys(),
    })
}

pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    let mut item = without_prose(Toleration::json_schema(generator));
    bound(&mut item, &[("key", KEY_MAX), ("operator", 16), ("value", 63), ("effect", 32)]);
    item.insert(RULES.to_owned(), pod_rules::toleration());
    list_of(item)
}

pub(crate) fn topology_spread_constraints(generator: &mut SchemaGenerator) -> Schema {
    let mut item = without_prose(TopologySpreadConstraint::json_schema(generator));
    bound(&mut item, &[("topologyKey", KEY_MAX), ("whenUnsatisfiable", 32)]);
    bound(&mut item, &[("nodeAffinityPolicy", 32), ("nodeTaintsPolicy", 32)]);
    item.insert(RULES.to_owned(), pod_rules::topology_spread_constraint());
    let mut list = list_of(item);
    list.insert(RULES.to_owned(), pod_rules::topology_spread_constraints());
    list
}

/// metav1.Condition with shorter descriptions.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": { "type": "string", "maxLength": 316, "description": "Type of the condition." },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds: `True`, `False` or `Unknown`.",
                },
                "reason": { "type": "string", "maxLength": 1024, "description": "One word for the cause." },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "The cause in a sentence and, where a person can help, what to do.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "Time when `status` last changed.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Generation of the spec that the condition refers to.",
                },
            },
        },
    })
}

fn list_of(items: Schema) -> Schema {
    json_schema!({ "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic", "items": items })
}

/// Limits the length of properties, because the API server refuses a rule on strings without a limit as too expensive.
fn bound(schema: &mut Schema, lengths: &[(&str, usize)]) {
    for (property, length) in lengths {
        let property = schema.pointer_mut(&format!("/properties/{property}")).and_then(Value::as_object_mut);
        let property = property.expect("Kubernetes keeps its fields");
        property.insert("maxLength".to_owned(), json!(length));
    }
}

pub(crate) fn without_prose(mut schema: Schema) -> Schema {
    strip(schema.ensure_object());
    schema
}

/// Removes `description` from a schema and from everything below it. A property that is itself called `description`
/// stays, because `properties` holds names, not keywords.
fn strip(schema: &mut Map<String, Value>) {
    schema.remove("description");
    for (keyword, below) in schema.iter_mut() {
        match (keyword.as_str(), below) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().filter_map(Value::as_object_mut).for_each(strip);
            }
            ("items" | "additionalProperties", Value::Object(inner)) => strip(inner),
            _ => {}
        }
    }
}
