//! How a cluster begins. Read once: what a cluster has become afterwards is in its volumes, not here.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::object_store::ObjectStore;

/// How the cluster begins.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// The backup to start from.
    pub restore: Restore,
}

/// A backup to start from: exactly one of a RaftBackup and a place in a bucket. The new cluster has a new cluster ID,
/// and revisions above those of the backup, so that clients which cached something read it again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("has(self.backupName) != has(self.source)")
        .message("give exactly one of restore.backupName (a RaftBackup in this namespace) and restore.source (a place in a bucket)"),
)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// A completed RaftBackup in this namespace. Its status says where the backup is and which Secret opens the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub backup_name: Option<String>,

    /// A place in a bucket, for when the RaftBackup is gone or was in another Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RestoreSource>,
}

/// A backup's place in a bucket.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RestoreSource {
    /// The bucket that holds it.
    pub object_store: ObjectStore,

    /// ID of the cluster that was backed up, as in `status.clusterID` of its RaftBackup. A manifest that names another
    /// cluster is refused.
    #[serde(rename = "clusterID")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9a-f]{32}$"))]
    pub cluster_id: String,

    /// Key of the backup's manifest in the bucket, prefix included, as in `status.manifest` of its RaftBackup.
    #[schemars(length(min = 1, max = 1024))]
    pub manifest: String,
}
