//! The door's calls that reach the object store: back up, restore, probe. Owns the one backup under way and what is told of
//! it; where bytes go and how they are checked is the archive's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use proto::admin as wire;
use proto::admin::backup_response::State;
use raft::EntryId;
use tonic::Status;

use crate::archive::{self, Access, ArchiveError, Backup, Done, ObjectStoreConfig, Patience, Progress, Restore};
use crate::config::RunArgs;
use crate::handle::Handle;
use crate::handle::record::{ClusterId, JoinRecord, RestoreFailure, RestoreRecord};

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
    /// Nothing was started: another backup is under way, or the member is in no cluster.
    pub(super) fn backup(
        &self,
        handle: &Handle,
        name: String,
        store: ObjectStoreConfig,
    ) -> Result<wire::BackupResponse, Status> {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = job.as_ref() {
            if job.name == name {
                return Ok(job.report());
            }
            if job.outcome.is_none() {
                return Err(Status::unavailable(format!(
                    "backup {} is under way: ask again when it is over",
                    job.name
                )));
            }
        }
        let status = handle.status();
        let cluster = status.cluster.ok_or_else(|| Status::failed_precondition("this member is in no cluster"))?;
        let published = handle.published();
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
        Ok(match archive::probe(&access, cluster, status.member).await {
            Ok(()) => wire::ProbeObjectStoreResponse::default(),
            Err(error) => wire::ProbeObjectStoreResponse { cause: error.cause().to_owned(), error: error.to_string() },
        })
    }
}

impl Job {
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
                ..running
            },
        }
    }
}
