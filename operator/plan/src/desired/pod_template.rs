//! A member's pod: its image, arguments, environment and place. Owns the contents of the pod template. Does not own when
//! the template of a live StatefulSet changes (`stateful_set.rs`), nor which settings count for that (`settings` there).

use std::collections::BTreeMap;

use crds::ObjectStore;
use crds::raft_cluster::RESERVED_VARIABLES;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath, LocalObjectReference, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, SeccompProfile, SecretProjection, SecurityContext,
    Toleration, TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::completed::Version;
use crate::names::{self, Ordinal, Role};
use crate::observed::annotation;
use crate::validated::ValidatedCluster;

/// User and group of a member if the spec gives none: "nonroot" of distroless images.
const NONROOT: i64 = 65532;
/// Time within which a member must transfer leadership and stop, in seconds.
const GRACE_SECONDS: i64 = 30;
/// Time after which a member that still reads its disk counts as hung, in seconds.
const STARTUP_SECONDS_MAX: i32 = 900;
/// The version of the member's program that has the flags which say which member it is. An image of any version gets
/// these flags.
const ALWAYS: Version = Version::of(0, 0, 0);
/// The version of the member's program that introduced the flags which protect data so far.
const PROTECTING: Version = Version::of(0, 1, 0);
/// Folder in which the credentials of object stores are mounted.
const CREDENTIALS: &str = "/etc/raft-node/object-store";
/// Name of the volume that holds the credentials of object stores.
const CREDENTIALS_VOLUME: &str = "object-store";
/// Taints of a node that does not answer.
const UNREACHABLE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The member and the settings of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'m> {
    pub(super) ordinal: Ordinal,
    pub(super) role: Role,
    pub(super) restore_store: Option<&'m ObjectStore>,
    /// Digest of the settings that the spec sets for the pod.
    pub(super) settings: &'m str,
}

/// The template of a member's pod, as this version of the operator renders it.
pub(super) fn of(valid: &ValidatedCluster<'_>, member: &Member<'_>) -> PodTemplateSpec {
    let extra = &valid.spec.pod;
    let mut labels = extra.labels.clone();
    labels.extend(names::member_labels(valid.name, member.ordinal));
    labels.insert(names::LABEL_ROLE.to_owned(), member.role.as_str().to_owned());
    let mut annotations = extra.annotations.clone();
    annotations.insert(names::ANNOTATION_SETTINGS.to_owned(), member.settings.to_owned());
    annotations.insert(names::ANNOTATION_IMAGE.to_owned(), valid.image.clone());
    annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), names::CONTAINER.to_owned());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }),
        spec: Some(pod(valid, member)),
    }
}

/// The template of a live StatefulSet while the settings are those with which it was written. Everything stays as it
/// is, whatever this version of the operator would render, except what must not wait for a restart.
pub(super) fn kept(valid: &ValidatedCluster<'_>, live: &PodTemplateSpec, role: Role) -> PodTemplateSpec {
    let mut kept = live.clone();
    let labels = kept.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(names::LABEL_ROLE.to_owned(), role.as_str().to_owned());
    if let Some(pod) = &mut kept.spec {
        let own = |toleration: &Toleration| valid.spec.tolerations.contains(toleration);
        let mut all = pod.tolerations.take().unwrap_or_default();
        all.retain(|toleration| own(toleration) || !is_for_the_delay(toleration));
        all.extend(delay_tolerations(valid));
        pod.tolerations = Some(all).filter(|all| !all.is_empty());
    }
    assert_eq!(settings_of(&kept), settings_of(live), "a kept template keeps its settings");
    kept
}

/// The part of a template that changes only with the settings: everything except what [`kept`] writes.
pub(super) fn fixed(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut fixed = template.clone();
    fixed.metadata.get_or_insert_default().labels.get_or_insert_default().remove(names::LABEL_ROLE);
    if let Some(pod) = &mut fixed.spec {
        let others = pod.tolerations.take().into_iter().flatten().filter(|toleration| !is_for_the_delay(toleration));
        pod.tolerations = Some(others.collect());
    }
    fixed
}

/// The part of a template that changes without a restart, and the digest of the rest.
pub(super) fn decided(valid: &ValidatedCluster<'_>, role: Role, settings: &str) -> PodTemplateSpec {
    let one = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: one(names::LABEL_ROLE, role.as_str()),
            annotations: one(names::ANNOTATION_SETTINGS, settings),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec { tolerations: Some(delay_tolerations(valid)), ..PodSpec::default() }),
    }
}

/// The digest of the settings with which a template was written.
pub(super) fn settings_of(template: &PodTemplateSpec) -> Option<&str> {
    annotation(template.metadata.as_ref()?, names::ANNOTATION_SETTINGS)
}

fn pod(valid: &ValidatedCluster<'_>, member: &Member<'_>) -> PodSpec {
    let spec = valid.spec;
    let user = &spec.pod.security_context;
    let secrets: Vec<_> =
        spec.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }).collect();
    PodSpec {
        containers: vec![container(valid, member)],
        volumes: credentials(valid, member).map(|(volume, _)| vec![volume]),
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

fn container(valid: &ValidatedCluster<'_>, member: &Member<'_>) -> Container {
    let mut mounts =
        vec![VolumeMount { name: names::VOLUME.to_owned(), mount_path: "/data".to_owned(), ..VolumeMount::default() }];
    mounts.extend(credentials(valid, member).map(|(volume, _)| VolumeMount {
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
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(valid.image.clone()),
        image_pull_policy: valid.image_pull_policy.clone(),
        args: Some(arguments(valid, member)),
        env: Some(environment(valid)),
        ports: Some(vec![
            port("client", names::CLIENT_PORT),
            port("peer", names::PEER_PORT),
            port("metrics", names::METRICS_PORT),
        ]),
        resources: valid.spec.resources.clone(),
        volume_mounts: Some(mounts),
        // The pod's status then says why the process ended, and so does the report about a failed rollout.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
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

/// Arguments of a member's program: the settings that protect data or decide which member this is. A program that does
/// not know one of these flags refuses to start. So each flag has the version that introduced it, and is written unless
/// the image is known to have a lower one. `raft-node run --help` explains each flag.
fn arguments(valid: &ValidatedCluster<'_>, member: &Member<'_>) -> Vec<String> {
    let raft = &valid.spec.raft;
    let known = valid.completed.as_ref().and_then(|completed| completed.version_of(&valid.image));
    let mut arguments = vec!["run".to_owned()];
    let mut flag = |since: Version, name: &str, value: String| {
        if known.is_none_or(|known| known >= since) {
            arguments.push(format!("--{name}={value}"));
        }
    };
    flag(ALWAYS, "name", names::member(valid.name, member.ordinal));
    flag(ALWAYS, "data-dir", "/data".to_owned());
    flag(ALWAYS, "client-addr", format!("0.0.0.0:{}", names::CLIENT_PORT));
    flag(ALWAYS, "peer-addr", format!("0.0.0.0:{}", names::PEER_PORT));
    flag(ALWAYS, "http-addr", format!("0.0.0.0:{}", names::METRICS_PORT));
    flag(ALWAYS, "advertise-client-url", names::client_url(valid.name, valid.namespace, member.ordinal));
    flag(ALWAYS, "advertise-peer-url", names::peer_url(valid.name, valid.namespace, member.ordinal));
    flag(PROTECTING, "heartbeat-interval", milliseconds(&raft.heartbeat_interval));
    flag(PROTECTING, "election-timeout", milliseconds(&raft.election_timeout));
    flag(PROTECTING, "leader-lease", milliseconds(&raft.leader_lease));
    flag(PROTECTING, "lease-reads", raft.lease_reads.to_string());
    flag(PROTECTING, "pre-vote", raft.pre_vote.to_string());
    flag(PROTECTING, "quota-bytes", valid.quota_bytes.to_string());
    if let Some((_, restore_folder)) = credentials(valid, member) {
        flag(PROTECTING, "object-store-credentials", CREDENTIALS.to_owned());
        if let Some(folder) = restore_folder {
            flag(PROTECTING, "restore-credentials", format!("{CREDENTIALS}/{folder}"));
        }
    }
    debug_assert!(arguments.iter().skip(1).all(|argument| argument.starts_with("--")), "every argument is a flag");
    arguments
}

/// Environment of a member's program: the settings that tune it, which a program that does not know them ignores, and
/// the variables of the spec. A variable of the spec that the operator sets itself has no effect; admission refuses it,
/// except on a RaftCluster that has it already. The reasons are in `operator/docs/decisions/ownership.md`.
fn environment(valid: &ValidatedCluster<'_>) -> Vec<EnvVar> {
    let (raft, snapshots) = (&valid.spec.raft, &valid.spec.snapshots);
    let tuned = [
        ("RAFT_NODE_COMMIT_TIMEOUT", milliseconds(&raft.commit_timeout)),
        ("RAFT_NODE_MAX_APPEND_ENTRIES", raft.max_append_entries.to_string()),
        ("RAFT_NODE_SNAPSHOT_THRESHOLD", snapshots.threshold.to_string()),
        ("RAFT_NODE_SNAPSHOTS_RETAIN", snapshots.retain.to_string()),
    ];
    let tuned = tuned.map(|(name, value)| (name.to_owned(), value)).into_iter();
    debug_assert!(tuned.clone().all(|(name, _)| is_reserved(&name)), "the spec cannot set a variable of the operator");
    let of_spec = valid.spec.pod.env.iter().filter(|variable| !is_reserved(&variable.name));
    let of_spec = of_spec.map(|variable| (variable.name.clone(), variable.value.clone()));
    tuned.chain(of_spec).map(|(name, value)| EnvVar { name, value: Some(value), ..EnvVar::default() }).collect()
}

fn is_reserved(variable: &str) -> bool {
    RESERVED_VARIABLES.contains(&variable)
}

fn milliseconds(duration: &crds::Duration) -> String {
    let duration: std::time::Duration = (*duration).into();
    format!("{}ms", duration.as_millis())
}

/// Returns the volume with the credentials of object stores, and the folder in it for the credentials of the restore.
/// The folder exists only if the restore needs other credentials than `spec.backup`. The Secrets are optional, because
/// a missing Secret must not keep a member from starting; if a Secret is created later, Kubernetes adds it to the
/// mount.
fn credentials(valid: &ValidatedCluster<'_>, member: &Member<'_>) -> Option<(Volume, Option<&'static str>)> {
    let name = |store: &ObjectStore| store.credentials_secret_ref.name.clone();
    let backup = valid.spec.backup.as_ref().map(|backup| name(&backup.object_store));
    let restore = member.restore_store.map(name);
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

/// Tolerations of the spec, and those for the replacement delay.
fn tolerations(valid: &ValidatedCluster<'_>) -> Vec<Toleration> {
    valid.spec.tolerations.iter().cloned().chain(delay_tolerations(valid)).collect()
}

/// Tolerations that keep a pod on an unreachable node for the replacement delay, unless the spec tolerates the taint
/// itself. By default Kubernetes keeps the pod there for five minutes; a new member that was scheduled onto a failing
/// node would then delay the replacement by this time.
fn delay_tolerations(valid: &ValidatedCluster<'_>) -> Vec<Toleration> {
    let covers = |own: &Toleration, key: &str| {
        own.key.as_deref().is_none_or(|own| own == key) && own.effect.as_deref().is_none_or(|own| own == "NoExecute")
    };
    let wanted = UNREACHABLE_TAINTS.into_iter().filter(|_| valid.replacements_max > 0);
    let wanted = wanted.filter(|key| !valid.spec.tolerations.iter().any(|own| covers(own, key)));
    wanted
        .map(|key| Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoExecute".to_owned()),
            toleration_seconds: Some(i64::try_from(valid.replacement_delay.as_secs()).unwrap_or(i64::MAX)),
            ..Toleration::default()
        })
        .collect()
}

/// Returns whether a toleration has the form of those for the replacement delay, whatever the delay.
fn is_for_the_delay(toleration: &Toleration) -> bool {
    toleration.key.as_deref().is_some_and(|key| UNREACHABLE_TAINTS.contains(&key))
        && toleration.operator.as_deref() == Some("Exists")
        && toleration.effect.as_deref() == Some("NoExecute")
        && toleration.toleration_seconds.is_some()
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
