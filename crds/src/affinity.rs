//! Owns the schema of `affinity` with the rules that refuse what Kubernetes would refuse in a pod, and the limits that
//! make these rules cheap enough for the API server. Does not own the rules for other fields of a pod (`pod_rules.rs`).
//!
//! Unchecked are the names of namespaces, and `matchLabelKeys` and `mismatchLabelKeys`, which few people use: a fault in
//! them is reported by the reason Refused.

use k8s_openapi::api::core::v1::Affinity;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::embedded::{KEY_MAX, without_prose};
use crate::pod_rules::{self, RULES};

/// Largest number of items in each list: of terms, of requirements, and of values.
const ITEMS_MAX: usize = 16;
/// Longest value of a label.
const VALUE_MAX: usize = 63;
/// Longest name of a node.
const NAME_MAX: usize = 253;

const PREFERRED: &str = "/properties/preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "/properties/requiredDuringSchedulingIgnoredDuringExecution";

pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = without_prose(Affinity::json_schema(generator)).to_value();
    let node = at(&mut schema, "/properties/nodeAffinity");
    let preferred = terms(at(node, PREFERRED));
    preferred[RULES] = pod_rules::weight();
    node_term(at(preferred, "/properties/preference"));
    let required = at(node, REQUIRED);
    let list = at(required, "/properties/nodeSelectorTerms");
    list[RULES] = pod_rules::node_selector_terms();
    node_term(terms(list));
    for kind in ["/properties/podAffinity", "/properties/podAntiAffinity"] {
        let pods = at(&mut schema, kind);
        let preferred = terms(at(pods, PREFERRED));
        preferred[RULES] = pod_rules::weight();
        pod_term(at(preferred, "/properties/podAffinityTerm"));
        pod_term(terms(at(pods, REQUIRED)));
    }
    Schema::try_from(schema).expect("it stays an object")
}

/// A part of the schema of Kubernetes.
fn at<'s>(schema: &'s mut Value, pointer: &str) -> &'s mut Value {
    schema.pointer_mut(pointer).unwrap_or_else(|| panic!("Kubernetes keeps its fields: {pointer}"))
}

/// Limits a list, and returns the schema of its items.
fn terms(list: &mut Value) -> &mut Value {
    list["maxItems"] = json!(ITEMS_MAX);
    at(list, "/items")
}

fn node_term(term: &mut Value) {
    requirements(at(term, "/properties/matchExpressions"), VALUE_MAX, pod_rules::node_requirement());
    requirements(at(term, "/properties/matchFields"), NAME_MAX, pod_rules::node_field());
}

fn pod_term(term: &mut Value) {
    term[RULES] = pod_rules::pod_affinity_term();
    at(term, "/properties/topologyKey")["maxLength"] = json!(KEY_MAX);
    for selector in ["/properties/labelSelector", "/properties/namespaceSelector"] {
        let selector = at(term, selector);
        requirements(at(selector, "/properties/matchExpressions"), VALUE_MAX, pod_rules::label_requirement());
        let labels = at(selector, "/properties/matchLabels");
        labels["maxProperties"] = json!(ITEMS_MAX);
        labels[RULES] = pod_rules::label_keys();
        labels["additionalProperties"] =
            json!({ "type": "string", "maxLength": VALUE_MAX, RULES: pod_rules::label_value() });
    }
}

fn requirements(list: &mut Value, value_max: usize, rules: Value) {
    let item = terms(list);
    item[RULES] = rules;
    at(item, "/properties/key")["maxLength"] = json!(KEY_MAX);
    at(item, "/properties/operator")["maxLength"] = json!(16);
    let values = terms(at(item, "/properties/values"));
    values["maxLength"] = json!(value_max);
}
