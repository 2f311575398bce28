//! Owns the definitions to install: the derived schemas, completed with what only a definition can express. Does not own
//! charts or files (`bin/crdgen`).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt;
use serde_json::json;

use crate::{RaftBackup, RaftCluster};

/// The custom resource definitions, as they should be installed in Kubernetes.
///
/// They differ from `crd()` of the types:
/// - `status` defaults to `observedGeneration: -1`, so that tools that use kstatus (Helm, Flux) and `kubectl wait` do not
///   treat a resource as current before the operator has seen it;
/// - no field is `nullable`, so that the API server drops an explicit `null` and rules see the field as absent;
/// - a description has one line per paragraph, independent of line breaks in the source.
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
