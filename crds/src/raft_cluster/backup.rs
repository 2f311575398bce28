//! Where a cluster's backups go. One backup is a RaftBackup.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::object_store::ObjectStore;

/// Where backups go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// The bucket for backups of this cluster. Condition BackupReady tells whether members can write and read it.
    /// Backups already taken stay where they are when it changes.
    pub object_store: ObjectStore,
}
