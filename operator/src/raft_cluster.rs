//! One pass of a RaftCluster: observe → plan → apply → status → events → overlap. Owns the order of these steps. Does
//! not own the steps (`raft_cluster/`).

pub(crate) mod observe;

mod apply;

pub(crate) mod events;
mod overlap;
mod status;

pub(crate) mod unreadable;

use std::sync::Arc;
use std::time::Instant;

use crds::RaftCluster;
use kube::Resource;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;

use crate::context::{Context, NoEntropy};
use crate::planning;
use crate::readable::Unreadable;
use crate::retry::PassOutcome;

/// The reason why a pass ended early. Actions that were carried out before the error are not undone.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused a read, or the write of the status.
    #[error("{what}: {error}")]
    Api {
        /// The step that failed.
        what: &'static str,
        /// The API server's answer.
        #[source]
        error: kube::Error,
    },
    /// This version cannot read the RaftCluster or RaftBackup.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    /// No random bytes are available for an ID.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Reconciles a cluster.
///
/// # Errors
/// Returns an error if objects could not be read or the status could not be written. The pass is retried.
pub async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let outcome = match pass(&*cluster, &context).await {
        Err(ReconcileError::Unreadable(unreadable)) => {
            unreadable::report::<RaftCluster>(&unreadable, &context).await.map(|()| Action::await_change())
        }
        outcome => outcome,
    };
    context.metrics.reconciled("RaftCluster", began.elapsed(), outcome.as_ref().err().map(|error| error as _));
    outcome
}

async fn pass(cluster: &impl Resource, context: &Context) -> Result<Action, ReconcileError> {
    let observed = observe::world(cluster.meta(), context).await?;
    let Some(observed) = observed else { return Ok(Action::await_change()) };
    let plan = planning::plan(&observed, plan::plan);
    let applied = apply::in_order(&plan.actions, &observed, context).await;
    let status = status::publish(&plan, &applied, &observed, context).await?;
    events::publish(&observed, &status, &applied, context).await;
    overlap::check(&observed, context).await;
    let uid = observed.uid();
    if applied.failures.is_empty() {
        context.succeeded(uid);
        let former = observed.cluster.status.as_ref();
        let is_news = former.is_none_or(|former| status::difference(former, &status) == status::Difference::News);
        let outcome = PassOutcome::of(applied.did_something || is_news);
        let pause =
            context.remember(uid, |memory| memory.idle.after(outcome, plan.requeue_after, plan.requeue_at_most));
        // After an action the next step may be possible immediately, therefore the next pass follows soon.
        Ok(Action::requeue(if applied.did_something { pause.min(apply::SETTLE) } else { pause }))
    } else {
        Ok(Action::requeue(context.failed(uid).max(plan.requeue_after)))
    }
}

/// Requeues a cluster after an error. The delay grows with each error.
pub fn retry(cluster: Arc<DynamicObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(cluster = name, %error, "the cluster was not reconciled");
    Action::requeue(context.failed(cluster.metadata.uid.as_deref().unwrap_or_default()))
}
