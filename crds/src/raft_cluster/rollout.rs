//! Owns the settings of rollouts: how long a restarted member must serve, and how long it may take. Does not own when a
//! member fails a rollout (`operator/plan/src/rollout.rs`).

use kube_core::Duration;
use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

/// How members are restarted with new settings, one at a time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Time in seconds that a restarted member must serve before the next one restarts, 0 to 3600. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: Option<i32>,

    /// Time within which a restarted member must serve, `10s` to `24h`. Afterwards it has failed the rollout: no further
    /// member restarts, and the member keeps its volume. Default: `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('24h')")
        .message("rollout.progressDeadline must be from 10s to 24h"))]
    pub progress_deadline: Option<Duration>,
}

impl Rollout {
    /// Returns whether no field is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
