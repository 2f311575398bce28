//! A member's StatefulSet: one replica, its own volume, restricted pod security. Owns the contents of the StatefulSet,
//! what of a live one is kept, and what decides whether a live one is written. Does not own which members there are
//! (`membership`), nor the contents of the pod (`pod_template.rs`). The reasons are in
//! `operator/docs/decisions/ownership.md`.

use std::collections::BTreeMap;

use crds::ObjectStore;
use crds::raft_cluster::{RaftSettings, Snapshots, VolumeFate};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Serialize;
use serde_json::{Value, json};

use super::{digest, is_empty, pod_template, stamped};
use crate::ids::MemberId;
use crate::names::{self, Ordinal, Role};
use crate::observed::{annotation, settings_of_set};
use crate::validated::ValidatedCluster;

/// The properties in which members' StatefulSets differ.
#[derive(Clone, Debug)]
pub struct Shape<'a> {
    /// The member's ordinal.
    pub ordinal: Ordinal,
    /// Whether the member's pod runs.
    pub runs: bool,
    /// The member's role in the configuration. Services and the disruption budget select pods by this role.
    pub role: Role,
    /// Whether the member's volume is kept or deleted with the StatefulSet.
    pub volume_fate: VolumeFate,
    /// The annotation that the StatefulSet gets when it is created.
    pub origin: SetOrigin<'a>,
    /// The store of the backup from which the cluster was restored, or will be restored.
    pub restore_store: Option<&'a ObjectStore>,
}

/// The annotation that a StatefulSet gets when it is created, if any. Later applies do not contain this annotation, and
/// do not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOrigin<'a> {
    /// No annotation, because the member is new and has no ID, or because the StatefulSet exists and keeps its
    /// annotation.
    Plain,
    /// The ID of a member whose StatefulSet was deleted: the new StatefulSet announces this ID from the start.
    Announced(MemberId),
    /// The UID of a volume claim, if the member's ID is unknown. The member is brought back only for this volume,
    /// and is never admitted with another volume.
    OfVolume(&'a str),
}

/// The StatefulSet of one member. Without a live one, as it is created. With a live one, as it is replaced: labels and
/// annotations of others stay, fields that Kubernetes does not let change stay, and the pod template stays until the
/// spec asks for other settings than those with which it was written.
#[must_use]
pub fn of(valid: &ValidatedCluster<'_>, shape: &Shape<'_>, live: Option<&StatefulSet>) -> StatefulSet {
    with_settings(valid, shape, live, &settings(valid, shape.restore_store))
}

/// The StatefulSet that replaces a live one and keeps the settings of its pod, whatever the spec asks for.
pub(crate) fn keeping_settings(valid: &ValidatedCluster<'_>, shape: &Shape<'_>, live: &StatefulSet) -> StatefulSet {
    match settings_of_set(live) {
        Some(settings) => with_settings(valid, shape, Some(live), settings),
        None => of(valid, shape, Some(live)),
    }
}

fn with_settings(
    valid: &ValidatedCluster<'_>,
    shape: &Shape<'_>,
    live: Option<&StatefulSet>,
    settings: &str,
) -> StatefulSet {
    // The stamp covers what is decided now. Of the pod template it covers the settings, because another rendering of
    // the same settings is no reason to write; it does not cover the claim template, which never changes.
    let mut set = stamped(decided(valid, shape, settings));
    let kept = live.and_then(|live| live.spec.as_ref()).map(|spec| &spec.template);
    let kept = kept.filter(|template| pod_template::settings_of(template) == Some(settings));
    let spec = set.spec.get_or_insert_default();
    spec.template = match kept {
        Some(template) => pod_template::kept(valid, template, shape.role),
        None => {
            let Shape { ordinal, role, restore_store, .. } = *shape;
            pod_template::of(valid, &pod_template::Member { ordinal, role, restore_store, settings })
        }
    };
    spec.volume_claim_templates = Some(vec![volume_claim(valid)]);
    match live {
        None => {
            annotate_origin(&mut set, shape.origin);
            annotate_class(&mut set, valid);
        }
        Some(live) => keep_fixed_fields(&mut set, live),
    }
    debug_assert!(selects_its_pod(&set), "a StatefulSet selects its pod: the API server refuses it otherwise");
    set
}

/// Returns whether the live StatefulSet was last written as wanted. The stamp says what was written. It is compared
/// instead of the fields, because a webhook may change a field at each write, and the StatefulSet would then be written
/// in each pass. Only what this operator depends on is compared itself: whether the pod runs, what becomes of the
/// volume, and with which settings the next pod starts.
#[must_use]
pub fn is_written(wanted: &StatefulSet, live: &StatefulSet) -> bool {
    let stamp = |set: &StatefulSet| annotation(&set.metadata, names::ANNOTATION_APPLIED).map(str::to_owned);
    assert!(stamp(wanted).is_some(), "a wanted StatefulSet has a stamp");
    let depended_on = |set: &StatefulSet| {
        let spec = set.spec.as_ref()?;
        let settings = pod_template::settings_of(&spec.template).map(str::to_owned);
        Some((spec.replicas, spec.persistent_volume_claim_retention_policy.clone(), settings))
    };
    stamp(wanted) == stamp(live) && depended_on(wanted) == depended_on(live)
}

/// Returns whether the pod of a StatefulSet runs. It does not run while the cluster is stopped.
#[must_use]
pub fn runs(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|spec| spec.replicas) != Some(0)
}

/// Returns whether a StatefulSet keeps the volume when it is scaled down.
pub(crate) fn retains_when_scaled(set: &StatefulSet) -> bool {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.and_then(|policy| policy.when_scaled.as_deref()) == Some(VolumeFate::Retain.as_str())
}

/// The live StatefulSet, scaled to 0 and otherwise unchanged. If it does not keep the volume when it is scaled down, it is
/// told to do so first.
pub(crate) fn halted(live: &StatefulSet) -> StatefulSet {
    let mut set = StatefulSet { status: None, ..live.clone() };
    set.metadata.managed_fields = None;
    let keeps_volume = retains_when_scaled(live);
    let spec = set.spec.get_or_insert_default();
    if keeps_volume {
        spec.replicas = Some(0);
    } else {
        let policy = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        policy.when_scaled = Some(VolumeFate::Retain.as_str().to_owned());
    }
    set
}

/// The part of the pods that changes only with their settings.
pub(crate) fn fixed_pods(spec: &StatefulSetSpec) -> PodTemplateSpec {
    pod_template::fixed(&spec.template)
}

/// Everything of a StatefulSet that may change while it lives.
fn decided(valid: &ValidatedCluster<'_>, shape: &Shape<'_>, settings: &str) -> StatefulSet {
    let selector = BTreeMap::from([
        (names::LABEL_CLUSTER.to_owned(), valid.name.to_owned()),
        (names::LABEL_MEMBER.to_owned(), names::member(valid.name, shape.ordinal)),
    ]);
    StatefulSet {
        metadata: ObjectMeta {
            name: Some(names::member(valid.name, shape.ordinal)),
            namespace: Some(valid.namespace.to_owned()),
            labels: Some(names::member_labels(valid.name, shape.ordinal)),
            owner_references: Some(vec![valid.owner.clone()]),
            // Each stop writes every StatefulSet, so that no replacement that was decided before it can start a member.
            annotations: valid
                .stopped_since
                .map(|generation| [(names::ANNOTATION_STOPPED.to_owned(), generation.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(shape.runs)),
            service_name: Some(names::member_service(valid.name)),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            // `Parallel` is needed because Kubernetes must keep the volume's owner up to date even while the pod is
            // not ready.
            pod_management_policy: Some("Parallel".to_owned()),
            // The operator restarts members itself, one at a time.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(shape.volume_fate.as_str().to_owned()),
                when_scaled: Some(VolumeFate::Retain.as_str().to_owned()),
            }),
            revision_history_limit: Some(1),
            template: pod_template::decided(valid, shape.role, settings),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// Adds the annotation of a StatefulSet that is created. The stamp does not cover it, because later writes keep it as
/// they keep the annotations of others.
fn annotate_origin(set: &mut StatefulSet, origin: SetOrigin<'_>) {
    let (key, value) = match origin {
        SetOrigin::Plain => return,
        SetOrigin::Announced(id) => (names::ANNOTATION_MEMBER_ID, id.to_string()),
        SetOrigin::OfVolume(uid) => (names::ANNOTATION_VOLUME, uid.to_owned()),
    };
    set.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
}

/// Notes the StorageClass that a StatefulSet asks for when it is created. The stamp does not cover it, because the claim
/// template never changes.
fn annotate_class(set: &mut StatefulSet, valid: &ValidatedCluster<'_>) {
    if let Some(class) = &valid.spec.storage.storage_class_name {
        let notes = set.metadata.annotations.get_or_insert_default();
        notes.insert(names::ANNOTATION_STORAGE_CLASS.to_owned(), class.clone());
    }
}

/// Keeps what a replacement must not change: labels, annotations and finalizers of others, owners, and the fields that
/// Kubernetes does not let change, such as the claim template. If one of these fields differed, for example because a
/// later version of this operator labels claims otherwise, the API server would refuse every write of the StatefulSet.
fn keep_fixed_fields(set: &mut StatefulSet, live: &StatefulSet) {
    let merged = |kept: &Option<BTreeMap<String, String>>, own: Option<BTreeMap<String, String>>| {
        let mut all = kept.clone().unwrap_or_default();
        all.extend(own.unwrap_or_default());
        Some(all)
    };
    let metadata = &mut set.metadata;
    metadata.labels = merged(&live.metadata.labels, metadata.labels.take());
    metadata.annotations = merged(&live.metadata.annotations, metadata.annotations.take());
    metadata.finalizers.clone_from(&live.metadata.finalizers);
    metadata.owner_references.clone_from(&live.metadata.owner_references);
    let (Some(spec), Some(kept)) = (&mut set.spec, &live.spec) else { return };
    spec.selector.clone_from(&kept.selector);
    spec.service_name.clone_from(&kept.service_name);
    spec.pod_management_policy.clone_from(&kept.pod_management_policy);
    spec.volume_claim_templates.clone_from(&kept.volume_claim_templates);
}

fn selects_its_pod(set: &StatefulSet) -> bool {
    let Some(spec) = &set.spec else { return false };
    let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let mut wanted = spec.selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
}

/// A digest of the settings that the spec sets for a pod. It does not cover the whole pod, because otherwise an
/// operator of another version or with other flags would restart members.
#[must_use]
pub fn settings(valid: &ValidatedCluster<'_>, restore_store: Option<&ObjectStore>) -> String {
    digest(&settings_json(valid, restore_store))
}

/// The settings that the digest covers. `recorded.rs` reads them back into a spec.
pub(crate) fn settings_json(valid: &ValidatedCluster<'_>, restore_store: Option<&ObjectStore>) -> Value {
    let spec = valid.spec;
    without_empty_fields(json!({
        "image": valid.image,
        "imagePullPolicy": spec.image_pull_policy,
        "imagePullSecrets": spec.image_pull_secrets,
        "resources": spec.resources,
        // The quota in bytes, so that another notation of the same quota does not change the digest.
        "quota": spec.quota.as_ref().map(|_| valid.quota_bytes),
        "affinity": spec.affinity,
        "topologySpreadConstraints": spec.topology_spread_constraints.as_ref().map(|all| json!({ "of": all })),
        "tolerations": spec.tolerations,
        "nodeSelector": spec.node_selector,
        "priorityClassName": spec.priority_class_name,
        "pod": spec.pod,
        "raft": changed(&spec.raft, &RaftSettings::default()),
        "snapshots": changed(&spec.snapshots, &Snapshots::default()),
        "backupCredentials": spec.backup.as_ref().map(|backup| &backup.object_store.credentials_secret_ref),
        "restoreCredentials": restore_store.map(|store| &store.credentials_secret_ref),
    }))
}

/// The fields that differ from their default.
fn changed<T: Serialize>(set: &T, default: &T) -> Value {
    let json = |settings: &T| serde_json::to_value(settings).expect("settings always serialize");
    let (mut set, default) = (json(set), json(default));
    if let Some(fields) = set.as_object_mut() {
        fields.retain(|name, value| default.get(name) != Some(value));
    }
    set
}

/// The settings without empty fields. A field that a later version adds therefore changes no digest while it is
/// unused.
fn without_empty_fields(mut settings: Value) -> Value {
    if let Some(fields) = settings.as_object_mut() {
        fields.retain(|_, value| !is_empty(value));
    }
    settings
}

/// The claim template. It carries no labels, because it can never change: the wanted labels are written onto each claim
/// (`labels.rs`). Kubernetes adds the labels of the selector, by which the claims are found.
fn volume_claim(valid: &ValidatedCluster<'_>) -> PersistentVolumeClaim {
    let storage = &valid.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(names::VOLUME.to_owned()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), storage.size.clone())])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A later version that adds a field, or changes the default of a field, must not restart any member.
    #[test]
    fn only_a_field_that_differs_from_its_default_counts() {
        let (default, set) = (json!({ "threshold": 1024, "retain": 3 }), json!({ "threshold": 99, "retain": 3 }));
        assert_eq!(changed(&set, &default), json!({ "threshold": 99 }));
        assert_eq!(changed(&default, &default), json!({}));
        assert_eq!(without_empty_fields(json!({ "a": 1, "b": null, "c": [], "d": {} })), json!({ "a": 1 }));
    }
}
