//! The admin calls that use the object store: backup, restore, probe. Owns the backup in progress (at most one) and its
//! report. Does not own the transfer of bytes and their verification (`crate::archive`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use archive::{Access, ArchiveError, Backup, FinishedBackup, ObjectStoreConfig, Progress, Restore, Timeouts};
use engine::handle::Handle;
use engine::parameters::{ClusterId, JoinParameters, RestoreFailure, RestoreParameters};
use proto::admin as wire;
use proto::admin::backup_response::State;
use raft::EntryId;
use tonic::Status;

use super::refusal;
use crate::config::RunArgs;

/// Time limit of a probe. The operator waits for the result in the same call.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);

/// One member's access to object stores. Clones share the backup in progress.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// Directory of the credentials for backups and probes, if configured.
    backup_credentials: Option<PathBuf>,
    /// Directory of the credentials for restores, if configured.
    restore_credentials: Option<PathBuf>,
    job: Arc<Mutex<Option<Job>>>,
}

/// The backup in progress, or the last one that ended.
#[derive(Debug)]
struct Job {
    name: String,
    progress: Progress,
    /// `None` while the backup is in progress.
    outcome: Option<Result<FinishedBackup, ArchiveError>>,
}

impl Archive {
    pub(super) fn new(args: &RunArgs) -> Self {
        let backup_credentials = args.object_store_credentials.clone();
        let restore_credentials = args.restore_credentials.clone().or_else(|| backup_credentials.clone());
        Self { backup_credentials, restore_credentials, job: Arc::default() }
    }

    fn access(&self, store: ObjectStoreConfig, timeouts: Timeouts) -> Access {
        Access { store, credentials: self.backup_credentials.clone(), timeouts }
    }

    /// Starts a backup of the applied state. If a backup of this name was already started, reports on it instead. After
    /// a failure, the same name always reports that failure, because the operator may have read it already; another
    /// attempt must use another name.
    ///
    /// # Errors
    /// Returns an error if another backup is in progress, if the member belongs to no cluster, or if it cannot confirm
    /// that its state is up to date. Nothing was started.
    pub(super) async fn backup(
        &self,
        handle: &Handle,
        name: String,
        store: ObjectStoreConfig,
    ) -> Result<wire::BackupResponse, Status> {
        if let Some(known) = self.known(&name)? {
            return Ok(known);
        }
        // Waits until this member has applied every write that was acknowledged before this call, because the backup
        // must contain these writes whichever member acknowledged them.
        let published = handle.linearizable().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = job.as_ref().map_or(Ok(None), |job| job.report_for(&name))? {
            return Ok(known);
        }
        let status = handle.status();
        let cluster = status.cluster.ok_or_else(|| {
            Status::failed_precondition("this member belongs to no cluster: call Bootstrap, Join or Restore first")
        })?;
        let backup = Backup {
            name: name.clone(),
            cluster,
            member: status.member,
            view: published.view.clone(),
            applied: EntryId { term: published.term, index: published.applied },
        };
        let progress = Progress::default();
        let started = Job { name, progress: progress.clone(), outcome: None };
        let report = started.report();
        *job = Some(started);
        let access = self.access(store, Timeouts::TRANSFER);
        let jobs = Arc::clone(&self.job);
        tokio::spawn(async move {
            let outcome = archive::backup(&access, backup, &progress).await;
            if let Err(error) = &outcome {
                tracing::warn!(cause = error.cause(), %error, "the backup failed");
            }
            // A backup in progress is never replaced, so `jobs` still holds this backup.
            if let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                job.outcome = Some(outcome);
            }
        });
        Ok(report)
    }

    fn known(&self, name: &str) -> Result<Option<wire::BackupResponse>, Status> {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().map_or(Ok(None), |job| job.report_for(name))
    }

    /// Creates the order that makes a blank member fetch a backup.
    pub(super) fn restore(
        &self,
        join: JoinParameters,
        store: ObjectStoreConfig,
        source: ClusterId,
        manifest: String,
    ) -> RestoreParameters {
        let access = Access { store, credentials: self.restore_credentials.clone(), timeouts: Timeouts::TRANSFER };
        let progress = Progress::default();
        let (member, own, supports) = (join.member, join.info.clone(), engine::level::SUPPORTED);
        let restore = Restore { manifest: manifest.clone(), source, member, own, supports };
        let reported = progress.clone();
        RestoreParameters {
            join,
            backup: manifest,
            fetch: Box::new(move |snapshots| {
                Box::pin(async move {
                    match archive::restore(&access, restore, &snapshots, &progress).await {
                        Ok(restored) => Ok(restored.meta),
                        Err(error) => {
                            Err(RestoreFailure { cause: error.cause().to_owned(), reason: error.to_string() })
                        }
                    }
                })
            }),
            progress: Arc::new(move || (reported.done(), reported.total())),
        }
    }

    /// Tests whether backups can be written and read.
    ///
    /// # Errors
    /// Returns an error if the member belongs to no cluster, because object keys contain the cluster ID. Nothing was
    /// written.
    pub(super) async fn probe(
        &self,
        handle: &Handle,
        store: ObjectStoreConfig,
    ) -> Result<wire::ProbeObjectStoreResponse, Status> {
        let status = handle.status();
        let cluster = status.cluster.ok_or_else(|| {
            Status::failed_precondition("this member belongs to no cluster: call Bootstrap, Join or Restore first")
        })?;
        let access = self.access(store, Timeouts::PROBE);
        let probe = tokio::time::timeout(PROBE_TIMEOUT, archive::probe(&access, cluster, status.member));
        let timed_out = |_| {
            Err(ArchiveError::StoreUnreachable { reason: format!("the probe did not end within {PROBE_TIMEOUT:?}") })
        };
        Ok(match probe.await.unwrap_or_else(timed_out) {
            Ok(()) => wire::ProbeObjectStoreResponse::default(),
            Err(error) => wire::ProbeObjectStoreResponse {
                cause: error.cause().to_owned(),
                error: error.to_string(),
                cause_code: refusal::cause_code(error.cause()) as i32,
            },
        })
    }
}

impl Job {
    /// Reports on this job if it has the name `name`. `None`: this job has another name and has ended; a new job may
    /// begin.
    fn report_for(&self, name: &str) -> Result<Option<wire::BackupResponse>, Status> {
        if self.name == name {
            return Ok(Some(self.report()));
        }
        match self.outcome {
            Some(_) => Ok(None),
            None => Err(Status::unavailable(format!("backup {} is under way: try again when it has ended", self.name))),
        }
    }

    fn report(&self) -> wire::BackupResponse {
        let running = wire::BackupResponse {
            bytes_done: self.progress.done(),
            bytes_total: self.progress.total(),
            ..wire::BackupResponse::default()
        };
        match &self.outcome {
            None => wire::BackupResponse { state: State::Running.into(), ..running },
            Some(Ok(done)) => wire::BackupResponse {
                state: State::Done.into(),
                manifest: done.manifest.clone(),
                sha256: done.sha256.clone(),
                size_bytes: done.size_bytes,
                index: done.index,
                term: done.term,
                revision: done.revision,
                ..running
            },
            Some(Err(error)) => wire::BackupResponse {
                state: State::Failed.into(),
                error: error.to_string(),
                cause: error.cause().to_owned(),
                cause_code: refusal::cause_code(error.cause()) as i32,
                ..running
            },
        }
    }
}
