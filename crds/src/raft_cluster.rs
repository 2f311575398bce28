//! Owns RaftCluster: its spec on one page. Does not own the parts of the spec (files in `raft_cluster/`) or what is
//! computed from it (`operator/plan`).

mod backup;
mod bootstrap;
mod placement;
mod raft;
mod rollout;
mod status;
mod storage;
mod tls;

use k8s_openapi::{
    api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::api::resource::Quantity,
};
use kube_core::Duration;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time};

use crate::{affinity, embedded, object_store::SecretReference};

pub use backup::Backup;
pub use bootstrap::{Bootstrap, Restore, RestoreSource, TakeUp};
pub use placement::{EnvironmentVariable, Pod, PodSecurity, RESERVED_VARIABLES};
pub use raft::{RaftSettings, Snapshots};
pub use rollout::Rollout;
pub use status::{
    Blocker, MemberHealth, MemberRole, MemberStatus, PlanStatus, PlanStep, RaftClusterStatus, RolloutStatus, StepState,
};
pub use storage::{Retention, Storage, VolumeFate};
pub use tls::{Tls, TlsMode};

/// Desired state of a RaftCluster. A field may change at any time unless its description says otherwise. If a change
/// affects how members run, they restart one at a time, followers first.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "raftoperator.io",
    version = "v1alpha1",
    kind = "RaftCluster",
    namespaced,
    status = "RaftClusterStatus",
    derive = "PartialEq",
    doc = "A Raft cluster that speaks the etcd v3 API. Each member has its own volume; the operator keeps the wanted number of members and replaces lost ones.",
    category = "raft",
    shortname = "raftc",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Reason of the condition Ready"
    ),
    printcolumn(name = "Voters", type_ = "integer", json_path = ".status.voters", description = "Members with a vote"),
    printcolumn(
        name = "Learners",
        type_ = "integer",
        json_path = ".status.learners",
        description = "Members without a vote"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Members that serve clients"
    ),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(
        name = "Tolerates",
        type_ = "integer",
        json_path = ".status.failuresTolerated",
        description = "Voters that may fail now without loss of service"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("oldSelf.hasValue() || (self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$'))")
        .optional_old_self(true)
        .message("choose a name of at most 40 characters that starts with a letter, ends with a letter or digit, and contains only lower-case letters, digits and '-': names of members, Services and volumes begin with it"),
    attr = r#"x_kube(crates(kube_core = "kube_core"))"#,
    crates(kube = "kube_derive", kube_core = "kube_core")
)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("!has(self.bootstrap) || has(oldSelf.bootstrap) || !has(self.bootstrap.restore)")
        .message("bootstrap.restore can be neither added nor changed, because it is read only when the cluster is created: to restore a backup, create a RaftCluster with a new name")
        .field_path(".bootstrap"),
    validation = Rule::new(
        // Kubernetes changes the owner of a claim only while its pod exists.
        "!(self.stopped && oldSelf.stopped) || \
         self.storage.retention.whenDeleted == oldSelf.storage.retention.whenDeleted")
        .message("storage.retention.whenDeleted cannot change while the cluster is stopped, because Kubernetes changes the fate of a volume only while its pod exists: set stopped to false, change whenDeleted once the members run, then stop the cluster again")
        .field_path(".storage"),
    validation = Rule::new(
        // An existing object that breaks this rule can still be updated elsewhere.
        "(oldSelf.hasValue() && has(self.quota) && has(oldSelf.value().quota) && \
         self.quota == oldSelf.value().quota && has(self.resources) && has(oldSelf.value().resources) && \
         self.resources == oldSelf.value().resources) || !has(self.quota) || !isQuantity(string(self.quota)) || \
         !has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits) || \
         !isQuantity(string(self.resources.limits['memory'])) || \
         quantity(string(self.resources.limits['memory'])).compareTo(\
         quantity(string(self.quota)).add(quantity(string(self.quota))).add(quantity('256Mi'))) >= 0")
        .optional_old_self(true)
        .message("lower quota or raise resources.limits.memory: the limit must be at least twice the quota plus 256Mi, otherwise a member with a full store would be killed for its memory use")
        .field_path(".quota"),
)]
#[serde(rename_all = "camelCase")]
pub struct RaftClusterSpec {
    /// Wanted number of members, 1 to 50; `kubectl scale` sets it. The number of voters is the largest odd number that is
    /// at most `replicas` and at most `maxVoters`. The other members are learners: read-only replicas and warm spares.
    /// So 3 gives three voters, 4 three voters and a learner, 5 five voters, and 2 one voter and a learner, because two
    /// voters stop when either fails.
    #[x_kube(validation = Rule::new("self >= 1")
        .message("replicas must be at least 1: to stop the cluster and keep its data, set spec.stopped to true"))]
    #[x_kube(validation = Rule::new("self <= 50")
        .message("replicas must be at most 50: spread the load over several RaftClusters instead"))]
    pub replicas: i32,

    /// Largest number of voters: an odd number from 1 to 9. Each additional voter makes every write slower. Default: 7.
    #[serde(default = "default_max_voters")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 9 && self % 2 == 1")
        .message("maxVoters must be 1, 3, 5, 7 or 9: an even number of voters tolerates no more failures than one voter fewer"))]
    pub max_voters: i32,

    /// Image of the members. Default: the image of the last completed rollout, which `status.image` shows; for a new
    /// cluster the operator's `--node-image`. An upgrade of the operator keeps the image and restarts no member: to
    /// upgrade the members, set this field. An image that does not support the cluster's feature level
    /// (`status.featureLevel`) is refused, and so is one of a lower version than the last completed rollout's, unless
    /// both support levels above 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self == self.trim()")
        .message("remove the white space before or after the name of the image"))]
    pub image: Option<String>,

    /// When nodes pull the image: `Always`, `IfNotPresent` or `Never`. Default: the operator's
    /// `--node-image-pull-policy` at the time when the cluster was created; without it Kubernetes' default, which is
    /// `Always` for the tag `latest` and `IfNotPresent` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Secrets in this namespace with credentials to pull the image, at most 16. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<SecretReference>,

    /// CPU and memory of each member. Default: none, which suits trials only: without a memory request a member is among
    /// the first to be evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,

    /// The volume of each member.
    pub storage: Storage,

    /// Limit on the bytes of live keys and history, 16Mi to 64Gi. While the limit is exceeded, puts are refused;
    /// reads, deletes and compactions still work. `resources.limits.memory` must be at least twice the quota plus
    /// 256Mi. Default: the memory limit minus 256Mi, divided by two, at most 8Gi; 2Gi without a memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::bytes")]
    #[x_kube(validation = Rule::new(
        "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('16Mi')) >= 0 && \
         quantity(string(self)).compareTo(quantity('64Gi')) <= 0")
        .message("quota must be a quantity of bytes from 16Mi to 64Gi, such as 2Gi"))]
    pub quota: Option<Quantity>,

    /// Affinity rules of the members' pods, as in `affinity` of a pod, at most 16 items in each list. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "affinity::affinity")]
    pub affinity: Option<Affinity>,

    /// How members are spread, as in `topologySpreadConstraints` of a pod, at most 32. A constraint without a label
    /// selector gets a selector for this cluster's members. Default: over zones and over nodes, as far as possible. An
    /// empty list turns spreading off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::topology_spread_constraints")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,

    /// Taints that members tolerate, as in `tolerations` of a pod, at most 32. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::tolerations")]
    pub tolerations: Vec<Toleration>,

    /// Labels that a node must have to run a member, at most 32. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "embedded::labels")]
    pub node_selector: BTreeMap<String, String>,

    /// PriorityClass of the members' pods. Default: the default PriorityClass of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!format.dns1123Subdomain().validate(self).hasValue()")
        .message("priorityClassName must be the name of a PriorityClass: lower-case letters, digits, '-' and '.'"))]
    pub priority_class_name: Option<String>,

    /// Labels, annotations, environment and user to set on the members' pods. Default: none.
    #[serde(default, skip_serializing_if = "Pod::is_empty")]
    pub pod: Pod,

    /// Timing and batching of the Raft protocol. The defaults suit members within one region.
    #[serde(default)]
    pub raft: RaftSettings,

    /// When members take snapshots, and how many they keep.
    #[serde(default)]
    pub snapshots: Snapshots,

    /// How client and peer traffic is protected. Required, so that plain text is always an explicit choice.
    pub tls: Tls,

    /// Where backups go. Without this field, a RaftBackup of this cluster waits, with the reason NoObjectStore.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,

    /// How the cluster begins. It may be removed; of its fields only `takeUp` may be added or changed. Default: on the
    /// retained volumes of the RaftCluster of this name that was deleted, if there are any; else as an empty cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.restore) || (has(oldSelf.restore) && self.restore == oldSelf.restore)")
        .message("bootstrap.restore can be neither added nor changed, because it is read only when the cluster is created: to restore a backup, create a RaftCluster with a new name"))]
    pub bootstrap: Option<Bootstrap>,

    /// How members are restarted with new settings.
    #[serde(default, skip_serializing_if = "Rollout::is_empty")]
    pub rollout: Rollout,

    /// How lost and unreachable members are replaced.
    #[serde(default)]
    pub replacement: Replacement,

    /// Whether no member runs. The operator then scales every member to 0, and keeps volumes, identity and configuration.
    /// To start all members again, set this field to false. `paused: true` takes precedence. Default: false.
    #[serde(default)]
    pub stopped: bool,

    /// Whether the operator leaves this cluster unchanged. Members keep serving, and the operator keeps updating status.
    /// Default: false.
    #[serde(default)]
    pub paused: bool,
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum ImagePullPolicy {
    /// At every start of a pod.
    Always,
    /// When the image is not on the node.
    IfNotPresent,
    /// Never; the image must be on the node.
    Never,
}

impl ImagePullPolicy {
    /// The policy as a pod's `imagePullPolicy` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// How lost and unreachable members are replaced. A member whose volume is empty is replaced without delay, because
/// waiting cannot bring its data back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// Whether members are replaced. Default: true.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Time that a member must be unreachable before it is replaced: `1s` to `24h`. A value longer than a node's restart
    /// avoids copying the store after each restart; a shorter one restores fault tolerance sooner. Default: `300s`.
    #[serde(default = "default_delay")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("replacement.delay must be from 1s to 24h: to turn replacement off, set replacement.enabled to false"))]
    pub delay: Duration,

    /// Largest number of members that are replaced at the same time, 1 to 3. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3))]
    pub max_concurrent: i32,
}

impl Default for Replacement {
    fn default() -> Self {
        Self { enabled: enabled(), delay: default_delay(), max_concurrent: one() }
    }
}

fn default_max_voters() -> i32 {
    7
}

fn enabled() -> bool {
    true
}

fn default_delay() -> Duration {
    time::Duration::from_secs(300).into()
}

fn one() -> i32 {
    1
}
