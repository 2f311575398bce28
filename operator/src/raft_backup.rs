//! One RaftBackup, once: look, choose a member, ask it, report. Owns the calls; who is asked and what is said is the
//! planner's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::raft_backup::RaftBackupStatus;
use crds::{RaftBackup, RaftCluster};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use plan::backup::{self, Ask, Choice, Completed, Progress, Tries};
use plan::names::FIELD_MANAGER;
use plan::observed::Observed;
use proto::admin::backup_response::State;
use serde_json::json;
use tonic::Code;

use crate::context::Context;
use crate::member::client::{BackupReply, CallError};
use crate::raft_cluster::events;
use crate::raft_cluster::{ReconcileError, observe};
use crate::retry::Look;

/// How soon to ask again how an upload goes.
const LOOK_SOON: Duration = Duration::from_millis(500);
/// How often progress is published.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How soon to see whether somebody can be asked, and how seldom while nobody can.
const LOOK_LATER: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Looks at the backup and does what is to be done next.
///
/// # Errors
/// The world could not be read, or the status not be written; it is tried again.
pub async fn reconcile(backup: Arc<RaftBackup>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let outcome = pass(&backup, &context).await;
    context.metrics.reconciled("RaftBackup", began.elapsed(), outcome.as_ref().err().map(|error| error as _));
    outcome
}

async fn pass(backup: &RaftBackup, context: &Context) -> Result<Action, ReconcileError> {
    let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let uid = backup.metadata.uid.clone().unwrap_or_default();
    let read = |error| ReconcileError::Api { what: "reading the RaftBackup and its cluster", error };
    let backups: Api<RaftBackup> = Api::namespaced(context.client.clone(), namespace);
    // Not from a cache: a backup that is complete must not be taken again.
    let Some(backup) = backups.get_opt(name).await.map_err(read)? else {
        context.forget(&uid);
        return Ok(Action::await_change());
    };
    if backup.metadata.deletion_timestamp.is_some()
        || backup::choose(&backup, None, Tries::default()) == Choice::Complete
    {
        return Ok(Action::await_change());
    }
    let clusters: Api<RaftCluster> = Api::namespaced(context.client.clone(), namespace);
    let observed = match clusters.get_opt(&backup.spec.cluster_name).await.map_err(read)? {
        Some(cluster) => observe::world(&cluster, context).await?,
        None => None,
    };
    let tries = context.remember(&uid, |memory| memory.tries);
    let now = Timestamp::now();
    let (status, next_look) = match (backup::choose(&backup, observed.as_ref(), tries), &observed) {
        (Choice::Complete, _) => return Ok(Action::await_change()),
        (Choice::Ask(ask), Some(observed)) => {
            let progress = ask_member(observed, &ask, context).await;
            let next_look = match &progress {
                Progress::Running { .. } => LOOK_SOON,
                Progress::Done(_) => LOOK_LATER,
                Progress::Unheard { .. } => {
                    context.remember(&uid, |memory| memory.tries.unheard = memory.tries.unheard.saturating_add(1));
                    context.failed(&uid)
                }
                Progress::Failed { .. } => {
                    context.remember(&uid, |memory| memory.tries.failed = memory.tries.failed.saturating_add(1));
                    context.failed(&uid)
                }
            };
            (backup::progressed(&backup, &ask, &progress, now), next_look)
        }
        (Choice::Wait(note), _) => {
            let status = backup::waiting(&backup, &note, now);
            let look = if backup.status.as_ref() == Some(&status) { Look::Fruitless } else { Look::Fruitful };
            (status, context.remember(&uid, |memory| memory.fruitless.after(look, LOOK_LATER, WAIT_MAX)))
        }
        (Choice::Ask(_), None) => return Ok(Action::requeue(LOOK_LATER)),
    };
    publish(&backup, &status, context).await?;
    Ok(Action::requeue(next_look))
}

/// What to do after an error: wait longer each time.
pub fn retry(backup: Arc<RaftBackup>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(backup = name, %error, "the backup was not reconciled");
    Action::requeue(context.failed(backup.metadata.uid.as_deref().unwrap_or_default()))
}

async fn ask_member(observed: &Observed, ask: &Ask, context: &Context) -> Progress {
    let token = observe::token(observed);
    let Some(mut member) = observe::reach(observed, ask.member, token.as_ref(), context) else {
        return Progress::Unheard { error: "the member has no pod to call".to_owned() };
    };
    match member.backup(&ask.name, &ask.store).await {
        Ok(reply) => progress(reply),
        Err(error) => unanswered(&error),
    }
}

fn progress(BackupReply(reply): BackupReply) -> Progress {
    match reply.state() {
        State::Running | State::Unspecified => {
            Progress::Running { bytes_done: reply.bytes_done, bytes_total: reply.bytes_total }
        }
        State::Done => Progress::Done(Box::new(Completed {
            manifest: reply.manifest,
            sha256: reply.sha256,
            size_bytes: reply.size_bytes,
            index: reply.index,
            term: reply.term,
            revision: reply.revision,
        })),
        State::Failed => Progress::Failed { cause: reply.cause, error: reply.error },
    }
}

fn unanswered(error: &CallError) -> Progress {
    match error.code {
        // A member that knows nothing of backups will not know more when asked again.
        Code::Unimplemented | Code::InvalidArgument => {
            Progress::Failed { cause: String::new(), error: error.to_string() }
        }
        _ => Progress::Unheard { error: error.to_string() },
    }
}

async fn publish(backup: &RaftBackup, status: &RaftBackupStatus, context: &Context) -> Result<(), ReconcileError> {
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    if let Some(former) = &backup.status
        && (former == status || (is_only_progress(former, status) && !is_progress_due(uid, context)))
    {
        return Ok(());
    }
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": RaftBackup::api_version(&()),
        "kind": RaftBackup::kind(&()),
        "metadata": { "name": name, "uid": backup.metadata.uid },
        "status": status,
    });
    let backups: Api<RaftBackup> = Api::namespaced(context.client.clone(), namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match backups.patch_status(name, &parameters, &Patch::Apply(&patch)).await {
        Ok(_) => context.remember(uid, |memory| memory.published = Some(Instant::now())),
        Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => return Ok(()),
        Err(error) => return Err(ReconcileError::Api { what: "publishing the status", error }),
    }
    let former = backup.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    events::publish_changes(former, &status.conditions, &backup.object_ref(&()), context).await;
    Ok(())
}

/// Whether nothing differs but how much is uploaded. Every write wakes everybody who watches, this operator included.
fn is_only_progress(former: &RaftBackupStatus, now: &RaftBackupStatus) -> bool {
    let still = |status: &RaftBackupStatus| {
        let mut status = RaftBackupStatus { progress: None, ..status.clone() };
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    still(former) == still(now)
}

fn is_progress_due(uid: &str, context: &Context) -> bool {
    let published = context.remember(uid, |memory| memory.published);
    published.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY)
}
