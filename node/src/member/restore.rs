//! A blank member that starts a new cluster from a backup. Owns the order: everything is fetched, checked and durable before
//! the identity is written, so a crash at any step leaves the volume blank. How a backup is fetched is the caller's.

use std::time::{Duration, Instant};

use engine::error::AdoptError;
use engine::record::{RestoreFailure, RestoreRecord};
use engine::status::{Phase, RestoreStatus, Status};
use raft::SnapshotMeta;
use storage::{Start, Storage};
use tokio::task::AbortHandle;

use crate::member::adopt::Adoption;
use crate::member::serve::Serving;
use crate::member::{Life, Member, StartError};

/// Between the first attempts to restore, doubled after each: a damaged backup of gigabytes is not fetched in a loop.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How an attempt ended.
pub(super) type Fetched = Result<SnapshotMeta, RestoreFailure>;

/// A volume that is being filled, or waits for another attempt.
pub(super) struct Restoring {
    storage: Box<Storage>,
    adoption: Adoption,
    backup: String,
    /// `None` once the attempt has failed.
    fetching: Option<Fetching>,
    /// Attempts so far.
    attempts: u32,
    /// The next one begins no sooner.
    not_before: Instant,
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
        let adoption = Adoption::of_join(self.shared.member(), join)?;
        let (storage, attempts) = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Blank(storage) => (storage, 0),
            Life::Restoring(restoring) if restoring.is_busy_with(&backup) => {
                let outcome = restoring.compare(&adoption, &backup);
                self.life = Life::Restoring(restoring);
                return outcome;
            }
            Life::Restoring(failed) => (failed.storage, if failed.backup == backup { failed.attempts } else { 0 }),
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
        self.shared.require_token(record.token_sha256);
        self.shared.update_status(|status| Status {
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
        let attempts = attempts.saturating_add(1);
        let not_before = Instant::now();
        let restoring = Restoring { storage, adoption, backup, fetching, attempts, not_before };
        self.life = Life::Restoring(Box::new(restoring));
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
        let Restoring { storage, adoption, backup, attempts, not_before, .. } = *restoring;
        match adoption.clone().write(*storage, &Start::Snapshot(meta)) {
            Ok(recovered) => {
                self.adopted(&recovered);
                self.shared.update_status(|status| Status {
                    phase: Phase::Member,
                    restore: None,
                    error: String::new(),
                    ..Status::clone(status)
                });
                self.engage(*recovered, serving)
            }
            Err((reason, storage)) => {
                let failure = RestoreFailure { cause: "RestoreFailed".to_owned(), reason: reason.to_string() };
                let failed = Restoring { storage, adoption, backup, fetching: None, attempts, not_before };
                self.failed(Box::new(failed), &failure);
                Ok(())
            }
        }
    }

    fn failed(&mut self, mut restoring: Box<Restoring>, failure: &RestoreFailure) {
        let pause = PAUSE_MAX.min(PAUSE_MIN * 2u32.pow(restoring.attempts.clamp(1, 16) - 1));
        restoring.not_before = Instant::now() + pause;
        tracing::warn!(cause = failure.cause, reason = failure.reason, ?pause, "the backup was not restored");
        self.shared.update_status(|status| Status {
            restore: status.restore.clone().map(|restore| RestoreStatus { cause: failure.cause.clone(), ..restore }),
            error: failure.reason.clone(),
            ..Status::clone(status)
        });
        self.life = Life::Restoring(restoring);
    }
}

impl Restoring {
    /// An attempt is under way, or the next one of the same order must wait.
    fn is_busy_with(&self, backup: &str) -> bool {
        self.fetching.is_some() || (self.backup == backup && Instant::now() < self.not_before)
    }

    /// The same order again is fine.
    fn compare(&self, adoption: &Adoption, backup: &str) -> Result<(), AdoptError> {
        if self.backup == backup {
            return adoption.compare(self.adoption.record());
        }
        Err(AdoptError::AnotherRecord { cluster: self.adoption.record().cluster_id.to_string() })
    }
}
