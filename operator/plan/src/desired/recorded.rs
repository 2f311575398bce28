//! The settings of the last completed rollout, as a spec that members can be rendered from. Owns how recorded settings
//! are read back. Does not own what is recorded (`stateful_set.rs`, `settings_json`), nor who gets these settings.

use crds::ObjectStore;
use crds::raft_cluster::RaftClusterSpec;
use serde_json::{Map, Value, json};

use super::stateful_set::settings;
use crate::validated::ValidatedCluster;

/// Fields of the spec that are recorded as they are.
const PLAIN: [&str; 11] = [
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "resources",
    "affinity",
    "tolerations",
    "nodeSelector",
    "priorityClassName",
    "pod",
    "raft",
    "snapshots",
];

/// The spec with the settings of the last completed rollout in place of its own. `None` if the spec asks for the same
/// settings, or if the record does not lead to the settings of its digest.
pub(crate) fn spec(valid: &ValidatedCluster<'_>, restore_store: Option<&ObjectStore>) -> Option<RaftClusterSpec> {
    let completed = valid.completed.as_ref()?;
    if completed.digest == settings(valid, restore_store) {
        return None;
    }
    let recorded = completed.settings.as_ref()?.as_object()?;
    let mut spec = serde_json::to_value(valid.spec).ok()?;
    replace(spec.as_object_mut()?, recorded);
    let spec: RaftClusterSpec = serde_json::from_value(spec).ok()?;
    // Another version may compute the digest otherwise.
    let leads_to_the_digest = settings(&valid.with_recorded(&spec, completed), restore_store) == completed.digest;
    debug_assert!(spec.replicas == valid.spec.replicas, "only settings are taken from the record");
    leads_to_the_digest.then_some(spec)
}

fn replace(spec: &mut Map<String, Value>, recorded: &Map<String, Value>) {
    let mut put = |field: &str, value: Option<Value>| match value {
        Some(value) => {
            spec.insert(field.to_owned(), value);
        }
        None => {
            spec.remove(field);
        }
    };
    for field in PLAIN {
        put(field, recorded.get(field).cloned());
    }
    put("quota", recorded.get("quota").map(|bytes| json!(bytes.to_string())));
    put("topologySpreadConstraints", recorded.get("topologySpreadConstraints").and_then(|all| all.get("of")).cloned());
    match recorded.get("backupCredentials") {
        None => put("backup", None),
        Some(credentials) => {
            // A member's pod depends only on the name of the Secret.
            let mut backup =
                spec.remove("backup").unwrap_or_else(|| json!({ "objectStore": { "bucket": "recorded" } }));
            backup["objectStore"]["credentialsSecretRef"] = credentials.clone();
            spec.insert("backup".to_owned(), backup);
        }
    }
}
