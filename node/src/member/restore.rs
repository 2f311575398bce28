//! Start of a new cluster from a backup on a blank member. Owns the order of the steps: the whole backup is fetched,
//! verified and durable before the identity is written, so that a crash at any step leaves the volume blank. Does not
//! own the transfer (`archive`).

use std::time::{Duration, Instant};

use engine::error::AdoptError;
use engine::parameters::{RestoreFailure, RestoreParameters};
use engine::status::{Phase, RestoreStatus, Status};
use raft::SnapshotMeta;
use storage::{Start, Storage};
use tokio::task::AbortHandle;

use crate::guarded;
use crate::member::adopt::Adoption;
use crate::member::serve::Serving;
use crate::member::{Member, Stage, StartError};

/// Pause after the first failed attempt. Each further failure doubles the pause, because otherwise a damaged backup of
/// gigabytes would be fetched repeatedly at short intervals.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Maximum pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Outcome of an attempt.
pub(super) type Fetched = Result<SnapshotMeta, RestoreFailure>;

/// State of a volume while a backup is fetched into it, or while the next attempt is awaited.
pub(super) struct Restoring {
    storage: Box<Storage>,
    adoption: Adoption,
    backup: String,
    /// `None` once the attempt has failed.
    fetching: Option<Fetching>,
    /// Number of attempts so far.
    attempts: u32,
    /// Earliest start of the next attempt.
    not_before: Instant,
}

/// The attempt in progress. Dropping this value aborts the attempt.
struct Fetching(AbortHandle);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Member {
    /// Begins to fetch a backup. If an earlier attempt failed, begins another attempt.
    ///
    /// # Errors
    /// Returns why the order cannot be carried out. No attempt was started.
    pub(super) fn restore(&mut self, order: RestoreParameters) -> Result<(), AdoptError> {
        let RestoreParameters { join, backup, fetch, progress } = order;
        let adoption = Adoption::of_join(self.shared.member(), self.shared.supports(), join)?;
        let (storage, attempts) = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Blank(storage) => (storage, 0),
            Stage::Restoring(restoring) if restoring.is_busy_with(&backup) => {
                let outcome = restoring.compare(&adoption, &backup);
                self.stage = Stage::Restoring(restoring);
                return outcome;
            }
            Stage::Restoring(failed) => (failed.storage, if failed.backup == backup { failed.attempts } else { 0 }),
            Stage::Member(consensus) => {
                let outcome = adoption.compare(&consensus.cluster);
                self.stage = Stage::Member(consensus);
                return outcome;
            }
            other @ (Stage::Repairing(_) | Stage::Over) => {
                self.stage = other;
                return Err(AdoptError::NotBlank { phase: self.handle.status().phase });
            }
        };
        tracing::info!(backup, "fetching a backup");
        let fetching = fetch(storage.snapshots().clone());
        let fetched = self.fetched.clone();
        let task = guarded::spawn("the restore of a backup", async move {
            let outcome = fetching.await;
            // Fails only if the member is stopping.
            let _ = fetched.send(outcome).await;
        });
        let cluster = adoption.cluster();
        self.shared.require_token(cluster.token_sha256);
        self.shared.update_status(|status| Status {
            phase: Phase::Restoring,
            cluster: Some(cluster.cluster_id),
            name: cluster.own.name.clone(),
            restore: Some(RestoreStatus {
                backup: backup.clone(),
                progress: progress.clone(),
                // The cause of the last failure stays in the status until an attempt succeeds.
                cause: status.restore.as_ref().map(|restore| restore.cause.clone()).unwrap_or_default(),
            }),
            ..Status::clone(status)
        });
        let fetching = Some(Fetching(task));
        let attempts = attempts.saturating_add(1);
        let not_before = Instant::now();
        let restoring = Restoring { storage, adoption, backup, fetching, attempts, not_before };
        self.stage = Stage::Restoring(Box::new(restoring));
        Ok(())
    }

    /// Handles the end of an attempt.
    pub(super) fn fetched(&mut self, fetched: Fetched, serving: &mut Serving) -> Result<(), StartError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Restoring(mut restoring) = stage else {
            self.stage = stage;
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
                self.start_consensus(*recovered, serving)
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
        tracing::warn!(
            cause = failure.cause,
            reason = failure.reason,
            ?pause,
            "the backup was not restored; the next attempt follows a pause"
        );
        self.shared.update_status(|status| Status {
            restore: status.restore.clone().map(|restore| RestoreStatus { cause: failure.cause.clone(), ..restore }),
            error: failure.reason.clone(),
            ..Status::clone(status)
        });
        self.stage = Stage::Restoring(restoring);
    }
}

impl Restoring {
    /// Returns whether no attempt to fetch `backup` can start now, because an attempt to fetch any backup is in progress,
    /// or because the next attempt to fetch `backup` must still wait.
    fn is_busy_with(&self, backup: &str) -> bool {
        self.fetching.is_some() || (self.backup == backup && Instant::now() < self.not_before)
    }

    /// Accepts a request for the restore that is already in progress, so that the operator can repeat a call.
    ///
    /// # Errors
    /// Returns [`AdoptError::AnotherIdentity`] for another backup or another cluster identity.
    fn compare(&self, adoption: &Adoption, backup: &str) -> Result<(), AdoptError> {
        if self.backup == backup {
            return adoption.compare(self.adoption.cluster());
        }
        Err(AdoptError::AnotherIdentity { cluster: self.adoption.cluster().cluster_id.to_string() })
    }
}
