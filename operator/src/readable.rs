//! RaftClusters and RaftBackups as the API server sends them, each decoded by itself. A newer version may have written
//! an object that this version cannot decode. If a watch decoded all objects, one of these would stop the watch for all
//! of them. Owns the decoding. Does not own the report on an object that cannot be decoded
//! (`raft_cluster/unreadable.rs`).

use k8s_openapi::NamespaceResourceScope;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::cluster_object::ClusterObject;

/// An object that exists and that this version cannot decode.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// The object as the API server sent it.
    pub(crate) object: Box<DynamicObject>,
    /// The field that cannot be decoded, and why.
    pub(crate) error: String,
}

/// All objects of a kind in a namespace, or in all namespaces; and the kind. The objects are not decoded.
pub(crate) fn all<K>(client: &Client, namespace: Option<&str>) -> (Api<DynamicObject>, ApiResource)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let kind = ApiResource::erase::<K>(&());
    let all = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    (all, kind)
}

/// Reads an object; `None` if it does not exist.
///
/// # Errors
/// The outer error means that the API server did not send the object. The inner error means that the object was sent
/// and cannot be decoded.
pub(crate) async fn get<K: ClusterObject>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<Result<K, Unreadable>>> {
    let (all, _) = all::<K>(client, Some(namespace));
    Ok(all.get_opt(name).await?.map(decode))
}

/// Decodes an object.
///
/// # Errors
/// Returns the field that this version cannot decode, and why.
fn decode<K: DeserializeOwned>(object: DynamicObject) -> Result<K, Unreadable> {
    let json = serde_json::to_value(&object).expect("what was JSON is JSON again");
    let decoded: Result<K, _> = serde_path_to_error::deserialize(json);
    decoded.map_err(|error| Unreadable { object: Box::new(object), error: error.to_string() })
}

#[cfg(test)]
mod tests {
    use crds::{RaftBackup, RaftCluster};
    use serde_json::{Value, json};

    use super::*;

    fn cluster(extra: &Value) -> DynamicObject {
        let mut spec = json!({
            "replicas": 3, "storage": { "size": "1Gi" }, "tls": { "client": "Plaintext", "peer": "Plaintext" },
        });
        if let (Some(spec), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
            spec.extend(extra.clone());
        }
        serde_json::from_value(json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster",
            "metadata": { "name": "demo", "namespace": "default", "uid": "u", "generation": 4 }, "spec": spec,
        }))
        .expect("any custom resource is a dynamic object")
    }

    #[test]
    fn a_field_that_this_version_does_not_know_is_no_obstacle() {
        let decoded: RaftCluster = decode(cluster(&json!({ "newField": { "of": 1 } }))).expect("it is ignored");
        assert_eq!(decoded.spec.replicas, 3);
    }

    #[test]
    fn a_value_that_this_version_does_not_know_is_named_with_its_field() {
        let newer = json!({ "storage": { "size": "1Gi", "retention": { "whenScaled": "Archive" } } });
        let unreadable = decode::<RaftCluster>(cluster(&newer)).expect_err("it is no known fate");
        let error = unreadable.to_string();
        assert!(error.contains("spec.storage.retention.whenScaled") && error.contains("Archive"), "{error}");
        let backup = serde_json::from_value(json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup", "metadata": { "name": "nightly" },
            "spec": { "clusterName": "demo", "type": "Incremental" },
        }));
        let error =
            decode::<RaftBackup>(backup.expect("a dynamic object")).expect_err("it is no known type").to_string();
        assert!(error.contains("spec.type") && error.contains("Incremental"), "{error}");
    }
}
