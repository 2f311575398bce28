//! What a RaftCluster is. A report, written by the operator and never consulted for a decision: it may be stale or
//! erased. Hence every field is optional, every ID a string, and a word that an older reader does not know becomes
//! `Unknown` instead of an error.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// What a RaftCluster is, as the operator saw it last.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RaftClusterStatus {
    /// Generation of the spec that this status answers; -1 before the operator has seen the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The cluster's identity: 128 bits as 32 hexadecimal digits, minted once. etcd's response header carries the first
    /// half.
    #[serde(rename = "clusterID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cluster_id: Option<String>,

    /// Name of the member that leads, absent while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub leader: Option<String>,

    /// Members that exist, voters and learners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,

    /// Members that serve clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,

    /// Members with a vote, by the committed configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters: Option<i32>,

    /// Members without a vote, by the committed configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learners: Option<i32>,

    /// Voters that may fail now without a loss of service: those that are healthy, less a majority. 0 means that the
    /// next failure stops writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_tolerated: Option<i32>,

    /// Label selector of the members' pods, as a string, for `kubectl scale` and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,

    /// Log index of the committed configuration that `voters`, `learners` and `plan` speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_index: Option<i64>,

    /// Every member, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub members: Vec<MemberStatus>,

    /// The change of membership under way, absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,

    /// Ready, Reconciling, Stalled, Degraded, BackupReady and Secured, as of `observedGeneration`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::conditions")]
    pub conditions: Vec<Condition>,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the member, which is also that of its StatefulSet: `demo-1`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Its ID: 64 bits as 16 hexadecimal digits, minted by its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub id: Option<String>,

    /// What it does: `Leader`, `Follower`, `PreCandidate`, `Candidate`, `Learner`, `ShuttingDown`, or `Unknown` while
    /// it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,

    /// How it fares: `Healthy`, `CatchingUp` (behind the leader), `Restoring`, `Starting`, `Blank` (an empty volume,
    /// not in the cluster yet), `Unreachable`, `Damaged` (its volume holds damage it cannot mend), `Removed`, or
    /// `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<MemberHealth>,

    /// Highest log index known to be on its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_index: Option<i64>,

    /// Term it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,

    /// Version of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,

    /// Kubernetes node its pod is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,

    /// Zone of that node, from its label `topology.kubernetes.io/zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub zone: Option<String>,

    /// What is wrong with it and what to do, absent when it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// What a member does in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum MemberRole {
    /// Orders all writes.
    Leader,
    /// Votes and follows a leader.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Has handed over and is about to stop.
    ShuttingDown,
    /// Not known.
    #[serde(other)]
    Unknown,
}

/// How a member fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum MemberHealth {
    /// Serves and keeps up.
    Healthy,
    /// Serves, but is behind the leader.
    CatchingUp,
    /// Fills its volume from a backup.
    Restoring,
    /// Its pod is not ready yet.
    Starting,
    /// Has an empty volume and is not in the cluster.
    Blank,
    /// Does not answer, or no leader hears it.
    Unreachable,
    /// Its volume holds damage that it cannot mend.
    Damaged,
    /// No longer in the configuration; its objects are about to go.
    Removed,
    /// Not known.
    #[serde(other)]
    Unknown,
}

/// A change of membership under way.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Members that will vote in the end, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub target_voters: Vec<String>,

    /// Members that will be learners in the end, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub target_learners: Vec<String>,

    /// The steps from here to there, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub steps: Vec<PlanStep>,

    /// What the next step waits for, absent when nothing is in its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Blocker>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// What is done, in words: `add learner demo-4`.
    #[schemars(length(max = 256))]
    pub action: String,

    /// Whether it is `Pending`, `Active` or `Done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = embedded::undescribed)]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Under way.
    Active,
    /// Not known.
    #[serde(other)]
    Unknown,
}

/// What a plan waits for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// One word for it, as in conditions: `LearnerBehind`.
    #[schemars(length(max = 64))]
    pub reason: String,

    /// What it is and, where a person can help, what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}
