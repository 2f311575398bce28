//! Whether the disruption budgets allow an eviction, as Kubernetes' eviction API decides it. Owns the decision. Does
//! not own the deletion that follows (`api_server.rs`).

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::Objects;

/// Returns whether every budget that covers a pod allows its eviction. No budget protects a pod that has not started,
/// has ended, or is being deleted.
pub(super) fn is_allowed(pod: &Pod, objects: &Objects) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Pending" | "Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let budgets = objects.budgets.values().filter_map(|budget| budget.spec.as_ref());
    budgets.filter(|budget| covers(budget, pod)).all(|budget| allows(budget, pod, objects))
}

/// Notes in the status of a pod that it is evicted. Returns whether this is new.
pub(super) fn note(pod: &mut Value, now: Timestamp) -> bool {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now.to_string(),
    });
    let conditions = &mut pod["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(all) if all.iter().any(|other| other["type"] == condition["type"]) => return false,
        Some(all) => all.push(condition),
        None => *conditions = json!([condition]),
    }
    true
}

fn allows(budget: &PodDisruptionBudgetSpec, pod: &Pod, objects: &Objects) -> bool {
    let healthy = objects.pods.values().filter(|pod| covers(budget, pod) && is_healthy(pod)).count();
    let least = match budget.min_available {
        Some(IntOrString::Int(least)) => usize::try_from(least).unwrap_or(0),
        Some(IntOrString::String(_)) | None => 0,
    };
    let spares_unhealthy = match budget.unhealthy_pod_eviction_policy.as_deref() {
        Some("AlwaysAllow") => true,
        Some(_) | None => healthy >= least && least > 0,
    };
    healthy > least || !is_ready(pod) && spares_unhealthy
}

fn covers(budget: &PodDisruptionBudgetSpec, pod: &Pod) -> bool {
    let selector = budget.selector.as_ref().and_then(|selector| selector.match_labels.as_ref());
    let labels = pod.metadata.labels.as_ref();
    selector.is_some_and(|wanted| {
        wanted.iter().all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
    })
}

/// Returns whether a pod counts for a disruption budget.
fn is_healthy(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && is_ready(pod)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
