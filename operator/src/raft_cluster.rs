//! One pass of a RaftCluster: observe → plan → apply → status → events → overlap. Owns the order of these steps. Does
//! not own the steps (`raft_cluster/`).

pub(crate) mod observe;

mod apply;

pub(crate) mod events;
mod overlap;
mod status;

pub(crate) mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use crds::RaftCluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use tokio::time::Instant;

use crate::context::Context;
use crate::machine::NoEntropy;
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
    /// The members' Service changed during each attempt to read the cluster.
    #[error("another program changes the members' Service all the time")]
    Restless,
    /// No random bytes are available for an ID.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// When the next pass follows, unless one of the cluster's objects changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextPass {
    /// After this delay.
    After(Duration),
    /// Only after a change.
    AtChange,
}

impl From<NextPass> for Action {
    fn from(next: NextPass) -> Self {
        match next {
            NextPass::After(delay) => Self::requeue(delay),
            NextPass::AtChange => Self::await_change(),
        }
    }
}

/// Reconciles a cluster.
///
/// # Errors
/// Returns an error if objects could not be read or the status could not be written. The pass is retried.
pub async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let outcome = pass(&*cluster, &context).await;
    context.metrics.reconciled("RaftCluster", began.elapsed(), outcome.as_ref().err().map(|error| error as _));
    outcome.map(Action::from)
}

/// Runs one pass. Reports on the object itself if it cannot be decoded.
///
/// # Errors
/// Returns an error if objects could not be read or the status could not be written. Actions that were carried out
/// before are not undone.
pub async fn pass(cluster: &impl Resource, context: &Context) -> Result<NextPass, ReconcileError> {
    match work(cluster.meta(), context).await {
        Err(ReconcileError::Unreadable(unreadable)) => {
            unreadable::report::<RaftCluster>(&unreadable, context).await.map(|()| NextPass::AtChange)
        }
        outcome => outcome,
    }
}

async fn work(cluster: &ObjectMeta, context: &Context) -> Result<NextPass, ReconcileError> {
    let observed = observe::world(cluster, context).await?;
    let Some(observed) = observed else { return Ok(NextPass::AtChange) };
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
        Ok(NextPass::After(if applied.did_something { pause.min(apply::SETTLE) } else { pause }))
    } else {
        Ok(NextPass::After(context.failed(uid).max(plan.requeue_after)))
    }
}

/// Requeues a cluster after an error. The delay grows with each error.
pub fn retry(cluster: Arc<DynamicObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(cluster = name, %error, "the cluster was not reconciled");
    Action::requeue(context.failed(cluster.metadata.uid.as_deref().unwrap_or_default()))
}
