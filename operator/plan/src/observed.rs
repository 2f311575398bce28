//! Everything that a decision may rest on, as it was read. Owns the types. Does not own the reading (the shell's
//! `raft_cluster/observe.rs`), nor any judgement.
//!
//! The shell reads in a fixed order: volumes, StatefulSets, members, the configuration. So a member that is removed during the
//! reading is shown as removed by the configuration, which is read last.

pub mod failure;

pub mod member;

pub mod refusal;

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
use failure::FailureCause;
use member::{Answer, Configuration};
use refusal::RefusalReason;

/// One observation of a cluster and all its objects.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Time of the observation, by the operator's wall clock.
    pub now: Timestamp,
    /// Settings of this operator.
    pub operator: OperatorSettings,
    /// The RaftCluster that the user wrote.
    pub cluster: RaftCluster,
    /// Objects of each member, also those that this cluster does not own.
    pub members: BTreeMap<Ordinal, ObservedMember>,
    /// The three Services.
    pub services: ObservedServices,
    /// The voters' disruption budget.
    pub budget: Option<PodDisruptionBudget>,
    /// The Secret with the identity.
    pub identity: Option<Secret>,
    /// The committed configuration by a linearizable read, if there is a leader to ask.
    pub configuration: Option<Linearizable>,
    /// Zones of Kubernetes nodes that run members, by node; empty if the operator may not read nodes.
    pub zones: BTreeMap<String, String>,
    /// The RaftBackup that `bootstrap.restore.backupName` names, if it exists.
    pub restore_from: Option<RaftBackup>,
    /// A member's last report about the object store.
    pub probe: Option<Probe>,
    /// Why the last membership change was refused, if it was.
    pub refusal: Option<Refusal>,
    /// Ordinals that this process reserved and has not used yet.
    pub reserved: BTreeSet<Ordinal>,
    /// Fresh random bytes, in case an identity is created.
    pub entropy: Entropy,
}

/// Settings of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// Image of new clusters whose spec names none.
    pub node_image: String,
    /// Pull policy of clusters whose spec names none.
    pub node_image_pull_policy: Option<String>,
}

/// Objects of one member, and its answer.
#[derive(Clone, Debug, Default)]
pub struct ObservedMember {
    /// Its StatefulSet.
    pub set: Option<StatefulSet>,
    /// Its pod.
    pub pod: Option<Pod>,
    /// Its volume claim.
    pub volume: Option<PersistentVolumeClaim>,
    /// Its answer; `None` if it was not called because it has no StatefulSet.
    pub answer: Option<Answer>,
    /// Warnings about its StatefulSet and claim while it does not answer, newest first. Trouble of its pod is in the pod's status.
    pub warnings: Vec<Warning>,
}

/// A Warning event about one of a member's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Kind of the object that it is about.
    pub kind: String,
    /// The event's reason, such as `FailedScheduling`.
    pub reason: String,
    /// The event's text.
    pub message: String,
}

/// The Services with the names that a cluster needs, also those that it does not own.
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
    /// The configuration that it confirmed.
    pub configuration: Configuration,
}

/// A member's report about the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Why members cannot use it; `None` when they can write and read it.
    pub cause: Option<FailureCause>,
    /// Explanation for people.
    pub error: String,
}

/// A membership change that was refused or failed. The shell keeps it until a change succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The member's reason; `None` if the member gave none, so that the change may have been carried out.
    pub reason: Option<RefusalReason>,
    /// Explanation for people.
    pub message: String,
}

/// Random bytes, fresh with each observation.
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

    /// Whether this RaftCluster owns an object, and not an earlier one of the same name or another owner.
    #[must_use]
    pub fn owns(&self, metadata: &ObjectMeta) -> bool {
        let uid = self.uid();
        metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
    }
}

/// The observed incarnation of an object. Writes are conditional on it, so that they never reach a later one.
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
    /// The incarnation that has this metadata, as the API server returned it.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let seen = Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
        };
        assert!(!seen.name.is_empty(), "a live object has a name");
        assert!(!seen.uid.is_empty(), "a live object has a UID, otherwise a write could reach another incarnation");
        assert!(!seen.version.is_empty(), "a live object has a version, otherwise a compare-and-swap compares nothing");
        seen
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

/// Image of a live StatefulSet.
pub(crate) fn image_of(set: &StatefulSet) -> Option<&str> {
    let containers = &set.spec.as_ref()?.template.spec.as_ref()?.containers;
    containers.iter().find(|container| container.name == names::CONTAINER)?.image.as_deref()
}

/// Whether the volume of a live StatefulSet is deleted with it.
pub(crate) fn volume_goes_with(set: &StatefulSet) -> bool {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.and_then(|policy| policy.when_deleted.as_deref()) == Some(VolumeFate::Delete.as_str())
}

/// Pull policy of a live StatefulSet; `None` if it is the default for its image, so that it follows the image when that changes.
pub(crate) fn image_pull_policy_of(set: &StatefulSet) -> Option<&str> {
    let containers = &set.spec.as_ref()?.template.spec.as_ref()?.containers;
    let container = containers.iter().find(|container| container.name == names::CONTAINER)?;
    let policy = container.image_pull_policy.as_deref()?;
    (policy != default_pull_policy(container.image.as_deref().unwrap_or_default())).then_some(policy)
}

/// Default pull policy of an image (Kubernetes API reference, `Container.imagePullPolicy`).
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
