//! Publishes the plan's status, with the failures and refusals of the pass. Owns when the status is written. Does not own its
//! contents (`plan::status`).

use std::time::Duration;

use crds::raft_cluster::RaftClusterStatus;
use crds::{RaftCluster, Reason};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use plan::Plan;
use plan::names::FIELD_MANAGER;
use plan::observed::Observed;
use serde_json::json;
use tokio::time::Instant;

use super::ReconcileError;
use super::apply::Applied;
use crate::context::Context;

/// Minimum interval between status writes that change only log positions.
const MOVEMENT_EVERY: Duration = Duration::from_secs(10);
/// Minimum interval between status writes that change only a restore's progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Writes the status and returns it. Writes nothing if the status is published already, or if the next write is not
/// due yet.
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
    status = plan::status::with_refusals(status, &applied.refused, observed.now);
    let cluster = &observed.cluster;
    if let Some(former) = &cluster.status
        && !is_due(difference(former, &status), observed, context)
    {
        return Ok(status);
    }
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": RaftCluster::api_version(&()),
        "kind": RaftCluster::kind(&()),
        // The resource version prevents the write if the cluster was deleted and created again with the same name. The
        // UID alone would not: Kubernetes ignores it in a write of a custom resource's status.
        "metadata": {
            "name": name, "uid": cluster.metadata.uid, "resourceVersion": cluster.metadata.resource_version,
        },
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

/// Degree of difference between a status and the former one. Small differences are written less often, because every
/// write triggers all watchers, including this operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// The statuses are equal.
    Nothing,
    /// Only log positions differ.
    Movement,
    /// The progress of a restore differs; no other field does, except perhaps log positions.
    Progress,
    /// Any other field differs.
    News,
}

pub(super) fn difference(former: &RaftClusterStatus, now: &RaftClusterStatus) -> Difference {
    let still = |status: &RaftClusterStatus| {
        let mut status = status.clone();
        status.members.iter_mut().for_each(|member| member.match_index = None);
        status
    };
    let without_progress = |status: &RaftClusterStatus| {
        let mut status = still(status);
        let restoring = status.conditions.iter_mut().filter(|condition| condition.reason == Reason::Restoring.as_str());
        restoring.for_each(|condition| condition.message.clear());
        status
    };
    if former == now {
        Difference::Nothing
    } else if still(former) == still(now) {
        Difference::Movement
    } else if without_progress(former) == without_progress(now) {
        Difference::Progress
    } else {
        Difference::News
    }
}

fn is_due(difference: Difference, observed: &Observed, context: &Context) -> bool {
    let every = match difference {
        Difference::Nothing => return false,
        Difference::Movement => MOVEMENT_EVERY,
        Difference::Progress => PROGRESS_EVERY,
        Difference::News => return true,
    };
    let published = context.remember(observed.uid(), |memory| memory.published);
    published.is_none_or(|at| at.elapsed() >= every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answering::AnsweringServer;
    use crate::planning::tests::cluster;

    /// A RaftCluster that was deleted and created again once showed the status of the former one: Kubernetes ignores the
    /// UID in a write of a custom resource's status.
    #[tokio::test]
    async fn the_status_is_written_only_to_the_observed_version() {
        let mut observed = cluster("demo");
        observed.cluster.metadata.resource_version = Some("7".to_owned());
        let answer = json!(observed.cluster);
        let server = AnsweringServer::start(move |_| (200, answer.clone())).await;
        let plan = plan::plan(&observed);
        let published = publish(&plan, &Applied::default(), &observed, &server.context()).await;
        published.expect("the server accepts it");
        let requests = server.requests();
        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert!(request.path.ends_with("/raftclusters/demo/status"), "{}", request.path);
        assert_eq!(request.body["metadata"]["resourceVersion"], "7", "{}", request.body);
    }

    /// A restore reports more bytes in each pass. If each report were written immediately, each write would trigger
    /// another pass, and the passes would follow each other without a pause.
    #[test]
    fn the_progress_of_a_restore_is_not_written_at_once() {
        let status = |reason: &str, message: &str, matched: i64| -> RaftClusterStatus {
            let condition = json!({
                "type": "Ready", "status": "False", "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let member = json!({ "name": "demo-1", "matchIndex": matched });
            serde_json::from_value(json!({ "conditions": [condition], "members": [member] })).expect("a status")
        };
        let begun = status("Restoring", "1 of 9 bytes", 0);
        assert_eq!(difference(&begun, &begun), Difference::Nothing);
        assert_eq!(difference(&begun, &status("Restoring", "1 of 9 bytes", 7)), Difference::Movement);
        assert_eq!(difference(&begun, &status("Restoring", "5 of 9 bytes", 7)), Difference::Progress);
        assert_eq!(difference(&begun, &status("BackupCorrupt", "1 of 9 bytes", 0)), Difference::News);
        let waits = status("Unschedulable", "2 nodes", 0);
        assert_eq!(difference(&waits, &status("Unschedulable", "3 nodes", 0)), Difference::News);
    }
}
