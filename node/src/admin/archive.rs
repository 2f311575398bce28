//! The door's calls that reach the object store: back up, restore, probe. Owns the one backup under way and what is told of
//! it; where bytes go and how they are checked is the archive's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use archive::{Access, ArchiveError, Backup, Done, ObjectStoreConfig, Patience, Progress, Restore};
use engine::handle::Handle;
use engine::record::{ClusterId, JoinRecord, RestoreFailure, RestoreRecord};
use proto::admin as wire;
use proto::admin::backup_response::State;
use raft::EntryId;
use tonic::Status;

use super::refusal;
use crate::config::RunArgs;

/// Within this a probe has a verdict: the operator waits for it, and not for long.
const VERDICT: Duration = Duration::from_secs(4);

/// The way to object stores of one member. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// Directories of the credentials, if they were configured.
    backup_credentials: Option<PathBuf>,
    restore_credentials: Option<PathBuf>,
    job: Arc<Mutex<Option<Job>>>,
}

/// The backup under way, or the last one.
#[derive(Debug)]
struct Job {
    name: String,
    progress: Progress,
    outcome: Option<Result<Done, ArchiveError>>,
}

impl Archive {
    pub(super) fn new(args: &RunArgs) -> Self {
        let backup_credentials = args.object_store_credentials.clone();
        let restore_credentials = args.restore_credentials.clone().or_else(|| backup_credentials.clone());
        Self { backup_credentials, restore_credentials, job: Arc::default() }
    }

    fn access(&self, store: ObjectStoreConfig, patience: Patience) -> Access {
        Access { store, credentials: self.backup_credentials.clone(), patience }
    }

    /// Starts a backup of the applied state, or tells how the one of that name goes. A name that failed stays so: what was
    /// asked for under it may be half told already, so another attempt takes another name.
    ///
    /// # Errors
    /// Nothing was started: another backup is under way, the member is in no cluster, or cannot tell whether it lags.
    pub(super) async fn backup(
        &self,
        handle: &Handle,
        name: String,
        store: ObjectStoreConfig,
    ) -> Result<wire::BackupResponse, Status> {
        if let Some(known) = self.known(&name)? {
            return Ok(known);
        }
        // Everything that was acknowledged before the backup was asked for is in it, whichever member takes it.
        let published = handle.linearizable().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = job.as_ref().map_or(Ok(None), |job| job.concerns(&name))? {
            return Ok(known);
        }
        let status = handle.status();
        let cluster = status.cluster.ok_or_else(|| Status::failed_precondition("this member is in no cluster"))?;
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
        let access = self.access(store, Patience::TRANSFER);
        let jobs = Arc::clone(&self.job);
        tokio::spawn(async move {
            let outcome = archive::backup(&access, backup, &progress).await;
            if let Err(error) = &outcome {
                tracing::warn!(cause = error.cause(), %error, "the backup failed");
            }
            // Nothing replaces a job that is under way, so this is still the same one.
            if let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                job.outcome = Some(outcome);
            }
        });
        Ok(report)
    }

    fn known(&self, name: &str) -> Result<Option<wire::BackupResponse>, Status> {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().map_or(Ok(None), |job| job.concerns(name))
    }

    /// The order by which a blank member fetches a backup.
    pub(super) fn restore(
        &self,
        join: JoinRecord,
        store: ObjectStoreConfig,
        source: ClusterId,
        manifest: String,
    ) -> RestoreRecord {
        let access = Access { store, credentials: self.restore_credentials.clone(), patience: Patience::TRANSFER };
        let progress = Progress::default();
        let restore = Restore { manifest: manifest.clone(), source, member: join.member, own: join.info.clone() };
        let told = progress.clone();
        RestoreRecord {
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
            progress: Arc::new(move || (told.done(), told.total())),
        }
    }

    /// Whether backups could be written and read.
    ///
    /// # Errors
    /// The member is in no cluster, so it has no place in a bucket.
    pub(super) async fn probe(
        &self,
        handle: &Handle,
        store: ObjectStoreConfig,
    ) -> Result<wire::ProbeObjectStoreResponse, Status> {
        let status = handle.status();
        let cluster = status.cluster.ok_or_else(|| Status::failed_precondition("this member is in no cluster"))?;
        let access = self.access(store, Patience::PROBE);
        let probe = tokio::time::timeout(VERDICT, archive::probe(&access, cluster, status.member));
        let silent = |_| Err(ArchiveError::StoreUnreachable { reason: format!("no verdict within {VERDICT:?}") });
        Ok(match probe.await.unwrap_or_else(silent) {
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
    /// What is told to somebody who asks for this name: how it goes, if it is this job's; nothing, if another may begin.
    fn concerns(&self, name: &str) -> Result<Option<wire::BackupResponse>, Status> {
        if self.name == name {
            return Ok(Some(self.report()));
        }
        match self.outcome {
            Some(_) => Ok(None),
            None => Err(Status::unavailable(format!("backup {} is under way: ask again when it is over", self.name))),
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
