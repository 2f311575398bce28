//! The members' volumes. One claim per member, named by the planner.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// Where each member keeps log and snapshots.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot change in this version: back the cluster up and restore it into a new RaftCluster with the class you want")
        .field_path(".storageClassName"),
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each member's volume, at least 256Mi, e.g. `10Gi`. Four times the quota leaves room for the snapshots
    /// kept, one being written, and the log. Immutable in this version.
    #[schemars(schema_with = "embedded::bytes")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('256Mi')) >= 0")
        .message("storage.size must be a quantity of at least 256Mi, such as 10Gi"))]
    #[x_kube(validation = Rule::new(
        "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity(string(oldSelf))) == 0")
        .message("storage.size cannot change in this version: back the cluster up and restore it into a new RaftCluster with the size you want"))]
    pub size: Quantity,

    /// StorageClass of the volumes. Immutable in this version. Default: the default StorageClass of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What becomes of volumes that are no longer used.
    #[serde(default)]
    pub retention: Retention,
}

/// What becomes of volumes that are no longer used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// When the RaftCluster is deleted: `Retain` or `Delete`. Retained volumes cannot be taken up again by this version:
    /// back up before deleting. Default: `Retain`.
    #[serde(default = "retain")]
    pub when_deleted: VolumeFate,

    /// When a member was removed by scaling down or replacement, after its removal is committed: `Delete` or `Retain`.
    /// A retained volume is never used by another member. Default: `Delete`.
    #[serde(default = "delete")]
    pub when_scaled: VolumeFate,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum VolumeFate {
    /// The claim stays until a person deletes it.
    Retain,
    /// The claim goes, and with it the volume unless its StorageClass retains it.
    Delete,
}

impl VolumeFate {
    /// As a StatefulSet's `persistentVolumeClaimRetentionPolicy` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { when_deleted: retain(), when_scaled: delete() }
    }
}

fn retain() -> VolumeFate {
    VolumeFate::Retain
}

fn delete() -> VolumeFate {
    VolumeFate::Delete
}
