//! The parts of Kubernetes' controllers and kubelets on which members depend: StatefulSets create claims and pods, pods
//! start processes, objects whose owner no longer exists are garbage collected, and a claim stays while a pod uses it.
//! A StatefulSet that is scaled to 0 stops its pod, and deletes its claim unless its policy retains it.
//! Each call is one small step. Does not own the storage of objects (`api_server.rs`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, PodCondition, PodStatus, Secret, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use plan::observed::Seen;
use serde_json::json;

use crate::api_server::{ApiServer, Compare, Deletion, Stored};
use crate::members::Members;

/// The image whose program supports only the first feature level.
pub(crate) const FORMER_IMAGE: &str = "raft-node:1";
/// An image whose program supports two feature levels, as every other image does.
pub(crate) const LATER_IMAGE: &str = "raft-node:2";
/// The program of a member with this snapshot threshold does not start.
pub(crate) const BROKEN_THRESHOLD: i32 = 99;

/// Runs every controller once. Unless a Kubernetes node has free capacity, new pods stay pending.
pub fn step(api: &mut ApiServer, members: &mut Members, has_capacity: bool, now: Timestamp) {
    let sets: Vec<Arc<StatefulSet>> = api.now().sets.values().cloned().collect();
    for set in &sets {
        keep(api, set, now);
    }
    collect_owned(api, now);
    collect(api, members, now);
    run(api, members, has_capacity, now);
}

/// Creates the claim and the pod of a StatefulSet if they are missing. Makes the StatefulSet the owner of the claim if
/// and only if the retention policy requires this.
fn keep(api: &mut ApiServer, set: &StatefulSet, now: Timestamp) {
    let name = set.metadata.name.clone().unwrap_or_default();
    let Some(spec) = &set.spec else { return };
    let (pod_name, claim_name) = (format!("{name}-0"), format!("data-{name}-0"));
    let template = spec.volume_claim_templates.as_ref().and_then(|templates| templates.first());
    let Some(claim) = api.now().volumes.get(&claim_name).cloned() else {
        // Kubernetes creates a claim together with its pod.
        if spec.replicas == Some(0) {
            return;
        }
        // Kubernetes adds the labels of the selector to those of the claim template.
        let of_template = template.and_then(|template| template.metadata.labels.clone());
        let of_selector = spec.selector.match_labels.clone();
        let labels = Some(of_template.into_iter().chain(of_selector).flatten().collect());
        let metadata = ObjectMeta { name: Some(claim_name), labels, ..ObjectMeta::default() };
        let spec = template.and_then(|template| template.spec.clone());
        let status = PersistentVolumeClaimStatus { phase: Some("Bound".to_owned()), ..Default::default() };
        // Admission may refuse it. The controller tries again.
        let _ = api.create(&PersistentVolumeClaim { metadata, spec, status: Some(status) });
        return;
    };
    provide(api, &claim);
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let is_owner = policy.and_then(|policy| policy.when_deleted.as_deref()) == Some("Delete");
    let owned = owners(&claim.metadata).any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
    if is_owner != owned {
        let owners = if is_owner { json!([owner(&set.metadata)]) } else { json!([]) };
        let patch = json!({ "metadata": { "ownerReferences": owners } });
        let _ = api.patch::<PersistentVolumeClaim>(&Seen::of(&claim.metadata), Compare::Uid, &patch);
    }
    if let Some(pod) = api.now().pods.get(&pod_name).filter(|pod| owners(&pod.metadata).next().is_none()).cloned() {
        let patch = json!({ "metadata": { "ownerReferences": [owner(&set.metadata)] } });
        let _ = api.patch::<Pod>(&Seen::of(&pod.metadata), Compare::Uid, &patch);
    }
    if spec.replicas == Some(0) {
        scale_down(api, set, &claim, now);
        return;
    }
    if !api.now().pods.contains_key(&pod_name) && claim.metadata.deletion_timestamp.is_none() {
        let template = spec.template.metadata.clone().unwrap_or_default();
        let metadata = ObjectMeta {
            name: Some(pod_name),
            labels: template.labels,
            annotations: template.annotations,
            owner_references: Some(vec![owner(&set.metadata)]),
            ..ObjectMeta::default()
        };
        let pod = Pod { metadata, spec: spec.template.spec.clone(), status: None };
        let _ = api.create(&pod);
    }
}

/// Gives the volume of a claim the size that the claim asks for.
fn provide(api: &mut ApiServer, claim: &PersistentVolumeClaim) {
    let asked = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.clone());
    let given = claim.status.as_ref().and_then(|status| status.capacity.clone());
    if asked.is_some() && asked != given {
        let patch = json!({ "status": { "capacity": asked } });
        let _ = api.patch::<PersistentVolumeClaim>(&Seen::of(&claim.metadata), Compare::Uid, &patch);
    }
}

/// Stops the pod of a StatefulSet with 0 replicas. Kubernetes deletes the claim, too, unless `whenScaled` is `Retain`.
fn scale_down(api: &mut ApiServer, set: &StatefulSet, claim: &PersistentVolumeClaim, now: Timestamp) {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    if let Some(pod) = api.now().pods.get(&format!("{name}-0")).map(|pod| Seen::of(&pod.metadata)) {
        let _ = api.delete::<Pod>(&pod, Compare::Uid, Deletion::Marked, now);
    }
    let spec = set.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    if policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete") {
        let _ = api.delete::<PersistentVolumeClaim>(&Seen::of(&claim.metadata), Compare::Uid, Deletion::Marked, now);
    }
}

fn owner(metadata: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        controller: Some(true),
        kind: "StatefulSet".to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

fn owners(metadata: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    metadata.owner_references.iter().flatten().filter(|owner| owner.kind == "StatefulSet")
}

/// Deletes the objects all of whose owners are RaftClusters that do not exist (any more). A late apply adds an owner.
fn collect_owned(api: &mut ApiServer, now: Timestamp) {
    let present = api.now().cluster.as_ref().and_then(|cluster| cluster.metadata.uid.clone());
    let is_orphan = |metadata: &ObjectMeta| {
        let owners = metadata.owner_references.iter().flatten().filter(|owner| owner.kind == "RaftCluster");
        let mut owners = owners.peekable();
        owners.peek().is_some() && owners.all(|owner| Some(&owner.uid) != present.as_ref())
    };
    fn orphans<'o, K: Stored + 'o>(
        all: impl Iterator<Item = &'o K>,
        is_orphan: impl Fn(&ObjectMeta) -> bool,
    ) -> Vec<Seen> {
        all.map(Stored::meta).filter(|metadata| is_orphan(metadata)).map(Seen::of).collect()
    }
    for set in orphans(api.now().sets.values().map(Arc::as_ref), is_orphan) {
        let _ = api.delete::<StatefulSet>(&set, Compare::Uid, Deletion::AtOnce, now);
    }
    for service in orphans(api.now().services.values(), is_orphan) {
        let _ = api.delete::<Service>(&service, Compare::Uid, Deletion::AtOnce, now);
    }
    for budget in orphans(api.now().budgets.values(), is_orphan) {
        let _ = api.delete::<PodDisruptionBudget>(&budget, Compare::Uid, Deletion::AtOnce, now);
    }
    for secret in orphans(api.now().secrets.values(), is_orphan) {
        let _ = api.delete::<Secret>(&secret, Compare::Uid, Deletion::AtOnce, now);
    }
}

/// Deletes the objects of a deleted StatefulSet. A claim is deleted only when no pod uses it.
fn collect(api: &mut ApiServer, members: &mut Members, now: Timestamp) {
    let alive = |api: &ApiServer, metadata: &ObjectMeta| {
        let mut owners = owners(metadata).peekable();
        owners.peek().is_none()
            || owners.any(|owner| api.now().sets.values().any(|set| set.metadata.uid.as_ref() == Some(&owner.uid)))
    };
    let pods: Vec<Arc<Pod>> = api.now().pods.values().cloned().collect();
    for pod in pods {
        let seen = Seen::of(&pod.metadata);
        if pod.metadata.deletion_timestamp.is_none() && !alive(api, &pod.metadata) {
            let _ = api.delete::<Pod>(&seen, Compare::Uid, Deletion::Marked, now);
        } else if pod.metadata.deletion_timestamp.is_some() && members.can_stop(&seen.uid) {
            members.stop(&seen.uid);
            let _ = api.delete::<Pod>(&seen, Compare::Uid, Deletion::AtOnce, now);
        }
    }
    let claims: Vec<Arc<PersistentVolumeClaim>> = api.now().volumes.values().cloned().collect();
    for claim in claims {
        let seen = Seen::of(&claim.metadata);
        let in_use = api.now().pods.keys().any(|pod| seen.name == format!("data-{pod}"));
        if claim.metadata.deletion_timestamp.is_some() && !in_use {
            let _ = api.delete::<PersistentVolumeClaim>(&seen, Compare::Uid, Deletion::AtOnce, now);
            members.destroy(&seen.uid);
        } else if claim.metadata.deletion_timestamp.is_none() && !alive(api, &claim.metadata) {
            let _ = api.delete::<PersistentVolumeClaim>(&seen, Compare::Uid, Deletion::Marked, now);
        }
    }
}

/// Starts each pod's process on the disk of its claim, and reports the pod as ready while the core runs.
fn run(api: &mut ApiServer, members: &mut Members, has_capacity: bool, now: Timestamp) {
    let pods: Vec<Arc<Pod>> = api.now().pods.values().cloned().collect();
    for pod in pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let seen = Seen::of(&pod.metadata);
        let claim = api.now().volumes.get(&format!("data-{}", seen.name)).cloned();
        let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) else { continue };
        if pod.status.as_ref().is_none_or(|status| status.pod_ip.is_none()) && !has_capacity {
            let condition = condition("PodScheduled", "False", Some("Unschedulable"), now);
            let phase = Some("Pending".to_owned());
            let status = PodStatus { phase, conditions: Some(vec![condition]), ..PodStatus::default() };
            if pod.status.is_none() {
                let _ = api.patch::<Pod>(&seen, Compare::Uid, &json!({ "status": status }));
            }
            continue;
        }
        if !is_broken(&pod) {
            members.ensure(&seen.uid, claim.metadata.uid.as_deref().unwrap_or_default(), supports(&pod));
        }
        let ready = members.is_ready(&seen.uid);
        let was = pod.status.as_ref().and_then(|status| status.conditions.as_ref()?.first().cloned());
        let word = if ready { "True" } else { "False" };
        if was.is_some_and(|was| was.type_ == "Ready" && was.status == word) {
            continue;
        }
        let ready = condition("Ready", word, None, now);
        let scheduled = condition("PodScheduled", "True", None, now);
        let status = PodStatus {
            phase: Some("Running".to_owned()),
            pod_ip: Some(seen.uid.clone()),
            conditions: Some(vec![ready, scheduled]),
            ..PodStatus::default()
        };
        let _ = api.patch::<Pod>(&seen, Compare::Uid, &json!({ "status": status }));
    }
}

fn condition(type_: &str, status: &str, reason: Option<&str>, now: Timestamp) -> PodCondition {
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }
}

/// The highest feature level that the program of a pod supports.
fn supports(pod: &Pod) -> u32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    supported_by(containers.into_iter().find_map(|container| container.image.as_deref()).unwrap_or_default())
}

/// The highest feature level that an image supports.
pub(crate) fn supported_by(image: &str) -> u32 {
    if image == FORMER_IMAGE { 1 } else { 2 }
}

/// Returns whether the program of a pod ends at once because of its settings.
pub(crate) fn is_broken(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut variables = containers.flat_map(|container| container.env.iter().flatten());
    let broken = BROKEN_THRESHOLD.to_string();
    variables.any(|it| it.name == "RAFT_NODE_SNAPSHOT_THRESHOLD" && it.value.as_ref() == Some(&broken))
}
