//! Owns the settings of the members' volumes. Does not own the claims' names (`operator/plan/src/names.rs`).

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// Volume on which each member keeps its log and snapshots.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new(
        "has(self.storageClassName) || !has(oldSelf.storageClassName)")
        .message("set storageClassName to the class you want instead of removing it: without it every class is right, and no volume would change")
        .field_path(".storageClassName"),
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each member's volume, at least 256Mi, e.g. `10Gi`. Six times the quota suffices for the default three
    /// snapshots, the log since the oldest of them, and the reserve that is kept free for another snapshot and for
    /// deletions. On less, a member whose store is nearly full keeps one snapshot; on less than 2.5 times the quota,
    /// puts are refused before the quota is used up. The size may grow: the volumes are expanded where their
    /// StorageClass allows it, and new members get the new size. It cannot shrink.
    #[schemars(schema_with = "embedded::bytes")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('256Mi')) >= 0")
        .message("storage.size must be a quantity of at least 256Mi, such as 10Gi"))]
    #[x_kube(validation = Rule::new(
        "!isQuantity(string(self)) || !isQuantity(string(oldSelf)) || \
         quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0")
        .message("storage.size cannot shrink, because Kubernetes cannot make a volume smaller: back up the cluster and restore it into a new RaftCluster with the size you want"))]
    pub size: Quantity,

    /// StorageClass of the volumes. After a change, members whose volumes are of another class are replaced one by one by
    /// members with new volumes. It can be set later, but not removed. Default: the default StorageClass of Kubernetes
    /// at the time when a member is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!format.dns1123Subdomain().validate(self).hasValue()")
        .message("storageClassName must be the name of a StorageClass: lower-case letters, digits, '-' and '.'"))]
    pub storage_class_name: Option<String>,

    /// Whether volumes that are no longer used are retained or deleted.
    #[serde(default)]
    pub retention: Retention,
}

/// Whether volumes that are no longer used are retained or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// What happens to volumes, and to the Secret with the identity, when the RaftCluster is deleted: `Retain` or `Delete`.
    /// A new RaftCluster of the same name takes retained volumes up. It cannot change while the cluster is stopped.
    /// Default: `Retain`.
    #[serde(default = "retain")]
    pub when_deleted: VolumeFate,

    /// What happens to the volume of a member that was removed by scaling down or replacement, once its removal is
    /// committed: `Delete` or `Retain`. A retained volume is never used by another member. Default: `Delete`.
    #[serde(default = "delete")]
    pub when_scaled: VolumeFate,
}

/// Whether a volume is retained or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum VolumeFate {
    /// The claim stays until a person deletes it.
    Retain,
    /// The claim is deleted, and with it the volume unless its StorageClass retains it.
    Delete,
}

impl VolumeFate {
    /// The word that a StatefulSet's `persistentVolumeClaimRetentionPolicy` uses.
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
