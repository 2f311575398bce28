//! RaftBackup: one backup of one cluster. It outlives its cluster, so its status holds all that a restore needs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{embedded, object_store::ObjectStore};

/// What to back up. Immutable: another backup is another RaftBackup.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "raftoperator.io",
    version = "v1alpha1",
    kind = "RaftBackup",
    namespaced,
    status = "RaftBackupStatus",
    derive = "PartialEq",
    doc = "One backup of a RaftCluster in the same namespace, taken once. It stays when the cluster goes; deleting it leaves the objects in the bucket.",
    category = "raft",
    shortname = "raftb",
    selectable = ".spec.clusterName",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterName"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why the backup is Ready, or is not"
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
        .message("a RaftBackup is taken once and cannot change: create another one"),
)]
#[serde(rename_all = "camelCase")]
pub struct RaftBackupSpec {
    /// The RaftCluster to back up, in this namespace, into its `spec.backup.objectStore`. Immutable.
    #[schemars(length(min = 1, max = 40))]
    pub cluster_name: String,

    /// What is taken: `Full`, everything at one revision. Immutable. Default: `Full`.
    #[serde(rename = "type", default)]
    pub backup_type: BackupType,
}

/// What a backup takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum BackupType {
    /// Everything at one revision; restorable by itself.
    #[default]
    Full,
}

/// How far a backup is, and where it ended. A report, written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RaftBackupStatus {
    /// Generation of the spec that this status answers; -1 before the operator has seen the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// When a member began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the manifest was written; absent until the backup is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,

    /// Name of the member that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub source_member: Option<String>,

    /// How much is in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,

    /// ID of the cluster that was backed up: 32 hexadecimal digits.
    #[serde(rename = "clusterID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cluster_id: Option<String>,

    /// Log index of the last entry the backup contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,

    /// Term of that entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,

    /// Revision of the store at that entry, as etcd clients see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// Size of the snapshot in the bucket, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,

    /// SHA-256 of the snapshot in the bucket: 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,

    /// Key of the manifest in the bucket, prefix included. With `clusterID` and `location` it is all that a restore
    /// needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub manifest: Option<String>,

    /// The bucket it went to, as the cluster's spec named it when the backup began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<ObjectStore>,

    /// Why the last attempt failed and what to do, absent after success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub error: Option<String>,

    /// Ready (complete), Reconciling (under way or to be tried again) and Stalled (will not be tried again).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::conditions")]
    pub conditions: Vec<Condition>,
}

/// How much of a backup is in the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// Bytes uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<i64>,

    /// Bytes to upload in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
}
