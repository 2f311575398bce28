//! Publishes the status that the plan reports, with what the pass failed at. Owns the write, not a word of it.

use std::time::{Duration, Instant};

use crds::RaftCluster;
use crds::raft_cluster::RaftClusterStatus;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use plan::Plan;
use plan::names::FIELD_MANAGER;
use plan::observed::Observed;
use serde_json::json;

use super::ReconcileError;
use super::apply::Applied;
use crate::context::Context;

/// How often it is published how far logs have grown, when nothing else changed.
const MOVEMENT_EVERY: Duration = Duration::from_secs(10);

/// Writes the status unless it is there already, and returns it.
pub(super) async fn publish(
    plan: &Plan,
    applied: &Applied,
    observed: &Observed,
    context: &Context,
) -> Result<RaftClusterStatus, ReconcileError> {
    let mut status = plan.status.clone();
    if let Some(failure) = applied.failures.first() {
        status = plan::status::with_failure(status, failure, observed.now);
    }
    let cluster = &observed.cluster;
    if let Some(former) = &cluster.status
        && (*former == status || (is_only_movement(former, &status) && !is_movement_due(observed, context)))
    {
        return Ok(status);
    }
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": RaftCluster::api_version(&()),
        "kind": RaftCluster::kind(&()),
        // With the UID: a cluster that was created anew meanwhile has nothing to do with this report.
        "metadata": { "name": name, "uid": cluster.metadata.uid },
        "status": status,
    });
    let clusters: Api<RaftCluster> = Api::namespaced(context.client.clone(), namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match clusters.patch_status(name, &parameters, &Patch::Apply(&patch)).await {
        Ok(_) => {
            context.remember(observed.uid(), |memory| memory.published = Some(Instant::now()));
            Ok(status)
        }
        Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => Ok(status),
        Err(error) => Err(ReconcileError::Api { what: "publishing the status", error }),
    }
}

/// Whether nothing differs but how far logs have grown. Every write wakes everybody who watches, this operator included.
pub(super) fn is_only_movement(former: &RaftClusterStatus, now: &RaftClusterStatus) -> bool {
    let still = |status: &RaftClusterStatus| {
        let mut status = status.clone();
        status.members.iter_mut().for_each(|member| member.match_index = None);
        status
    };
    still(former) == still(now)
}

fn is_movement_due(observed: &Observed, context: &Context) -> bool {
    let published = context.remember(observed.uid(), |memory| memory.published);
    published.is_none_or(|at| at.elapsed() >= MOVEMENT_EVERY)
}
