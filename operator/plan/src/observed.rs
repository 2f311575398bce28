//! Everything on which a decision may depend, as it was read. Owns the types. Does not own the reading (the shell's
//! `raft_cluster/observe.rs`), nor any judgement.
//!
//! The shell reads in a fixed order: volumes, StatefulSets, members, the configuration. The configuration is read
//! last. If a member is removed during the reading, the configuration therefore shows the removal.

pub mod failure;

pub mod member;

pub mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::RaftBackup;
use crds::RaftCluster;
use crds::raft_cluster::VolumeFate;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::names::{self, Ordinal};
use failure::FailureCause;
use member::{Answer, Configuration, MemberPhase, Report};
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
    /// Objects of each member, including objects that this cluster does not own.
    pub members: BTreeMap<Ordinal, ObservedMember>,
    /// The three Services.
    pub services: ObservedServices,
    /// The voters' disruption budget.
    pub budget: Option<PodDisruptionBudget>,
    /// The Secrets that were read because they may hold the identity (`pointer.rs`), by name; `None` if a Secret does not
    /// exist.
    pub identities: BTreeMap<String, Option<Secret>>,
    /// The committed configuration, from a linearizable read; `None` if no leader answers.
    pub configuration: Option<Linearizable>,
    /// Zone of each Kubernetes node that runs a member, by the node's name; empty if the operator may not read nodes.
    pub zones: BTreeMap<String, String>,
    /// The Kubernetes nodes of silent members that are not Ready, by name, with the time since which they are not; `None`
    /// for a node that does not exist. Empty if the operator may not read nodes.
    pub unready_nodes: BTreeMap<String, Option<Timestamp>>,
    /// The RaftBackup that `bootstrap.restore.backupName` names, if it exists.
    pub restore_from: Option<RaftBackup>,
    /// The last report of a member about the object store.
    pub probe: Option<Probe>,
    /// The reason why the last membership change was refused; `None` if it was not refused.
    pub refusal: Option<Refusal>,
    /// Ordinals that this process reserved and has not used yet.
    pub reserved: BTreeSet<Ordinal>,
    /// Random bytes of this observation, used if an identity is created.
    pub entropy: Entropy,
}

/// Settings of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// Image for a cluster that has no members yet and whose spec names no image.
    pub node_image: String,
    /// Pull policy for a cluster that has no members yet and whose spec names no pull policy.
    pub node_image_pull_policy: Option<String>,
}

/// Objects of one member, and its answer to the operator.
#[derive(Clone, Debug, Default)]
pub struct ObservedMember {
    /// The member's StatefulSet.
    pub set: Option<StatefulSet>,
    /// The member's pod.
    pub pod: Option<Pod>,
    /// The member's volume claim.
    pub volume: Option<PersistentVolumeClaim>,
    /// The member's answer; `None` if the member was not called because it has no StatefulSet.
    pub answer: Option<Answer>,
    /// The last time before this observation at which the member answered this process or the leader; `None` if this
    /// process never saw that.
    pub heard: Option<Timestamp>,
    /// Warnings about the member's StatefulSet and claim while the member does not answer, newest first. Problems of
    /// the pod are in the pod's status.
    pub warnings: Vec<Warning>,
}

/// A Warning event about one of a member's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Kind of the object to which the event belongs.
    pub kind: String,
    /// The event's reason, such as `FailedScheduling`.
    pub reason: String,
    /// The event's text.
    pub message: String,
}

/// The Services that have the names of this cluster's Services, including Services that this cluster does not own.
#[derive(Clone, Debug, Default)]
pub struct ObservedServices {
    /// The Service for clients, such as `demo`.
    pub client: Option<Service>,
    /// The Service for clients that accept stale data, such as `demo-read`.
    pub read: Option<Service>,
    /// The members' Service, such as `demo-members`.
    pub members: Option<Service>,
}

/// A configuration that a leader confirmed by a linearizable read.
#[derive(Clone, Debug, PartialEq)]
pub struct Linearizable {
    /// The member that leads.
    pub leader: Ordinal,
    /// The configuration that the leader confirmed.
    pub configuration: Configuration,
}

/// A member's report on whether the object store can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The reason why members cannot use the object store; `None` if they can write and read it.
    pub cause: Option<FailureCause>,
    /// Explanation for people.
    pub error: String,
}

/// A membership change that was refused or failed. The shell keeps it until a change succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The member's reason. `None` if the member gave no reason; the change may then have been carried out.
    pub reason: Option<RefusalReason>,
    /// Explanation for people.
    pub message: String,
}

/// Random bytes. They are the same in each observation until the identity that is made of them counts, and are then
/// drawn anew, so that passes whose pointer is refused do not leave a Secret each.
#[derive(Clone, Copy)]
pub struct Entropy {
    /// Random bytes for a cluster ID.
    pub cluster_id: u128,
    /// Random bytes for a token.
    pub token: [u8; 32],
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(hidden)")
    }
}

impl Observed {
    /// UID of the RaftCluster; empty only if the object was never created.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The report of the member that leads.
    pub(crate) fn leader_report(&self) -> Option<&Report> {
        match self.members.get(&self.configuration.as_ref()?.leader)?.answer.as_ref()? {
            Answer::Report(report) => Some(report),
            Answer::Silent { .. } => None,
        }
    }

    /// The feature level of the cluster, as the member that leads reports it; 1 if none leads.
    pub(crate) fn level(&self) -> u32 {
        self.leader_report().map_or(1, |leader| leader.level)
    }

    /// The members that answered the operator, and those whose answers the leader receives, each with the time since it
    /// was heard. A member that repairs its disk counts as heard when the repair made progress last.
    #[must_use]
    pub fn heard(&self) -> BTreeMap<Ordinal, Duration> {
        let ago = |member: &ObservedMember| match member.answer.as_ref()? {
            Answer::Report(report) if report.phase == MemberPhase::Repairing => Some(report.repair.as_ref()?.stalled),
            Answer::Report(_) => Some(Duration::ZERO),
            Answer::Silent { .. } => None,
        };
        let answered = self.members.iter().filter_map(|(ordinal, member)| Some((*ordinal, ago(member)?)));
        let mut heard: BTreeMap<Ordinal, Duration> = answered.collect();
        let cluster = self.cluster.metadata.name.as_deref().unwrap_or_default();
        if let Some((read, leader)) = self.configuration.as_ref().zip(self.leader_report()) {
            let active = leader.progress.iter().filter(|(_, progress)| progress.active);
            let named = active.filter_map(|(id, _)| read.configuration.members.get(id));
            let named = named.filter_map(|info| names::ordinal_of_member(cluster, &info.name));
            heard.extend(named.map(|ordinal| (ordinal, Duration::ZERO)));
            debug_assert!(heard.contains_key(&read.leader), "the leader answers");
        }
        heard
    }

    /// The time of the observation less `ago`.
    pub(crate) fn before(&self, ago: Duration) -> Timestamp {
        let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
        self.now.checked_sub(ago).unwrap_or(Timestamp::MIN)
    }

    /// Returns whether this RaftCluster owns an object. An earlier RaftCluster of the same name counts as another
    /// owner.
    #[must_use]
    pub fn owns(&self, metadata: &ObjectMeta) -> bool {
        let uid = self.uid();
        metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
    }
}

/// The observed incarnation of an object. Writes depend on it, so that they never change a later incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Name of the object.
    pub name: String,
    /// UID of the object.
    pub uid: String,
    /// Resource version of the object.
    pub version: String,
}

impl Seen {
    /// The incarnation with this metadata, which the API server returned.
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

/// Image of a live StatefulSet, as the operator wrote it. A webhook may have replaced the container's image, for example
/// by that of a mirror; if this image counted, every member would restart with it.
pub(crate) fn image_of(set: &StatefulSet) -> Option<&str> {
    let template = &set.spec.as_ref()?.template;
    let written = template.metadata.as_ref().and_then(|metadata| annotation(metadata, names::ANNOTATION_IMAGE));
    let containers = template.spec.iter().flat_map(|pod| &pod.containers);
    let found = || containers.into_iter().find(|container| container.name == names::CONTAINER)?.image.as_deref();
    written.or_else(found)
}

/// Digest of the settings with which the next pod of a StatefulSet starts.
pub(crate) fn settings_of_set(set: &StatefulSet) -> Option<&str> {
    annotation(set.spec.as_ref()?.template.metadata.as_ref()?, names::ANNOTATION_SETTINGS)
}

/// Digest of the settings with which a pod was created.
pub(crate) fn settings_of_pod(pod: &Pod) -> Option<&str> {
    annotation(&pod.metadata, names::ANNOTATION_SETTINGS)
}

/// Image of a live pod, as the operator wrote it.
pub(crate) fn image_of_pod(pod: &Pod) -> Option<&str> {
    let containers = pod.spec.iter().flat_map(|pod| &pod.containers);
    let found = || containers.into_iter().find(|container| container.name == names::CONTAINER)?.image.as_deref();
    annotation(&pod.metadata, names::ANNOTATION_IMAGE).or_else(found)
}

/// Returns whether the volume of a live StatefulSet is deleted with the StatefulSet.
pub(crate) fn volume_goes_with(set: &StatefulSet) -> bool {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.and_then(|policy| policy.when_deleted.as_deref()) == Some(VolumeFate::Delete.as_str())
}

/// Pull policy of a live StatefulSet. `None` if it equals the default for the image; the policy then follows the image
/// when the image changes.
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
