//! Backups through RaftBackup objects. Owns the manifests, and the conditions that mean "complete".

use std::time::Duration;

use anyhow::{Context, Result, bail};
use dev_cluster::{ObjectStore, until};
use serde_json::Value;

use crate::kubernetes::Kubernetes;

/// Name of the Secret with the object store's keys.
pub const CREDENTIALS: &str = "backup-credentials";

/// Creates the Secret from which members read the keys of the object store.
///
/// # Errors
/// Returns an error if the API server refused the request.
pub fn create_credentials(kubernetes: &Kubernetes, access_key: &str, secret_key: &str) -> Result<()> {
    kubernetes.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: {CREDENTIALS}}}, stringData: {{access-key-id: {access_key}, secret-access-key: {secret_key}}}}}"
    ))?;
    Ok(())
}

/// Returns `spec.backup` for an object store as YAML, indented so that it can follow the line `spec:`.
#[must_use]
pub fn store_yaml(store: &ObjectStore) -> String {
    format!(
        "  backup:\n    objectStore:\n      endpoint: {}\n      bucket: {}\n      region: {}\n      credentialsSecretRef:\n        name: {CREDENTIALS}\n",
        store.endpoint, store.bucket, store.region
    )
}

/// Creates a RaftBackup object for a full backup.
///
/// # Errors
/// Returns an error if the API server refused the request.
pub fn create(kubernetes: &Kubernetes, name: &str, cluster: &str) -> Result<()> {
    kubernetes.apply(&format!(
        "{{apiVersion: raftoperator.io/v1alpha1, kind: RaftBackup, metadata: {{name: {name}}}, spec: {{clusterName: {cluster}, type: Full}}}}"
    ))?;
    Ok(())
}

/// Waits until the backup is complete and returns its status.
///
/// # Errors
/// Returns an error with the conditions if the backup is not complete after `limit`.
pub fn wait_complete(kubernetes: &Kubernetes, name: &str, limit: Duration) -> Result<Value> {
    until(&format!("raftbackup/{name} is complete"), limit, || {
        let backup = kubernetes.get("raftbackup", name)?.context("the backup does not exist")?;
        let conditions = backup["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is = |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
        if is("Ready") {
            return Ok(Some(backup["status"].clone()));
        }
        bail!("not complete: {}", Value::Array(conditions))
    })
}
