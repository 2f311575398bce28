//! A member's StatefulSet: one replica, its own volume, restricted pod security. Owns the contents of the StatefulSet
//! and of its pod. Does not own which members there are (`membership`).

use std::collections::BTreeMap;

use crds::ObjectStore;
use crds::raft_cluster::{RaftSettings, Snapshots, VolumeFate};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath, LocalObjectReference,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ProjectedVolumeSource, SeccompProfile, SecretProjection, SecurityContext, Toleration, TopologySpreadConstraint,
    Volume, VolumeMount, VolumeProjection, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use super::{digest, is_empty, stamped};
use crate::ids::MemberId;
use crate::names::{self, Ordinal, Role};
use crate::validated::ValidatedCluster;

/// User and group of a member if the spec gives none: "nonroot" of distroless images.
const NONROOT: i64 = 65532;
/// Time within which a member must transfer leadership and stop, in seconds.
const GRACE_SECONDS: i64 = 30;
/// Time after which a member that still reads its disk counts as hung, in seconds.
const STARTUP_SECONDS_MAX: i32 = 900;
/// Folder in which the credentials of object stores are mounted.
const CREDENTIALS: &str = "/etc/raft-node/object-store";
/// Name of the volume that holds the credentials of object stores.
const CREDENTIALS_VOLUME: &str = "object-store";

/// The properties in which members' StatefulSets differ.
#[derive(Clone, Debug)]
pub struct Shape<'a> {
    /// The member's ordinal.
    pub ordinal: Ordinal,
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

/// The StatefulSet of one member.
#[must_use]
pub fn of(valid: &ValidatedCluster<'_>, shape: &Shape<'_>) -> StatefulSet {
    let labels = names::member_labels(valid.name, shape.ordinal);
    let selector = BTreeMap::from([
        (names::LABEL_CLUSTER.to_owned(), valid.name.to_owned()),
        (names::LABEL_MEMBER.to_owned(), names::member(valid.name, shape.ordinal)),
    ]);
    let mut set = stamped(StatefulSet {
        metadata: ObjectMeta {
            name: Some(names::member(valid.name, shape.ordinal)),
            namespace: Some(valid.namespace.to_owned()),
            labels: Some(labels.clone()),
            owner_references: Some(vec![valid.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
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
                when_scaled: Some("Retain".to_owned()),
            }),
            revision_history_limit: Some(1),
            template: pod_template(valid, shape, &labels),
            volume_claim_templates: Some(vec![volume_claim(valid, &labels)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    });
    // The annotation of `shape.origin` is added after the digest was computed. Otherwise the digest would be different
    // in a later apply, because a later apply does not contain this annotation.
    let note = match shape.origin {
        SetOrigin::Plain => None,
        SetOrigin::Announced(id) => Some((names::ANNOTATION_MEMBER_ID, id.to_string())),
        SetOrigin::OfVolume(uid) => Some((names::ANNOTATION_VOLUME, uid.to_owned())),
    };
    debug_assert!(selects_its_pod(&set), "a StatefulSet selects its pod: the API server refuses it otherwise");
    if let Some((key, value)) = note {
        set.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
    }
    set
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
    let spec = valid.spec;
    digest(&without_empty_fields(json!({
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
    })))
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

fn pod_template(valid: &ValidatedCluster<'_>, shape: &Shape<'_>, labels: &BTreeMap<String, String>) -> PodTemplateSpec {
    let extra = &valid.spec.pod;
    let mut pod_labels = extra.labels.clone();
    pod_labels.extend(labels.clone());
    pod_labels.insert(names::LABEL_ROLE.to_owned(), shape.role.as_str().to_owned());
    let mut annotations = extra.annotations.clone();
    annotations.insert(names::ANNOTATION_SETTINGS.to_owned(), settings(valid, shape.restore_store));
    annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), names::CONTAINER.to_owned());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(valid, shape)),
    }
}

fn pod(valid: &ValidatedCluster<'_>, shape: &Shape<'_>) -> PodSpec {
    let spec = valid.spec;
    let user = &spec.pod.security_context;
    let secrets: Vec<_> =
        spec.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }).collect();
    PodSpec {
        containers: vec![container(valid, shape)],
        volumes: credentials(valid, shape).map(|(volume, _)| vec![volume]),
        affinity: spec.affinity.clone(),
        tolerations: Some(tolerations(valid)).filter(|all| !all.is_empty()),
        node_selector: (!spec.node_selector.is_empty()).then(|| spec.node_selector.clone()),
        topology_spread_constraints: Some(spread(valid)),
        priority_class_name: spec.priority_class_name.clone(),
        image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        // Members never call the Kubernetes API, and need no token.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(user.run_as_user.unwrap_or(NONROOT)),
            run_as_group: Some(user.run_as_group.unwrap_or(NONROOT)),
            fs_group: Some(user.fs_group.unwrap_or(NONROOT)),
            // With the default policy, every start would change the group of every file on the volume.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn container(valid: &ValidatedCluster<'_>, shape: &Shape<'_>) -> Container {
    let mut mounts =
        vec![VolumeMount { name: names::VOLUME.to_owned(), mount_path: "/data".to_owned(), ..VolumeMount::default() }];
    mounts.extend(credentials(valid, shape).map(|(volume, _)| VolumeMount {
        name: volume.name,
        mount_path: CREDENTIALS.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }));
    let port = |name: &str, number: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let env: Vec<_> = valid
        .spec
        .pod
        .env
        .iter()
        .map(|variable| EnvVar {
            name: variable.name.clone(),
            value: Some(variable.value.clone()),
            ..EnvVar::default()
        })
        .collect();
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(valid.image.clone()),
        image_pull_policy: valid.image_pull_policy.clone(),
        args: Some(arguments(valid, shape)),
        env: (!env.is_empty()).then_some(env),
        ports: Some(vec![
            port("client", names::CLIENT_PORT),
            port("peer", names::PEER_PORT),
            port("metrics", names::METRICS_PORT),
        ]),
        resources: valid.spec.resources.clone(),
        volume_mounts: Some(mounts),
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(STARTUP_SECONDS_MAX),
            ..probe("/livez", 1)
        }),
        liveness_probe: Some(Probe { period_seconds: Some(10), failure_threshold: Some(6), ..probe("/livez", 5) }),
        // A member stays ready during an election, and a learner is ready although it has no vote. Otherwise every
        // election would empty the Services.
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(2),
            ..probe("/readyz?exclude=linearizable_read&exclude=non_learner", 2)
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// Arguments of a member's program. `raft-node run --help` explains each flag.
fn arguments(valid: &ValidatedCluster<'_>, shape: &Shape<'_>) -> Vec<String> {
    let spec = valid.spec;
    let (raft, snapshots) = (&spec.raft, &spec.snapshots);
    let milliseconds = |duration: &crds::Duration| {
        let duration: std::time::Duration = (*duration).into();
        format!("{}ms", duration.as_millis())
    };
    let mut arguments = vec!["run".to_owned()];
    let mut flag = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
    flag("name", names::member(valid.name, shape.ordinal));
    flag("data-dir", "/data".to_owned());
    flag("client-addr", format!("0.0.0.0:{}", names::CLIENT_PORT));
    flag("peer-addr", format!("0.0.0.0:{}", names::PEER_PORT));
    flag("http-addr", format!("0.0.0.0:{}", names::METRICS_PORT));
    flag("advertise-client-url", names::client_url(valid.name, valid.namespace, shape.ordinal));
    flag("advertise-peer-url", names::peer_url(valid.name, valid.namespace, shape.ordinal));
    flag("heartbeat-interval", milliseconds(&raft.heartbeat_interval));
    flag("election-timeout", milliseconds(&raft.election_timeout));
    flag("leader-lease", milliseconds(&raft.leader_lease));
    flag("lease-reads", raft.lease_reads.to_string());
    flag("commit-timeout", milliseconds(&raft.commit_timeout));
    flag("max-append-entries", raft.max_append_entries.to_string());
    flag("pre-vote", raft.pre_vote.to_string());
    flag("snapshot-threshold", snapshots.threshold.to_string());
    flag("snapshots-retain", snapshots.retain.to_string());
    flag("quota-bytes", valid.quota_bytes.to_string());
    if let Some((_, restore_folder)) = credentials(valid, shape) {
        flag("object-store-credentials", CREDENTIALS.to_owned());
        if let Some(folder) = restore_folder {
            flag("restore-credentials", format!("{CREDENTIALS}/{folder}"));
        }
    }
    debug_assert!(arguments.iter().skip(1).all(|argument| argument.starts_with("--")), "every argument is a flag");
    arguments
}

/// Returns the volume with the credentials of object stores, and the folder in it for the credentials of the restore.
/// The folder exists only if the restore needs other credentials than `spec.backup`. The Secrets are optional, because
/// a missing Secret must not keep a member from starting; if a Secret is created later, Kubernetes adds it to the
/// mount.
fn credentials(valid: &ValidatedCluster<'_>, shape: &Shape<'_>) -> Option<(Volume, Option<&'static str>)> {
    let name = |store: &ObjectStore| store.credentials_secret_ref.name.clone();
    let backup = valid.spec.backup.as_ref().map(|backup| name(&backup.object_store));
    let restore = shape.restore_store.map(name);
    let (sources, restore_folder) = match (backup, restore) {
        (None, None) => return None,
        (Some(backup), Some(restore)) if backup != restore => {
            let folder = Some("restore");
            (vec![projection(backup, None), projection(restore, folder)], folder)
        }
        (Some(only), _) | (None, Some(only)) => (vec![projection(only, None)], None),
    };
    let volume = Volume {
        name: CREDENTIALS_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) }),
        ..Volume::default()
    };
    Some((volume, restore_folder))
}

/// Projects every key of a Secret. With a folder, projects only the keys that a member reads, because a projection of
/// all keys cannot have a folder.
fn projection(secret: String, folder: Option<&str>) -> VolumeProjection {
    let items = folder.map(|folder| {
        [crds::object_store::ACCESS_KEY_ID, crds::object_store::SECRET_ACCESS_KEY, "ca.crt"]
            .into_iter()
            .map(|key| KeyToPath { key: key.to_owned(), path: format!("{folder}/{key}"), mode: None })
            .collect()
    });
    VolumeProjection {
        secret: Some(SecretProjection { name: secret, items, optional: Some(true) }),
        ..VolumeProjection::default()
    }
}

/// Tolerations of the spec, and tolerations that keep a pod on an unreachable node for the replacement delay. By
/// default Kubernetes keeps the pod there for five minutes; a new member that was scheduled onto a failing node would
/// then delay the replacement by this time.
fn tolerations(valid: &ValidatedCluster<'_>) -> Vec<Toleration> {
    let mut all = valid.spec.tolerations.clone();
    if valid.replacements_max == 0 {
        return all;
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |own: &Toleration| {
            own.key.as_deref().is_none_or(|own| own == key)
                && own.effect.as_deref().is_none_or(|own| own == "NoExecute")
        };
        if !all.iter().any(covers) {
            all.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(i64::try_from(valid.replacement_delay.as_secs()).unwrap_or(i64::MAX)),
                ..Toleration::default()
            });
        }
    }
    all
}

/// Topology spread constraints of the spec; by default, members are spread over zones and nodes as far as possible.
fn spread(valid: &ValidatedCluster<'_>) -> Vec<TopologySpreadConstraint> {
    let own = || LabelSelector { match_labels: Some(names::cluster_selector(valid.name)), ..LabelSelector::default() };
    match &valid.spec.topology_spread_constraints {
        Some(constraints) => constraints
            .iter()
            .cloned()
            .map(|mut constraint| {
                constraint.label_selector.get_or_insert_with(own);
                constraint
            })
            .collect(),
        None => ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
            .into_iter()
            .map(|key| TopologySpreadConstraint {
                max_skew: 1,
                topology_key: key.to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(own()),
                ..TopologySpreadConstraint::default()
            })
            .collect(),
    }
}

fn volume_claim(valid: &ValidatedCluster<'_>, labels: &BTreeMap<String, String>) -> PersistentVolumeClaim {
    let storage = &valid.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::VOLUME.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
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

fn probe(path: &str, timeout_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("metrics".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(timeout_seconds),
        ..Probe::default()
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
