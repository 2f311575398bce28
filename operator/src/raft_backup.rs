//! One pass of a RaftBackup: observe, choose a member, call the member, report. Owns the calls. Does not own which
//! member is called or what is reported (`plan::backup`).

use std::sync::Arc;
use std::time::Duration;

use crds::raft_backup::RaftBackupStatus;
use crds::{RaftBackup, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use plan::backup::{self, Assignment, AttemptState, Attempts, Choice, Completed};
use plan::decision::Note;
use plan::names::FIELD_MANAGER;
use plan::observed::Observed;
use proto::admin::backup_response::State;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::context::Context;
use crate::member::client::{BackupReply, CallError};
use crate::member::reasons;
use crate::planning;
use crate::raft_cluster::events;
use crate::raft_cluster::{ReconcileError, observe, unreadable};
use crate::readable;
use crate::retry::PassOutcome;

/// Interval between calls during an upload.
const UPLOADING: Duration = Duration::from_millis(500);
/// Minimum interval between status writes that change only the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// First delay between passes while no member can be called.
const WAITING: Duration = Duration::from_secs(2);
/// Maximum delay between passes while no member can be called.
const WAITING_MAX: Duration = Duration::from_secs(10);

/// Reconciles a backup.
///
/// # Errors
/// Returns an error if objects could not be read or the status could not be written. The pass is retried.
pub async fn reconcile(backup: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let outcome = match pass(&*backup, &context).await {
        Err(ReconcileError::Unreadable(unreadable)) => {
            unreadable::report::<RaftBackup>(&unreadable, &context).await.map(|()| Action::await_change())
        }
        outcome => outcome,
    };
    context.metrics.reconciled("RaftBackup", began.elapsed(), outcome.as_ref().err().map(|error| error as _));
    outcome
}

async fn pass(backup: &impl Resource, context: &Context) -> Result<Action, ReconcileError> {
    let ObjectMeta { name, namespace, uid, .. } = backup.meta().clone();
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let uid = uid.unwrap_or_default();
    // This read goes to the API server instead of a cache, because a backup that is already complete must not be made
    // again.
    let found = readable::get::<RaftBackup>(&context.client, &namespace, &name).await;
    let Some(found) = found.map_err(|error| ReconcileError::Api { what: "reading the RaftBackup", error })? else {
        context.forget(&uid);
        return Ok(Action::await_change());
    };
    let backup = found?;
    if backup.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if backup::choose(&backup, None, Attempts::default()) == Choice::Complete {
        if let Some(status) = backup::completed_again(&backup, context.machine.wall_clock()) {
            publish(&backup, &status, context).await?;
        }
        return Ok(Action::await_change());
    }
    let attempts = context.remember(&uid, |memory| memory.attempts);
    let cluster = ObjectMeta {
        name: Some(backup.spec.cluster_name.clone()),
        namespace: Some(namespace),
        ..ObjectMeta::default()
    };
    let (choice, observed) = match observe::world(&cluster, context).await {
        Ok(observed) => (planning::choose(&backup, observed.as_ref(), attempts), observed),
        Err(ReconcileError::Unreadable(unreadable)) => {
            let message = format!("RaftCluster {:?} cannot be read: {unreadable}", backup.spec.cluster_name);
            (Choice::Wait(Note::new(Reason::Unreadable, message)), None)
        }
        Err(error) => return Err(error),
    };
    let now = context.machine.wall_clock();
    let (status, requeue) = match (choice, &observed) {
        (Choice::Complete, _) => return Ok(Action::await_change()),
        (Choice::Assign(assignment), Some(observed)) => {
            let progress = ask_member(observed, &assignment, context).await;
            let requeue = match &progress {
                AttemptState::Running { .. } => UPLOADING,
                AttemptState::Done(_) => WAITING,
                AttemptState::Unanswered { .. } => {
                    context.remember(&uid, |memory| {
                        memory.attempts.unanswered = memory.attempts.unanswered.saturating_add(1)
                    });
                    context.failed(&uid)
                }
                AttemptState::Failed { .. } => {
                    context.remember(&uid, |memory| memory.attempts.failed = memory.attempts.failed.saturating_add(1));
                    context.failed(&uid)
                }
            };
            (backup::progressed(&backup, &assignment, &progress, now), requeue)
        }
        (Choice::Wait(note), _) => {
            let status = backup::waiting(&backup, &note, now);
            let outcome = PassOutcome::of(backup.status.as_ref() != Some(&status));
            (status, context.remember(&uid, |memory| memory.idle.after(outcome, WAITING, WAITING_MAX)))
        }
        (Choice::Assign(_), None) => return Ok(Action::requeue(WAITING)),
    };
    publish(&backup, &status, context).await?;
    Ok(Action::requeue(requeue))
}

/// Requeues a backup after an error. The delay grows with each error.
pub fn retry(backup: Arc<DynamicObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(backup = name, %error, "the backup was not reconciled");
    Action::requeue(context.failed(backup.metadata.uid.as_deref().unwrap_or_default()))
}

async fn ask_member(observed: &Observed, assignment: &Assignment, context: &Context) -> AttemptState {
    let token = observe::token(observed);
    let Some(mut member) = observe::reach(observed, assignment.member, token.as_ref(), context) else {
        return AttemptState::Unanswered { error: "the member has no pod to call".to_owned() };
    };
    match member.backup(&assignment.name, &assignment.store).await {
        Ok(reply) => progress(reply),
        Err(error) => unanswered(&error),
    }
}

fn progress(BackupReply(reply): BackupReply) -> AttemptState {
    match reply.state() {
        State::Running | State::Unspecified => {
            AttemptState::Running { bytes_done: reply.bytes_done, bytes_total: reply.bytes_total }
        }
        State::Done => AttemptState::Done(Box::new(Completed {
            manifest: reply.manifest,
            sha256: reply.sha256,
            size_bytes: reply.size_bytes,
            index: reply.index,
            term: reply.term,
            revision: reply.revision,
        })),
        State::Failed => {
            AttemptState::Failed { cause: reasons::cause(reply.cause_code, &reply.cause), error: reply.error }
        }
    }
}

fn unanswered(error: &CallError) -> AttemptState {
    match error.code {
        // These codes mean that the attempt has failed. A member whose version does not support backups gives the same
        // answer to every call.
        Code::Unimplemented | Code::InvalidArgument => AttemptState::Failed { cause: None, error: error.to_string() },
        _ => AttemptState::Unanswered { error: error.to_string() },
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
        // Kubernetes ignores the UID in a write of a custom resource's status.
        "metadata": {
            "name": name, "uid": backup.metadata.uid, "resourceVersion": backup.metadata.resource_version,
        },
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

/// Returns whether two statuses differ only in progress. Writes that change only progress are limited, because every
/// write triggers all watchers, including this operator.
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::answering::{AnsweringServer, accepted};

    /// A complete backup with the conditions of an operator that could not read it.
    fn complete() -> Value {
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "Unreadable", "message": "", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup",
            "metadata": { "name": "nightly", "namespace": "default", "uid": "u", "resourceVersion": "9", "generation": 1 },
            "spec": { "clusterName": "demo" },
            "status": {
                "observedGeneration": 1, "completedAt": "2026-01-01T00:00:00Z", "manifest": "m", "revision": 7,
                "sizeBytes": 70,
                "conditions": [condition("Ready", "Unknown"), condition("Reconciling", "False"), condition("Stalled", "True")],
            },
        })
    }

    #[tokio::test]
    async fn a_complete_backup_that_once_could_not_be_read_is_ready_again() {
        let reads =
            |object: Value| {
                AnsweringServer::start(move |request| {
                    if request.path.ends_with("/events") { accepted() } else { (200, object.clone()) }
                })
            };
        let object: Arc<DynamicObject> = Arc::new(serde_json::from_value(complete()).expect("a dynamic object"));
        let server = reads(complete()).await;
        let next = reconcile(Arc::clone(&object), Arc::new(server.context())).await;
        assert_eq!(next.expect("it is reported"), Action::await_change());
        let requests = server.requests();
        let writes: Vec<_> =
            requests.iter().filter(|request| request.path.ends_with("/raftbackups/nightly/status")).collect();
        assert_eq!(writes.len(), 1, "{requests:?}");
        let metadata = &writes[0].body["metadata"];
        assert_eq!(metadata["resourceVersion"], "9", "a later backup of this name keeps its status");
        let status = &writes[0].body["status"];
        assert_eq!((&status["manifest"], &status["completedAt"]), (&json!("m"), &json!("2026-01-01T00:00:00Z")));
        let conditions = status["conditions"].as_array().expect("a list");
        let found = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind).expect("it is reported");
        assert_eq!((&found("Ready")["status"], &found("Ready")["reason"]), (&json!("True"), &json!("Completed")));
        assert_eq!(found("Stalled")["status"], "False");

        let mut reported = complete();
        reported["status"]["conditions"] = status["conditions"].clone();
        let server = reads(reported).await;
        reconcile(object, Arc::new(server.context())).await.expect("nothing is to be reported");
        assert!(server.requests().iter().all(|request| request.method == "GET"), "it is reported already");
    }
}
