//! The disruption budget: a drain may stop one voter at a time, and none that a quorum needs. Owns its contents.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::stamped;
use crate::names;
use crate::quorum::majority;
use crate::validated::ValidatedCluster;

/// The budget for this many voters: all voters but one must stay, and a majority in any case. Two voters, which a cluster
/// of one has while its member moves to another volume, must both stay. The budget is a number, because a percentage or
/// `maxUnavailable` would count only the pods that exist, and would allow one more eviction while a voter is missing.
/// A single voter may be evicted, because otherwise the node that runs it could never be drained.
#[must_use]
pub fn of(valid: &ValidatedCluster<'_>, voters: usize) -> PodDisruptionBudget {
    let stay = if voters < 2 { 0 } else { majority(voters).max(voters - 1) };
    debug_assert!(stay <= voters, "no more voters stay than there are");
    let stay = i32::try_from(stay).unwrap_or(i32::MAX);
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
