//! What Kubernetes itself sets in a written object, as far as owners of fields, refusals or the operator depend on it.
//! Owns these fields. Does not own the metadata that identifies an object (`api_server.rs`). Every further default is a
//! difference that `tests/rings/likeness/exceptions.rs` explains.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Value, json};

use super::kinds::Kind;

/// The finalizer that holds a claim while a pod uses it.
const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";

/// The schema of RaftClusters, which contains their defaults.
static RAFT_CLUSTER: LazyLock<JSONSchemaProps> = LazyLock::new(|| {
    let mut definitions = crds::definitions().into_iter();
    let definition = definitions.find(|definition| definition.spec.names.kind == "RaftCluster");
    let version = definition.and_then(|definition| definition.spec.versions.into_iter().next());
    let schema = version.and_then(|version| version.schema).and_then(|schema| schema.open_api_v3_schema);
    schema.expect("RaftCluster has a schema")
});

/// Sets the defaults of a written object. They count as written by an update, and not as written by an apply.
pub(super) fn complete(kind: Kind, object: &mut Value) {
    match kind {
        Kind::StatefulSet => complete_set(&mut object["spec"]),
        Kind::Service => {
            set_protocols(&mut object["spec"]);
            for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
                let number = port["port"].clone();
                default(port, "targetPort", number);
            }
        }
        Kind::Pod => {
            complete_pod(&mut object["spec"]);
            default(&mut object["spec"], "enableServiceLinks", json!(true));
        }
        Kind::RaftCluster => complete_by(&RAFT_CLUSTER, object),
        Kind::Secret => default(object, "type", json!("Opaque")),
        Kind::Claim | Kind::Budget | Kind::Lease => {}
    }
}

/// Sets what Kubernetes allots to an object before it is stored. It counts as written by none. `live` is the object
/// before the write, and `number` a number that no other object has.
pub(super) fn allot(kind: Kind, object: &mut Value, live: Option<&Value>, number: u64) {
    if kind == Kind::Service {
        let former = live.map_or(Value::Null, |live| live["spec"]["clusterIP"].clone());
        let address = if former.is_null() { json!(format!("10.96.1.{number}")) } else { former };
        default(&mut object["spec"], "clusterIP", address);
    }
    if live.is_none() && kind == Kind::Claim {
        object["metadata"]["finalizers"] = json!([OF_CLAIMS]);
    }
    if live.is_none() && matches!(kind, Kind::Pod | Kind::Claim) {
        default(object, "status", json!({}));
        default(&mut object["status"], "phase", json!("Pending"));
    }
}

fn complete_set(spec: &mut Value) {
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "podManagementPolicy", json!("OrderedReady"));
    default(spec, "updateStrategy", json!({}));
    default(&mut spec["updateStrategy"], "type", json!("RollingUpdate"));
    default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    for when in ["whenDeleted", "whenScaled"] {
        default(&mut spec["persistentVolumeClaimRetentionPolicy"], when, json!("Retain"));
    }
    let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten() {
        default(claim, "apiVersion", json!("v1"));
        default(claim, "kind", json!("PersistentVolumeClaim"));
        default(claim, "status", json!({ "phase": "Pending" }));
        default(&mut claim["spec"], "volumeMode", json!("Filesystem"));
    }
    if let Some(pod) = spec["template"].get_mut("spec") {
        complete_pod(pod);
    }
}

fn complete_pod(spec: &mut Value) {
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "securityContext", json!({}));
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        default(container, "resources", json!({}));
        set_protocols(container);
    }
}

/// Sets the protocol of each port.
fn set_protocols(object: &mut Value) {
    let ports = object.get_mut("ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten().for_each(|port| default(port, "protocol", json!("TCP")));
}

fn default(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), value);
    }
}

/// Sets the defaults of a schema in the objects that exist.
fn complete_by(schema: &JSONSchemaProps, value: &mut Value) {
    for (name, inner) in schema.properties.iter().flatten() {
        if let Some(wanted) = &inner.default {
            default(value, name, wanted.0.clone());
        }
        if let Some(value) = value.get_mut(name) {
            complete_by(inner, value);
        }
    }
}
