//! Owns the status of a RaftCluster: a report that the operator writes and never reads for a decision, because it may
//! be stale or erased. Every field is optional, and every ID is a string. Words of a newer version are read as
//! `Unknown`, so that this version can read the status that a newer version wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// State of a RaftCluster at the operator's last pass.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RaftClusterStatus {
    /// Generation of the spec that this status refers to; -1 until the operator has seen the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Cluster ID: 128 random bits as 32 hexadecimal digits, generated once. etcd's response header carries the first 64
    /// bits.
    #[serde(rename = "clusterID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cluster_id: Option<String>,

    /// Name of the leader; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub leader: Option<String>,

    /// Number of members that have a StatefulSet, voters and learners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,

    /// Number of members whose pods are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,

    /// Number of voters in the committed configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters: Option<i32>,

    /// Number of learners in the committed configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learners: Option<i32>,

    /// Number of voters that may fail now without loss of service: the healthy voters less a majority. 0 means that the
    /// next failure stops writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_tolerated: Option<i32>,

    /// Label selector of the members' pods, as a string, for `kubectl scale` and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,

    /// Log index of the committed configuration that `voters`, `learners` and `plan` refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_index: Option<i64>,

    /// All members, at most 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub members: Vec<MemberStatus>,

    /// Membership change under way; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,

    /// Image of the last completed rollout. It is the image of the members while `spec.image` is unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,

    /// Feature level of the cluster: what members may write and send. It rises when every member supports a higher one
    /// and a rollout is complete, and never falls: images that support only a lower one can no longer run this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_level: Option<i32>,

    /// Rollout of new settings under way; absent when every member runs the settings of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,

    /// Conditions as of `observedGeneration`: Ready, Reconciling, Stalled, Degraded, BackupReady and Secured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::conditions")]
    pub conditions: Vec<Condition>,
}

/// State of one member.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the member and of its StatefulSet, e.g. `demo-1`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Member ID: 64 random bits as 16 hexadecimal digits, generated for the member's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub id: Option<String>,

    /// Role of the member: `Leader`, `Follower`, `PreCandidate`, `Candidate`, `Learner`, `ShuttingDown`, or `Unknown`
    /// while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,

    /// Health of the member: `Healthy`, `CatchingUp` (it lags the leader), `Restoring` (it restores a backup),
    /// `Starting` (its pod is not ready yet), `Blank` (its volume is empty, and it is not in the cluster),
    /// `Unreachable` (it does not answer, or the leader receives no answer from it), `Repairing` (it fetches from the
    /// others what its disk has lost), `TooNew` (its data needs a newer program), `Damaged` (its volume is damaged
    /// beyond repair, or its keyspace differs from that of a majority), `Removed` (it left the configuration),
    /// `Stopped` (`spec.stopped`), or `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<MemberHealth>,

    /// Highest log index that is known to be durable on the member's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_index: Option<i64>,

    /// Raft term of the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,

    /// Version of the member's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,

    /// Kubernetes node that runs the member's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,

    /// Zone of the member's node, from the node's label `topology.kubernetes.io/zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub zone: Option<String>,

    /// What is wrong with the member and what to do; absent when it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Role of a member in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum MemberRole {
    /// Orders all writes.
    Leader,
    /// Votes and follows a leader.
    Follower,
    /// Asks the other members whether it could win an election.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Follows a leader, but has no vote.
    Learner,
    /// Is about to stop; it has transferred leadership if it led.
    ShuttingDown,
    /// Not known.
    #[serde(other)]
    Unknown,
}

/// Health of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum MemberHealth {
    /// Serves and keeps up.
    Healthy,
    /// Serves, but lags the leader.
    CatchingUp,
    /// Restores a backup into its volume.
    Restoring,
    /// The member's StatefulSet is scaled to 0 (`spec.stopped`).
    Stopped,
    /// Its pod is not ready yet.
    Starting,
    /// Has an empty volume and is not in the cluster.
    Blank,
    /// Does not answer, or the leader receives no answer from it.
    Unreachable,
    /// Fetches from other members what its disk has lost.
    Repairing,
    /// The data on the member's volume needs a newer program.
    TooNew,
    /// The member's volume is damaged beyond repair, or its keyspace differs from that of a majority.
    Damaged,
    /// No longer in the configuration; its objects are about to be deleted.
    Removed,
    /// Not known.
    #[serde(other)]
    Unknown,
}

/// Membership change under way.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Names of the members that will be voters after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub target_voters: Vec<String>,

    /// Names of the members that will be learners after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub target_learners: Vec<String>,

    /// Remaining steps of the change, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub steps: Vec<PlanStep>,

    /// What the next step waits for; absent when it can proceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Blocker>,
}

/// Rollout of new settings under way.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Number of members that run with the settings of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<i32>,

    /// Number of members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i32>,

    /// Names of the members that failed the rollout. No further member restarts while there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub failed: Vec<String>,

    /// Time of the last restart of a member with the settings of the spec; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,

    /// Why members still run with other settings and, where a person can help, what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// Description of the step, e.g. `add learner demo-4`.
    #[schemars(length(max = 256))]
    pub action: String,

    /// Whether the step is `Pending` or `Active`. Steps that are done are not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
}

/// State of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum StepState {
    /// Not begun yet.
    Pending,
    /// Under way.
    Active,
    /// Not known.
    #[serde(other)]
    Unknown,
}

/// What the next step of a membership change waits for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// One word for the cause, as in conditions, e.g. `LearnerBehind`.
    #[schemars(length(max = 64))]
    pub reason: String,

    /// The cause in a sentence and, where a person can help, what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}
