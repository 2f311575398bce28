//! Schemas of Kubernetes' own types as embedded in ours: the structure without the prose, which would be most of the
//! definition and is one `kubectl explain pod.spec` away. Also the few scalar schemas that several fields share.

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// A count of bytes as Kubernetes writes it (`512Mi`, `10Gi`, or a plain number).
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

/// How traffic is protected. No `enum`, whose refusal could not say what to do: a CEL rule on the field has the words.
pub(crate) fn word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32 })
}

/// Leaves the description of an enum to the field that holds it: an optional field would lose its own to it.
pub(crate) fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

/// `requests` and `limits`; not `claims`, which would need a pod-level counterpart.
pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    let amounts = |description: &str| {
        json_schema!({
            "description": description,
            "type": "object",
            "maxProperties": 16,
            "additionalProperties": { "x-kubernetes-int-or-string": true },
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "requests": amounts("What the scheduler sets aside for a member, by resource name."),
            "limits": amounts("What a member may use at most, by resource name. `memory` decides the default of `quota`."),
        },
    })
}

pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    without_prose(Affinity::json_schema(generator))
}

pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    list_of(without_prose(Toleration::json_schema(generator)))
}

pub(crate) fn topology_spread_constraints(generator: &mut SchemaGenerator) -> Schema {
    list_of(without_prose(TopologySpreadConstraint::json_schema(generator)))
}

/// metav1.Condition, in a few words of our own.
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
                "type": { "type": "string", "maxLength": 316, "description": "Which condition." },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds: `True`, `False` or `Unknown`.",
                },
                "reason": { "type": "string", "maxLength": 1024, "description": "Why, in one word." },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "Why, in a sentence, and what to do about it.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When `status` changed last.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Generation of the spec that the condition speaks of.",
                },
            },
        },
    })
}

fn list_of(items: Schema) -> Schema {
    json_schema!({ "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic", "items": items })
}

fn without_prose(mut schema: Schema) -> Schema {
    strip(schema.ensure_object());
    schema
}

/// Drops `description` from a schema and everything below it. `properties` holds names, not keywords: a property that
/// is itself called `description` stays.
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
