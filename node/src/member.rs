//! One member from start to stop: opens its disk, serves its ports, starts consensus once it belongs to a cluster, and
//! stops everything in the right order. Owns the order of the phases. Does not own the work in each phase (`engine`,
//! `serve.rs`, `adopt.rs`, `restore.rs`).
//!
//! ```text
//! start   bind ports → open the disk → serve peers, admin, HTTP → (blank: wait for an identity)
//!         → log, snapshot, apply and core threads → serve clients
//! stop    not ready → transfer leadership → clients → core → apply → log → release the disk
//! ```

mod adopt;

mod restore;

mod compaction;

mod hash_check;

mod repair;

mod patient_disk;

mod watched;

mod consensus;

mod ports;

mod serve;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::driver::Ended;
use engine::error::AdoptError;
use engine::fatal::fatal;
use engine::handle::Handle;
use engine::lifecycle::Lifecycle;
use engine::shared::Shared;
use engine::status::{Phase, Status};
use engine::wiring::WireError;
use mvcc::Revision;
use raft::MemberId;
use storage::{Disk, FileDisk, Identity, LogRepair, OnFailure, OpenError, Options, Recovered, Start, Storage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::member::adopt::Adoption;
use crate::member::consensus::Consensus;
use crate::member::patient_disk::PatientDisk;
use crate::member::ports::Ports;
use crate::member::repair::Repairing;
use crate::member::restore::{Fetched, Restoring};
use crate::member::serve::Serving;
use crate::metrics::Metrics;
use crate::peer::Peers;
use crate::random;
use crate::volume::{segment_bytes, size_of};

/// Time limit of the leadership transfer when the member stops.
const DRAIN: Duration = Duration::from_secs(6);
/// Maximum number of admin calls that wait for the member to handle them.
const LIFECYCLE_MAX: usize = 8;

/// Reason why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("{flag}: {address} cannot be bound: {source}")]
    Bind {
        /// Flag that sets the address.
        flag: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The data directory cannot be opened.
    #[error("--data-dir: {0}")]
    Open(#[from] OpenError),
    /// The disk was read, but consensus cannot start from its state.
    #[error("consensus cannot start: {0}")]
    Consensus(#[from] WireError),
    /// An operation of the operating system failed. Every start needs this operation.
    #[error("{what}: {source}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Runs a member until SIGTERM or SIGINT.
///
/// # Errors
/// Returns an error if the member did not start, or if a blank member receives an identity and consensus cannot start
/// with it.
pub fn run(config: Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Name look-ups of all links run here, beside the reads of snapshots and backups. One that hangs delays no other.
        .max_blocking_threads(32)
        .build()
        .map_err(|source| StartError::System { what: "start a runtime", source })?;
    let ended = runtime.block_on(async {
        let mut terminate = stop_signal(SignalKind::terminate())?;
        let mut interrupt = stop_signal(SignalKind::interrupt())?;
        let running = Running::start(config)?;
        running
            .until(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await
    });
    // Does not wait for blocking tasks, because a name lookup or the reading of a file must not delay the exit.
    runtime.shutdown_background();
    ended
}

/// A running member that serves its ports.
pub struct Running {
    member: Member,
    serving: Serving,
    requests: mpsc::Receiver<Lifecycle>,
    endings: mpsc::Receiver<Ended>,
    fetches: mpsc::Receiver<Fetched>,
    repairs: mpsc::Receiver<repair::Ended>,
    differences: mpsc::Receiver<Revision>,
    /// Set when the member stops.
    stops: Arc<AtomicBool>,
}

impl Running {
    /// Starts a member on the current runtime. A blank, removed or damaged member, and one whose disk is too new,
    /// serves only peers, admin calls and HTTP.
    ///
    /// # Errors
    /// Returns why the member did not start.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(config, Arc::new(FileDisk))
    }

    /// Starts a member as [`Self::start`] does, but on the given disk.
    ///
    /// # Errors
    /// Returns why the member did not start.
    pub fn start_on(config: Config, disk: Arc<dyn Disk>) -> Result<Self, StartError> {
        if config.quota_bytes < config.args.quota_bytes {
            let (lowered, asked) = (config.quota_bytes, config.args.quota_bytes);
            tracing::warn!(
                lowered,
                asked,
                "the quota is lowered to fit this container's memory limit: raise the limit"
            );
        }
        tracing::info!(budget = %config.memory, "memory of this member, in MiB");
        if config.memory.exceeds_limit() {
            tracing::warn!("the memory limit is too low: under load this member may be killed, so raise the limit");
        }
        let ports = Ports::bind(&config)?;
        let stops = Arc::<AtomicBool>::default();
        let disk: Arc<dyn Disk> = Arc::new(PatientDisk { disk, stops: Arc::clone(&stops) });
        let opened = open(&config, &disk)?;
        let (lifecycle, requests) = mpsc::channel(LIFECYCLE_MAX);
        let metrics = Metrics::new();
        let shared = share(&config, &opened, lifecycle, metrics.clone());
        let handle = Handle::new(Arc::clone(&shared));
        let peers = Arc::new(OnceLock::new());
        let serving = Serving::start(&config, &handle, &metrics, &peers, ports)?;
        let (ended, endings) = mpsc::channel(1);
        let (fetched, fetches) = mpsc::channel(1);
        let (repaired, repairs) = mpsc::channel(1);
        let (differs, differences) = mpsc::channel(1);
        let stage = Stage::Over;
        let member = Member { config, disk, shared, handle, metrics, peers, ended, fetched, repaired, differs, stage };
        let mut running = Self { member, serving, requests, endings, fetches, repairs, differences, stops };
        match opened {
            Opened::Whole(recovered) => running.member.begin(*recovered, &mut running.serving)?,
            Opened::Repairable { repair, .. } => running.member.repair(repair),
            Opened::Damaged { .. } | Opened::TooNew { .. } => {}
        }
        Ok(running)
    }

    /// Returns the handle that the member's services use.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.member.handle.clone()
    }

    /// Runs until `stop` is ready, then stops everything in order.
    ///
    /// # Errors
    /// Returns an error if a blank member receives an identity and consensus cannot start with it.
    pub async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                Some(request) = self.requests.recv() => self.member.answer(request, &mut self.serving)?,
                Some(ending) = self.endings.recv() => self.member.ended(ending, &mut self.serving).await,
                Some(fetched) = self.fetches.recv() => self.member.fetched(fetched, &mut self.serving)?,
                Some(ended) = self.repairs.recv() => self.member.repair_ended(ended, &mut self.serving)?,
                Some(mark) = self.differences.recv() => self.member.isolate(mark, &mut self.serving).await,
                () = &mut stop => break,
            }
        }
        self.stops.store(true, Ordering::Relaxed);
        self.member.stop(self.serving).await;
        Ok(())
    }
}

/// Phase of the member, and the objects that it owns in that phase.
enum Stage {
    /// The member belongs to no cluster yet.
    Blank(Box<Storage>),
    /// A backup is being fetched, or the last attempt failed.
    Restoring(Box<Restoring>),
    /// The log is damaged, and its end is being fetched from other members.
    Repairing(#[expect(dead_code, reason = "it ends the repair when it is dropped")] Repairing),
    /// The member belongs to a cluster.
    Member(Box<Consensus>),
    /// The member was removed, or its disk is damaged or too new. No further phase follows.
    Over,
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, StartError> {
    signal(kind).map_err(|source| StartError::System { what: "listen for signals", source })
}

/// Result of opening the data directory.
enum Opened {
    Whole(Box<Recovered>),
    Damaged {
        member: MemberId,
        identity: Option<Box<Identity>>,
        reason: String,
    },
    TooNew {
        member: MemberId,
        identity: Option<Box<Identity>>,
        reason: String,
    },
    /// The log is damaged, and other members may have it.
    Repairable {
        repair: Box<LogRepair>,
        reason: String,
    },
}

impl Opened {
    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Whole(recovered) => Some(&recovered.identity),
            Self::Damaged { identity, .. } | Self::TooNew { identity, .. } => identity.as_deref(),
            Self::Repairable { repair, .. } => Some(repair.identity()),
        }
    }
}

/// Settings of one start.
fn options(config: &Config) -> Options {
    Options {
        segment_bytes: segment_bytes(size_of(&config.args.data_dir)),
        snapshots_kept: config.args.snapshots_retain,
        memory_bytes: config.memory.log as u64,
        // Ends the process. The log thread cannot be relied on for this: a member that waits for a snapshot may never
        // write to its log, and the log thread then does not notice a failed disk.
        on_failure: OnFailure::call(|failure| fatal(format_args!("the disk cannot be relied on: {failure}"))),
        ..Options::new(MemberId(random::nonzero()), random::number())
    }
}

fn open(config: &Config, disk: &Arc<dyn Disk>) -> Result<Opened, StartError> {
    match Storage::open(Arc::clone(disk), Path::new(&config.args.data_dir), options(config)) {
        Ok(recovered) => {
            for damage in &recovered.quarantined {
                tracing::warn!(%damage, "a damaged snapshot was put aside, because an older snapshot and the log hold the same entries");
            }
            Ok(Opened::Whole(Box::new(recovered)))
        }
        Err(OpenError::Damaged { identity, damage }) => {
            let reason = OpenError::Damaged { identity: None, damage: damage.clone() }.to_string();
            tracing::error!(%reason, "the disk is damaged");
            if let Some(repair) = repair::prepare(config, disk, damage.clone()) {
                return Ok(Opened::Repairable { repair, reason: damage.to_string() });
            }
            Ok(Opened::Damaged { member: member_of(identity.as_deref()), identity, reason })
        }
        Err(OpenError::TooNew { identity, newer }) => {
            let reason = OpenError::TooNew { identity: None, newer }.to_string();
            tracing::error!(%reason, "a newer program wrote the disk");
            Ok(Opened::TooNew { member: member_of(identity.as_deref()), identity, reason })
        }
        Err(other) => Err(other.into()),
    }
}

/// ID of the member; 0 if the identity cannot be read.
fn member_of(identity: Option<&Identity>) -> MemberId {
    identity.map_or(MemberId(0), |identity| identity.member)
}

fn share(config: &Config, opened: &Opened, lifecycle: mpsc::Sender<Lifecycle>, metrics: Metrics) -> Arc<Shared> {
    let identity = opened.identity();
    let cluster = identity.and_then(|identity| identity.cluster.as_ref());
    let name = cluster.map(|cluster| cluster.own.name.clone()).filter(|name| !name.is_empty());
    let member = match opened {
        Opened::Whole(recovered) => recovered.identity.member,
        Opened::Damaged { member, .. } | Opened::TooNew { member, .. } => *member,
        Opened::Repairable { repair, .. } => repair.identity().member,
    };
    let (phase, error) = match opened {
        Opened::Damaged { reason, .. } => (Phase::Damaged, reason.clone()),
        Opened::TooNew { reason, .. } => (Phase::TooNew, reason.clone()),
        Opened::Repairable { reason, .. } => (Phase::Repairing, reason.clone()),
        Opened::Whole(recovered) if recovered.identity.removed.is_some() => (Phase::Removed, String::new()),
        Opened::Whole(_) if cluster.is_some() => (Phase::Member, String::new()),
        Opened::Whole(_) => (Phase::Blank, String::new()),
    };
    let status = Status {
        cluster: cluster.map(|cluster| cluster.cluster_id),
        supports: config.supports,
        error,
        ..Status::idle(member, name.unwrap_or_else(|| config.args.name.clone()), phase)
    };
    // One reply lane for each client thread, and one for all calls from other threads.
    Shared::new(
        status,
        cluster.map(|cluster| cluster.token_sha256),
        config.client_threads + 1,
        lifecycle,
        Box::new(metrics),
    )
}

struct Member {
    config: Config,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    handle: Handle,
    metrics: Metrics,
    /// Set once, when consensus starts.
    peers: Arc<OnceLock<Arc<Peers>>>,
    ended: mpsc::Sender<Ended>,
    fetched: mpsc::Sender<Fetched>,
    repaired: mpsc::Sender<repair::Ended>,
    differs: mpsc::Sender<Revision>,
    stage: Stage,
}

impl Member {
    /// Enters the phase that follows from the state of the disk.
    fn begin(&mut self, recovered: Recovered, serving: &mut Serving) -> Result<(), StartError> {
        let member = recovered.identity.member;
        for damage in &recovered.given_up {
            self.metrics.log_given_up();
            tracing::warn!(%damage, "a part of the log is damaged that only older snapshots need: they are given up");
        }
        match (&recovered.identity.cluster, recovered.identity.removed) {
            (_, Some(index)) => {
                tracing::warn!(%member, %index, "this member was removed from its cluster; it only reports that");
            }
            (None, None) => {
                tracing::info!(%member, "this member is blank; it waits for Bootstrap, Join or Restore");
                self.stage = Stage::Blank(Box::new(recovered.storage));
            }
            (Some(cluster), None) => {
                tracing::info!(%member, cluster = %cluster.cluster_id, "starting");
                self.start_consensus(recovered, serving)?;
            }
        }
        Ok(())
    }

    fn start_consensus(&mut self, recovered: Recovered, serving: &mut Serving) -> Result<(), StartError> {
        let started = Consensus::start(
            &self.config,
            &self.shared,
            &self.metrics,
            recovered,
            self.ended.clone(),
            self.differs.clone(),
        );
        let consensus = match started {
            Err(reason) if reason.is_newer() => {
                tracing::error!(%reason, "a newer program wrote the disk");
                let error = reason.to_string();
                self.shared.update_status(|status| Status {
                    phase: Phase::TooNew,
                    error: error.clone(),
                    ..Status::clone(status)
                });
                self.stage = Stage::Over;
                return Ok(());
            }
            started => started?,
        };
        // Cannot fail, because a process starts consensus at most once.
        let _ = self.peers.set(Arc::clone(&consensus.peers));
        serving.serve_clients(&self.config, &self.handle, &self.shared, &self.metrics)?;
        self.stage = Stage::Member(Box::new(consensus));
        Ok(())
    }

    /// Handles a Bootstrap, Join or Restore call, and sends the answer to the caller.
    fn answer(&mut self, request: Lifecycle, serving: &mut Serving) -> Result<(), StartError> {
        let member = self.shared.member();
        let (adoption, reply) = match request {
            Lifecycle::Bootstrap { parameters, reply } => (Adoption::of_bootstrap(member, parameters), reply),
            Lifecycle::Join { parameters, reply } => {
                (Adoption::of_join(member, self.shared.supports(), parameters), reply)
            }
            Lifecycle::Restore { parameters, reply } => {
                drop(reply.send(self.restore(parameters)));
                return Ok(());
            }
        };
        let (outcome, adopted) = match adoption {
            Ok(adoption) => self.adopt(adoption),
            Err(refusal) => (Err(refusal), None),
        };
        if let Some(recovered) = adopted {
            self.start_consensus(*recovered, serving)?;
        }
        // The caller may have stopped waiting for this answer. The identity is durable nevertheless.
        drop(reply.send(outcome));
        Ok(())
    }

    fn adopt(&mut self, adoption: Adoption) -> (Result<(), AdoptError>, Option<Box<Recovered>>) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Blank(storage) => match adoption.write(*storage, &Start::Empty) {
                Ok(recovered) => {
                    self.adopted(&recovered);
                    (Ok(()), Some(recovered))
                }
                Err((refusal, storage)) => {
                    self.stage = Stage::Blank(storage);
                    (Err(refusal), None)
                }
            },
            Stage::Member(consensus) => {
                let outcome = adoption.compare(&consensus.cluster);
                self.stage = Stage::Member(consensus);
                (outcome, None)
            }
            other @ (Stage::Restoring(_) | Stage::Repairing(_) | Stage::Over) => {
                self.stage = other;
                (Err(AdoptError::NotBlank { phase: self.handle.status().phase }), None)
            }
        }
    }

    fn adopted(&self, recovered: &Recovered) {
        if let Some(cluster) = &recovered.identity.cluster {
            self.shared.require_token(cluster.token_sha256);
            tracing::info!(cluster = %cluster.cluster_id, name = cluster.own.name, "stored the identity of a cluster");
        }
    }

    /// Handles the end of consensus while the member is not stopping: the member was removed.
    async fn ended(&mut self, ending: Ended, serving: &mut Serving) {
        let Stage::Member(consensus) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        consensus.stop().await;
        if let Ended::Removed(index) = ending {
            tracing::warn!(%index, "this member was removed from its cluster and has written its tombstone; it only reports that from now on");
            self.shared.update_status(|status| Status { phase: Phase::Removed, leader: None, ..Status::clone(status) });
        }
        serving.stop_clients(&self.shared).await;
    }

    async fn stop(self, mut serving: Serving) {
        tracing::info!("stopping");
        if tokio::time::timeout(DRAIN, self.handle.drain()).await.is_err() {
            tracing::warn!(
                "leadership was not transferred in time; the other members elect a leader after an election timeout"
            );
        }
        serving.stop_clients(&self.shared).await;
        if let Stage::Member(consensus) = self.stage {
            consensus.stop().await;
        }
        serving.stop();
        tracing::info!("stopped");
    }
}
