//! The definitions to install: what the derive makes of the types, and what only a definition can say. Knows nothing of
//! charts or files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt;
use serde_json::json;

use crate::{RaftBackup, RaftCluster};

/// The custom resource definitions, as they should be in Kubernetes.
///
/// Beyond `crd()` of the types:
/// - `status` defaults to `observedGeneration: -1`, so that a resource the operator has not seen yet never counts as
///   current (kstatus, and so Helm, Flux and `kubectl wait`);
/// - no field is `nullable`: the API server then drops an explicit `null`, and rules see it as absent;
/// - a description is one line per paragraph, however it is wrapped in the source.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [RaftCluster::crd(), RaftBackup::crd()].into_iter().map(complete).collect()
}

fn complete(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            tidy(schema);
            schema.title = None;
            if let Some(status) = schema.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
                status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            }
        }
    }
    definition
}

fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.description = schema.description.take().map(|text| unwrapped(&text));
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

fn unwrapped(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}
