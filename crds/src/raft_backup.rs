//! Owns RaftBackup, one backup of one cluster. It may outlive its cluster, so its status holds all that a restore needs.
//! Does not own the choice of the member that takes it (`operator/plan/src/backup.rs`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{embedded, object_store::ObjectStore};

/// Desired backup. Immutable: for another backup, create another RaftBackup.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "raftoperator.io",
    version = "v1alpha1",
    kind = "RaftBackup",
    namespaced,
    status = "RaftBackupStatus",
    derive = "PartialEq",
    doc = "One backup of a RaftCluster in the same namespace, taken once. It stays when the cluster is deleted. Deleting it deletes nothing in the bucket.",
    category = "raft",
    shortname = "raftb",
    selectable = ".spec.clusterName",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterName"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Reason of the condition Ready"
    ),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(
        name = "Bytes",
        type_ = "integer",
        json_path = ".status.sizeBytes",
        description = "Size in the bucket"
    ),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    crates(kube_core = "kube_core")
)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("self == oldSelf")
        .message("a RaftBackup is taken once and is immutable: create another RaftBackup instead"),
)]
#[serde(rename_all = "camelCase")]
pub struct RaftBackupSpec {
    /// Name of the RaftCluster to back up, in the same namespace. The backup goes to the RaftCluster's
    /// `spec.backup.objectStore`. Immutable.
    #[schemars(length(min = 1, max = 40))]
    pub cluster_name: String,

    /// Kind of backup. `Full` holds everything at one revision. Immutable. Default: `Full`.
    #[serde(rename = "type", default)]
    pub backup_type: BackupType,
}

/// Kind of backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum BackupType {
    /// Everything at one revision; restorable without any other backup.
    #[default]
    Full,
}

/// Progress and place of a backup, as reported by the operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RaftBackupStatus {
    /// Generation of the spec that this status refers to; -1 until the operator has seen the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Time when a member was first asked for the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// Time when the operator learned that the backup is complete; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,

    /// Name of the member that takes the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub source_member: Option<String>,

    /// Progress of the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,

    /// Cluster ID of the cluster that was backed up, 32 hexadecimal digits.
    #[serde(rename = "clusterID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cluster_id: Option<String>,

    /// Log index of the last entry in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,

    /// Term of the last entry in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,

    /// Revision of the store in the backup, as etcd clients see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// Size of the image in the bucket, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,

    /// SHA-256 of the image in the bucket, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,

    /// Key of the manifest in the bucket, including the prefix. A restore needs it, `clusterID` and `location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub manifest: Option<String>,

    /// Bucket of the backup, as the cluster's spec named it when the backup was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<ObjectStore>,

    /// Cause of the last failed attempt; absent after success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub error: Option<String>,

    /// Conditions as of `observedGeneration`: Ready (complete), Reconciling (under way, or waiting to be tried again) and
    /// Stalled (always False, because every cause of failure may go away).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::conditions")]
    pub conditions: Vec<Condition>,
}

/// Progress of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// Bytes uploaded so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<i64>,

    /// Bytes to upload in total; 0 while the member does not know yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
}
