//! One RaftCluster, once: observe → plan → apply → status. Owns the order; each step is in the folder beside.

pub(crate) mod observe;

mod apply;

pub(crate) mod events;
mod status;

use std::sync::Arc;
use std::time::Instant;

use crds::RaftCluster;
use kube::runtime::controller::Action;

use crate::context::{Context, NoEntropy};
use crate::retry::Look;

/// Why a reconciliation ended early. What was done before it stays done.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The Kubernetes API refused a read, or the status.
    #[error("{what}: {error}")]
    Api {
        /// What was being done.
        what: &'static str,
        /// What the API said.
        #[source]
        error: kube::Error,
    },
    /// Nothing can be minted.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Looks at the cluster and does what is to be done next.
///
/// # Errors
/// The world could not be read, or the status not be written; it is tried again.
pub async fn reconcile(cluster: Arc<RaftCluster>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let outcome = pass(&cluster, &context).await;
    context.metrics.reconciled("RaftCluster", began.elapsed(), outcome.as_ref().err().map(|error| error as _));
    outcome
}

async fn pass(cluster: &RaftCluster, context: &Context) -> Result<Action, ReconcileError> {
    let observed = observe::world(cluster, context).await?;
    let Some(observed) = observed else { return Ok(Action::await_change()) };
    let plan = plan::plan(&observed);
    let applied = apply::in_order(&plan.actions, &observed, context).await;
    let status = status::publish(&plan, &applied, &observed, context).await?;
    events::publish(&observed, &status, &applied, context).await;
    let uid = observed.uid();
    if applied.failures.is_empty() {
        context.succeeded(uid);
        let former = observed.cluster.status.as_ref();
        let is_news = former.is_none_or(|former| status::difference(former, &status) == status::Difference::News);
        let look = if applied.did_something || is_news { Look::Fruitful } else { Look::Fruitless };
        let pause = context.remember(uid, |memory| memory.fruitless.after(look, plan.next_look, plan.slowest_look));
        // What was done shows at the next look, and the next step may be possible at once.
        Ok(Action::requeue(if applied.did_something { pause.min(apply::SETTLE) } else { pause }))
    } else {
        Ok(Action::requeue(context.failed(uid).max(plan.next_look)))
    }
}

/// What to do after an error: wait longer each time.
pub fn retry(cluster: Arc<RaftCluster>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(cluster = name, %error, "the cluster was not reconciled");
    Action::requeue(context.failed(cluster.metadata.uid.as_deref().unwrap_or_default()))
}
