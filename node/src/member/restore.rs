//! A blank member that starts a new cluster from a backup. Owns the order: everything is fetched, checked and durable before
//! the identity is written, so a crash at any step leaves the volume blank. How a backup is fetched is the caller's.

use std::sync::Arc;

use raft::SnapshotMeta;
use storage::{Start, Storage};
use tokio::task::AbortHandle;

use crate::handle::error::AdoptError;
use crate::handle::record::{RestoreFailure, RestoreRecord};
use crate::handle::status::{Phase, RestoreStatus, Status};
use crate::member::adopt::Adoption;
use crate::member::serve::Serving;
use crate::member::{Life, Member, StartError};

/// How an attempt ended.
pub(super) type Fetched = Result<SnapshotMeta, RestoreFailure>;

/// A volume that is being filled, or waits for another attempt.
pub(super) struct Restoring {
    storage: Box<Storage>,
    adoption: Adoption,
    backup: String,
    /// `None` once the attempt has failed.
    fetching: Option<Fetching>,
}

/// An attempt; it ends with its handle.
struct Fetching(AbortHandle);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Member {
    /// Begins to fetch a backup; tries again if an earlier attempt failed.
    pub(super) fn restore(&mut self, record: RestoreRecord) -> Result<(), AdoptError> {
        let RestoreRecord { join, backup, fetch, progress } = record;
        let adoption = Adoption::of_join(self.shared.member, join)?;
        let storage = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Blank(storage) => storage,
            Life::Restoring(restoring) if restoring.fetching.is_some() => {
                let outcome = restoring.compare(&adoption, &backup);
                self.life = Life::Restoring(restoring);
                return outcome;
            }
            Life::Restoring(failed) => failed.storage,
            Life::Member(engine) => {
                let outcome = adoption.compare(&engine.record);
                self.life = Life::Member(engine);
                return outcome;
            }
            Life::Over => return Err(AdoptError::NotBlank { phase: self.handle.status().phase }),
        };
        tracing::info!(backup, "fetching a backup");
        let fetching = fetch(storage.snapshots().clone());
        let fetched = self.fetched.clone();
        let task = tokio::spawn(async move {
            let outcome = fetching.await;
            // Nobody listens any more when the member stops.
            let _ = fetched.send(outcome).await;
        });
        let record = adoption.record();
        self.shared.token.store(Some(Arc::new(record.token_sha256)));
        self.shared.status.rcu(|status| Status {
            phase: Phase::Restoring,
            cluster: Some(record.cluster_id),
            name: record.own.name.clone(),
            restore: Some(RestoreStatus {
                backup: backup.clone(),
                progress: progress.clone(),
                // What failed before is worth knowing until something succeeds.
                cause: status.restore.as_ref().map(|restore| restore.cause.clone()).unwrap_or_default(),
            }),
            ..Status::clone(status)
        });
        let fetching = Some(Fetching(task.abort_handle()));
        self.life = Life::Restoring(Box::new(Restoring { storage, adoption, backup, fetching }));
        Ok(())
    }

    /// An attempt ended.
    pub(super) fn fetched(&mut self, fetched: Fetched, serving: &mut Serving) -> Result<(), StartError> {
        let life = std::mem::replace(&mut self.life, Life::Over);
        let Life::Restoring(mut restoring) = life else {
            self.life = life;
            return Ok(());
        };
        restoring.fetching = None;
        let meta = match fetched {
            Ok(meta) => meta,
            Err(failure) => {
                self.failed(restoring, &failure);
                return Ok(());
            }
        };
        let Restoring { storage, adoption, backup, .. } = *restoring;
        match adoption.clone().write(*storage, &Start::Snapshot(meta)) {
            Ok(recovered) => {
                self.adopted(&recovered);
                self.shared.status.rcu(|status| Status {
                    phase: Phase::Member,
                    restore: None,
                    error: String::new(),
                    ..Status::clone(status)
                });
                self.engage(*recovered, serving)
            }
            Err((reason, storage)) => {
                let failure = RestoreFailure { cause: "RestoreFailed".to_owned(), reason: reason.to_string() };
                self.failed(Box::new(Restoring { storage, adoption, backup, fetching: None }), &failure);
                Ok(())
            }
        }
    }

    fn failed(&mut self, restoring: Box<Restoring>, failure: &RestoreFailure) {
        tracing::warn!(cause = failure.cause, reason = failure.reason, "the backup was not restored");
        self.shared.status.rcu(|status| Status {
            restore: status.restore.clone().map(|restore| RestoreStatus { cause: failure.cause.clone(), ..restore }),
            error: failure.reason.clone(),
            ..Status::clone(status)
        });
        self.life = Life::Restoring(restoring);
    }
}

impl Restoring {
    /// The same order again is fine.
    fn compare(&self, adoption: &Adoption, backup: &str) -> Result<(), AdoptError> {
        if self.backup == backup {
            return adoption.compare(self.adoption.record());
        }
        Err(AdoptError::AnotherRecord { cluster: self.adoption.record().cluster_id.to_string() })
    }
}
