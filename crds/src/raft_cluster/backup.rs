//! Owns where a cluster's backups go. Does not own a single backup (`raft_backup.rs`).

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::object_store::ObjectStore;

/// Where backups go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Bucket for backups of this cluster. The condition BackupReady shows whether members can write to it and read
    /// from it. When this field is changed, earlier backups stay where they are.
    pub object_store: ObjectStore,
}
