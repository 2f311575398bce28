//! What was read, and when: everything a decision may rest on. Reading it is the shell's; judging it belongs to the rooms
//! below.
//!
//! Order of reading matters and is the shell's duty: volumes before StatefulSets before members before the
//! configuration, so that whatever was removed while reading shows as removed in the last.

pub mod member;

use std::collections::{BTreeMap, BTreeSet};

use crds::RaftBackup;
use crds::RaftCluster;
use crds::raft_cluster::VolumeFate;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::names::{self, Ordinal};
use member::{Answer, Configuration};

/// One look at a cluster and everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// When it was taken, by the operator's wall clock.
    pub now: Timestamp,
    /// How this operator was started.
    pub operator: OperatorSettings,
    /// What the user wants.
    pub cluster: RaftCluster,
    /// Everything that exists of each member, whoever owns it.
    pub members: BTreeMap<Ordinal, ObservedMember>,
    /// The three Services.
    pub services: ObservedServices,
    /// The voters' disruption budget.
    pub budget: Option<PodDisruptionBudget>,
    /// The Secret with the identity.
    pub record: Option<Secret>,
    /// The committed configuration by a linearizable read, if there is a leader to ask.
    pub configuration: Option<Linearizable>,
    /// Zones of Kubernetes nodes that run members, by node; empty if the operator may not read nodes.
    pub zones: BTreeMap<String, String>,
    /// The RaftBackup that `bootstrap.restore.backupName` speaks of, if it exists.
    pub restore_from: Option<RaftBackup>,
    /// What a member last said of the object store.
    pub probe: Option<Probe>,
    /// Why membership was not changed when that was last asked for.
    pub refusal: Option<Refusal>,
    /// Ordinals this very process reserved and has not used yet.
    pub reserved: BTreeSet<Ordinal>,
    /// Fresh randomness, in case a record is to be made.
    pub entropy: Entropy,
}

/// How the operator was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// Image of new clusters that name none.
    pub node_image: String,
    /// Pull policy of clusters that name none.
    pub node_image_pull_policy: Option<String>,
}

/// What exists of one member.
#[derive(Clone, Debug, Default)]
pub struct ObservedMember {
    /// Its StatefulSet.
    pub set: Option<StatefulSet>,
    /// Its pod.
    pub pod: Option<Pod>,
    /// Its volume claim.
    pub volume: Option<PersistentVolumeClaim>,
    /// What it said. None: nobody asked, as it has no StatefulSet.
    pub answer: Option<Answer>,
    /// The newest warnings about its StatefulSet and claim while it is not up; newest first. What is wrong with its pod is in
    /// the pod's status.
    pub warnings: Vec<Warning>,
}

/// A Warning event about one of a member's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Kind of the object it is about.
    pub kind: String,
    /// The event's reason, such as `FailedScheduling`.
    pub reason: String,
    /// The event's text.
    pub message: String,
}

/// The Services under the names that a cluster needs, whoever owns them.
#[derive(Clone, Debug, Default)]
pub struct ObservedServices {
    /// `demo`.
    pub client: Option<Service>,
    /// `demo-read`.
    pub read: Option<Service>,
    /// `demo-members`.
    pub members: Option<Service>,
}

/// A configuration that a leader confirmed by a linearizable read.
#[derive(Clone, Debug, PartialEq)]
pub struct Linearizable {
    /// The member that leads.
    pub leader: Ordinal,
    /// What it said.
    pub configuration: Configuration,
}

/// What a member said of the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// A word that conditions know; empty when all is well.
    pub cause: String,
    /// For people.
    pub error: String,
}

/// A change of membership that was refused or failed, kept by the shell until one succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The refusal's name if the member gave one, such as `LearnerBehind`.
    pub name: Option<String>,
    /// For people.
    pub message: String,
}

/// Random bytes, fresh with each look.
#[derive(Clone, Copy)]
pub struct Entropy {
    /// For a cluster ID.
    pub cluster_id: u128,
    /// For a token.
    pub token: [u8; 32],
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(hidden)")
    }
}

impl Observed {
    /// The cluster's UID; empty only for an object that was never created.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether an object belongs to this very RaftCluster, not to an earlier one of its name or to somebody else.
    #[must_use]
    pub fn owns(&self, metadata: &ObjectMeta) -> bool {
        let uid = self.uid();
        metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
    }
}

/// Which incarnation of an object was seen: what writes are made conditional on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version.
    pub version: String,
}

impl Seen {
    /// The incarnation that this metadata is of.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// The value of an annotation.
#[must_use]
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The value of a label.
#[must_use]
pub fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The image that a live StatefulSet runs.
pub(crate) fn image_of(set: &StatefulSet) -> Option<&str> {
    let containers = &set.spec.as_ref()?.template.spec.as_ref()?.containers;
    containers.iter().find(|container| container.name == names::CONTAINER)?.image.as_deref()
}

/// What becomes of a live StatefulSet's volume when it is deleted.
pub(crate) fn volume_goes_with(set: &StatefulSet) -> bool {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.and_then(|policy| policy.when_deleted.as_deref()) == Some(VolumeFate::Delete.as_str())
}

/// The pull policy that a live StatefulSet was given. None if it has the one that Kubernetes gives its image by itself: so
/// it stays the default when the image changes.
pub(crate) fn image_pull_policy_of(set: &StatefulSet) -> Option<&str> {
    let containers = &set.spec.as_ref()?.template.spec.as_ref()?.containers;
    let container = containers.iter().find(|container| container.name == names::CONTAINER)?;
    let policy = container.image_pull_policy.as_deref()?;
    (policy != default_pull_policy(container.image.as_deref().unwrap_or_default())).then_some(policy)
}

/// What Kubernetes gives an image without a policy (API reference, `Container.imagePullPolicy`).
fn default_pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let is_latest = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if is_latest { "Always" } else { "IfNotPresent" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_pull_policy_is_that_of_kubernetes() {
        for image in ["raft-node", "raft-node:latest", "localhost:5000/raft-node", "a.b:1/c/raft-node:latest"] {
            assert_eq!(default_pull_policy(image), "Always", "{image}");
        }
        for image in ["raft-node:1", "localhost:5000/raft-node:1", "raft-node@sha256:00", "raft-node:latest@sha256:00"]
        {
            assert_eq!(default_pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
