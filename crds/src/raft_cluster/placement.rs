//! Owns the additions to the members' pods: a small set of fields instead of a whole pod template, so that users cannot
//! replace what the members' safety depends on.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::embedded;

/// Environment variables of a member that the operator sets, each from a field of the spec, from the member's name, or
/// as the flag of the same name. `pod.env` may not name them: the field would be accepted and have no effect, or the
/// variable would silently win over the field.
pub const RESERVED_VARIABLES: [&str; 19] = [
    "RAFT_NODE_NAME",
    "RAFT_NODE_DATA_DIR",
    "RAFT_NODE_CLIENT_ADDR",
    "RAFT_NODE_PEER_ADDR",
    "RAFT_NODE_HTTP_ADDR",
    "RAFT_NODE_ADVERTISE_PEER_URL",
    "RAFT_NODE_ADVERTISE_CLIENT_URL",
    "RAFT_NODE_HEARTBEAT_INTERVAL",
    "RAFT_NODE_ELECTION_TIMEOUT",
    "RAFT_NODE_LEADER_LEASE",
    "RAFT_NODE_LEASE_READS",
    "RAFT_NODE_COMMIT_TIMEOUT",
    "RAFT_NODE_PRE_VOTE",
    "RAFT_NODE_MAX_APPEND_ENTRIES",
    "RAFT_NODE_SNAPSHOT_THRESHOLD",
    "RAFT_NODE_SNAPSHOTS_RETAIN",
    "RAFT_NODE_QUOTA_BYTES",
    "RAFT_NODE_OBJECT_STORE_CREDENTIALS",
    "RAFT_NODE_RESTORE_CREDENTIALS",
];

/// Labels, annotations, environment and user of the members' pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Labels to add, at most 32. The operator's labels take precedence. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "embedded::labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations to add, at most 32. The operator's annotations take precedence. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "embedded::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// Environment variables of the member's container, at most 32, such as `RAFT_NODE_LOG`. A variable that the operator
    /// sets itself, such as `RAFT_NODE_QUOTA_BYTES`, is refused. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvironmentVariable>,

    /// User and groups that the member runs as. The other restrictions (no root, no capabilities, read-only root file
    /// system) cannot be changed.
    #[serde(default, skip_serializing_if = "PodSecurity::is_empty")]
    pub security_context: PodSecurity,
}

impl Pod {
    /// Whether every field has its default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An environment variable with a literal value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentVariable {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[x_kube(validation = Rule::new(
        "!(self in ['RAFT_NODE_NAME', 'RAFT_NODE_DATA_DIR', 'RAFT_NODE_CLIENT_ADDR', 'RAFT_NODE_PEER_ADDR', \
         'RAFT_NODE_HTTP_ADDR', 'RAFT_NODE_ADVERTISE_PEER_URL', \
         'RAFT_NODE_ADVERTISE_CLIENT_URL', 'RAFT_NODE_HEARTBEAT_INTERVAL', \
         'RAFT_NODE_ELECTION_TIMEOUT', 'RAFT_NODE_LEADER_LEASE', 'RAFT_NODE_LEASE_READS', \
         'RAFT_NODE_COMMIT_TIMEOUT', 'RAFT_NODE_PRE_VOTE', 'RAFT_NODE_MAX_APPEND_ENTRIES', \
         'RAFT_NODE_SNAPSHOT_THRESHOLD', 'RAFT_NODE_SNAPSHOTS_RETAIN', 'RAFT_NODE_QUOTA_BYTES', \
         'RAFT_NODE_OBJECT_STORE_CREDENTIALS', 'RAFT_NODE_RESTORE_CREDENTIALS'])")
        .message("remove this variable from pod.env: the operator sets it, from the member's name or from a field in spec.raft, spec.snapshots, spec.quota or spec.backup; set that field instead"))]
    pub name: String,

    /// Value of the variable. Default: empty.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// User and groups of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct PodSecurity {
    /// User ID, not 0. Default: 65532.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_i64))]
    #[x_kube(validation = Rule::new("self <= 2147483647")
        .message("runAsUser must be at most 2147483647, the largest ID that Kubernetes accepts"))]
    pub run_as_user: Option<i64>,

    /// Group ID, not 0. Default: 65532.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_i64))]
    #[x_kube(validation = Rule::new("self <= 2147483647")
        .message("runAsGroup must be at most 2147483647, the largest ID that Kubernetes accepts"))]
    pub run_as_group: Option<i64>,

    /// Group that owns the volume, not 0. Default: 65532.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_i64))]
    #[x_kube(validation = Rule::new("self <= 2147483647")
        .message("fsGroup must be at most 2147483647, the largest ID that Kubernetes accepts"))]
    pub fs_group: Option<i64>,
}

impl PodSecurity {
    /// Whether every field has its default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_each_reserved_variable() {
        let definition = crate::definitions().into_iter().find(|it| it.spec.names.kind == "RaftCluster");
        let schema = serde_json::to_string(&definition.expect("there is a definition").spec).expect("plain data");
        for variable in RESERVED_VARIABLES {
            assert!(schema.contains(&format!("'{variable}'")), "{variable} is not in the rule");
        }
    }
}
