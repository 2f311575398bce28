//! The disruption budget: a drain may stop one voter at a time, and no voter while another is missing. Owns its
//! contents.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::stamped;
use crate::names;
use crate::validated::ValidatedCluster;

/// The budget for this many voters: all voters but one must stay. The budget is a number, because a percentage or
/// `maxUnavailable` would count only the pods that exist, and would allow one more eviction while a voter is missing.
/// A single voter may be evicted, because otherwise the node that runs it could never be drained.
#[must_use]
pub fn of(valid: &ValidatedCluster<'_>, voters: usize) -> PodDisruptionBudget {
    let stay = i32::try_from(voters.saturating_sub(1)).unwrap_or(i32::MAX);
    debug_assert!(
        voters < 2 || 2 * stay >= i32::try_from(voters).unwrap_or(i32::MAX),
        "half of the voters stay at least"
    );
    stamped(PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(names::budget(valid.name)),
            namespace: Some(valid.namespace.to_owned()),
            labels: Some(names::cluster_labels(valid.name)),
            owner_references: Some(vec![valid.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(stay)),
            selector: Some(LabelSelector {
                match_labels: Some(names::voter_selector(valid.name)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
