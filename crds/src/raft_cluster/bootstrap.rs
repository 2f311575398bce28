//! Owns how a cluster begins. The operator uses these fields only until the cluster has its identity; afterwards the
//! cluster's volumes hold its state.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::object_store::ObjectStore;

/// How the cluster begins: exactly one of a backup and retained volumes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("has(self.restore) != has(self.takeUp)")
        .message("set exactly one of bootstrap.restore (a backup to start from) and bootstrap.takeUp (retained volumes to start on)"),
)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Backup to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,

    /// Retained volumes to start on, if the operator does not take them up by itself; the message of the condition Stalled
    /// says why. It may be added to an existing RaftCluster, and is ignored once the cluster has its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_up: Option<TakeUp>,
}

/// Retained volumes to start on: those whose claims are labelled with this cluster ID. Claims of other clusters are left
/// alone. Claims that were copied or restored are accepted, but never two claims of one member.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct TakeUp {
    /// Cluster ID, 32 hexadecimal digits, as in the label `raftoperator.io/cluster-id` of the claims.
    #[serde(rename = "clusterID")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9a-f]{32}$"))]
    pub cluster_id: String,
}

/// Backup to start from: exactly one of a RaftBackup and a place in a bucket. The new cluster gets a new cluster ID. Its
/// revisions are higher than those of the backup, so that clients with a cache read everything again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("has(self.backupName) != has(self.source)")
        .message("set exactly one of restore.backupName (a RaftBackup in this namespace) and restore.source (a place in a bucket)"),
)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// Name of a completed RaftBackup in this namespace. Its status names the bucket and the credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub backup_name: Option<String>,

    /// Place of the backup in a bucket, for use when the RaftBackup does not exist in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RestoreSource>,
}

/// Place of a backup in a bucket.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RestoreSource {
    /// Bucket that holds the backup.
    pub object_store: ObjectStore,

    /// Cluster ID of the cluster that was backed up, 32 hexadecimal digits, as in `status.clusterID` of its RaftBackup. A
    /// manifest of another cluster is refused.
    #[serde(rename = "clusterID")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9a-f]{32}$"))]
    pub cluster_id: String,

    /// Key of the manifest in the bucket, including the prefix, as in `status.manifest` of its RaftBackup.
    #[schemars(length(min = 1, max = 1024))]
    pub manifest: String,
}
