//! One member from start to end: opens its disk, serves its doors, starts consensus once it belongs to a cluster, and stops
//! everything in the right order. Owns the phases; what happens inside them is each part's own.
//!
//! ```text
//! start   bind ports → open the disk → doors → (blank: wait for a record) → log, snapshot, apply, core threads → clients
//! stop    not ready → hand leadership over → clients → core → apply → log → disk let go
//! ```

mod adopt;

mod restore;

mod consensus;

mod serve;

use std::io;
use std::path::Path;
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
use raft::MemberId;
use storage::{Disk, FileDisk, Identity, OnFailure, OpenError, Options, Recovered, Start, Storage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::member::adopt::Adoption;
use crate::member::consensus::Consensus;
use crate::member::restore::{Fetched, Restoring};
use crate::member::serve::{Ports, Serving};
use crate::metrics::Metrics;
use crate::peer::Peers;
use crate::random;

/// Handing leadership over may take so long at the end.
const DRAIN: Duration = Duration::from_secs(6);
/// Doors' calls that may wait for the member.
const LIFECYCLE_MAX: usize = 8;

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be bound.
    #[error("{flag}: {address} cannot be bound: {source}")]
    Bind {
        /// Which flag names it.
        flag: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The directory could not be opened.
    #[error("--data-dir: {0}")]
    Open(#[from] OpenError),
    /// The disk was read, but consensus cannot start on it.
    #[error("consensus cannot start: {0}")]
    Consensus(#[from] WireError),
    /// The system refused something that every start needs.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs a member until it is told to stop by a signal.
///
/// # Errors
/// It did not start.
pub fn run(config: Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
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
    // A name that is being resolved, or a file that is being read, must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// A member that serves its doors.
pub struct Running {
    member: Member,
    serving: Serving,
    requests: mpsc::Receiver<Lifecycle>,
    endings: mpsc::Receiver<Ended>,
    fetches: mpsc::Receiver<Fetched>,
}

impl Running {
    /// Starts a member on the current runtime, as far as its disk allows.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(config, Arc::new(FileDisk))
    }

    /// The same on another disk.
    ///
    /// # Errors
    /// It did not start.
    pub fn start_on(config: Config, disk: Arc<dyn Disk>) -> Result<Self, StartError> {
        let ports = Ports::bind(&config)?;
        let opened = open(&config, disk)?;
        let (lifecycle, requests) = mpsc::channel(LIFECYCLE_MAX);
        let metrics = Metrics::new();
        let shared = share(&config, &opened, lifecycle, metrics.clone());
        let handle = Handle::new(Arc::clone(&shared));
        let peers = Arc::new(OnceLock::new());
        let serving = Serving::start(&config, &handle, &metrics, &peers, ports)?;
        let (ended, endings) = mpsc::channel(1);
        let (fetched, fetches) = mpsc::channel(1);
        let member = Member { config, shared, handle, metrics, peers, ended, fetched, life: Life::Over };
        let mut running = Self { member, serving, requests, endings, fetches };
        if let Opened::Whole(recovered) = opened {
            running.member.begin(*recovered, &mut running.serving)?;
        }
        Ok(running)
    }

    /// What its doors hold.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.member.handle.clone()
    }

    /// Lives until `stop` is ready, then ends in good order.
    ///
    /// # Errors
    /// A blank member was given a record, but consensus could not start on it.
    pub async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                Some(request) = self.requests.recv() => self.member.hear(request, &mut self.serving)?,
                Some(ending) = self.endings.recv() => self.member.ended(ending, &mut self.serving).await,
                Some(fetched) = self.fetches.recv() => self.member.fetched(fetched, &mut self.serving)?,
                () = &mut stop => break,
            }
        }
        self.member.stop(self.serving).await;
        Ok(())
    }
}

/// What the member is, and what it holds in that phase.
enum Life {
    /// No cluster yet.
    Blank(Box<Storage>),
    /// A backup is being fetched, or could not be.
    Restoring(Box<Restoring>),
    /// Part of a cluster.
    Member(Box<Consensus>),
    /// Nothing more happens: removed, or damaged.
    Over,
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, StartError> {
    signal(kind).map_err(|source| StartError::System { what: "listen for signals", source })
}

/// What the directory turned out to be.
enum Opened {
    Whole(Box<Recovered>),
    Damaged { member: MemberId, identity: Option<Box<Identity>>, reason: String },
}

impl Opened {
    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Whole(recovered) => Some(&recovered.identity),
            Self::Damaged { identity, .. } => identity.as_deref(),
        }
    }
}

fn open(config: &Config, disk: Arc<dyn Disk>) -> Result<Opened, StartError> {
    let options = Options {
        snapshots_kept: config.args.snapshots_retain,
        trailing_entries: config.args.snapshot_trailing,
        // A member that waits for a snapshot may never write to its log, so the log's thread alone would not notice.
        on_failure: OnFailure::call(|failure| fatal(format_args!("the disk cannot be relied on: {failure}"))),
        ..Options::new(MemberId(random::nonzero()), random::number())
    };
    match Storage::open(disk, Path::new(&config.args.data_dir), options) {
        Ok(recovered) => {
            for damage in &recovered.quarantined {
                tracing::warn!(%damage, "a damaged snapshot was put aside; an older one and the log made up for it");
            }
            Ok(Opened::Whole(Box::new(recovered)))
        }
        Err(OpenError::Damaged { identity, damage }) => {
            let reason = OpenError::Damaged { identity: None, damage }.to_string();
            tracing::error!(%reason, "the disk is damaged");
            // An identity that cannot be read leaves no name to go by.
            let member = identity.as_ref().map_or(MemberId(0), |identity| identity.member);
            Ok(Opened::Damaged { member, identity, reason })
        }
        Err(other) => Err(other.into()),
    }
}

fn share(config: &Config, opened: &Opened, lifecycle: mpsc::Sender<Lifecycle>, metrics: Metrics) -> Arc<Shared> {
    let identity = opened.identity();
    let record = identity.and_then(|identity| identity.cluster.as_ref());
    let name = record.map(|record| record.own.name.clone()).filter(|name| !name.is_empty());
    let member = match opened {
        Opened::Whole(recovered) => recovered.identity.member,
        Opened::Damaged { member, .. } => *member,
    };
    let (phase, error) = match opened {
        Opened::Damaged { reason, .. } => (Phase::Damaged, reason.clone()),
        Opened::Whole(recovered) if recovered.identity.removed.is_some() => (Phase::Removed, String::new()),
        Opened::Whole(_) if record.is_some() => (Phase::Member, String::new()),
        Opened::Whole(_) => (Phase::Blank, String::new()),
    };
    let status = Status {
        cluster: record.map(|record| record.cluster_id),
        error,
        ..Status::idle(member, name.unwrap_or_else(|| config.args.name.clone()), phase)
    };
    // One lane for everybody who lives elsewhere than on a runtime for clients.
    Shared::new(
        status,
        record.map(|record| record.token_sha256),
        config.client_threads + 1,
        lifecycle,
        Box::new(metrics),
    )
}

struct Member {
    config: Config,
    shared: Arc<Shared>,
    handle: Handle,
    metrics: Metrics,
    /// Set once, when consensus starts.
    peers: Arc<OnceLock<Arc<Peers>>>,
    ended: mpsc::Sender<Ended>,
    fetched: mpsc::Sender<Fetched>,
    life: Life,
}

impl Member {
    /// Starts what the disk says.
    fn begin(&mut self, recovered: Recovered, serving: &mut Serving) -> Result<(), StartError> {
        let member = recovered.identity.member;
        match (&recovered.identity.cluster, recovered.identity.removed) {
            (_, Some(index)) => {
                tracing::warn!(%member, %index, "this member was removed from its cluster; it only says so");
            }
            (None, None) => {
                tracing::info!(%member, "blank: waiting to be told which cluster to belong to");
                self.life = Life::Blank(Box::new(recovered.storage));
            }
            (Some(record), None) => {
                tracing::info!(%member, cluster = %record.cluster_id, "starting");
                self.engage(recovered, serving)?;
            }
        }
        Ok(())
    }

    fn engage(&mut self, recovered: Recovered, serving: &mut Serving) -> Result<(), StartError> {
        let engine = Consensus::start(&self.config, &self.shared, &self.metrics, recovered, self.ended.clone())?;
        // Only one engine is ever started in a process.
        let _ = self.peers.set(Arc::clone(&engine.peers));
        serving.serve_clients(&self.config, &self.handle, &self.shared, &self.metrics)?;
        self.life = Life::Member(Box::new(engine));
        Ok(())
    }

    /// A door brought a record.
    fn hear(&mut self, request: Lifecycle, serving: &mut Serving) -> Result<(), StartError> {
        let member = self.shared.member();
        let (adoption, reply) = match request {
            Lifecycle::Bootstrap { record, reply } => (Adoption::of_bootstrap(member, record), reply),
            Lifecycle::Join { record, reply } => (Adoption::of_join(member, record), reply),
            Lifecycle::Restore { record, reply } => {
                drop(reply.send(self.restore(record)));
                return Ok(());
            }
        };
        let (outcome, adopted) = match adoption {
            Ok(adoption) => self.adopt(adoption),
            Err(refusal) => (Err(refusal), None),
        };
        if let Some(recovered) = adopted {
            self.engage(*recovered, serving)?;
        }
        // The door may have given up waiting; the record stands all the same.
        drop(reply.send(outcome));
        Ok(())
    }

    fn adopt(&mut self, adoption: Adoption) -> (Result<(), AdoptError>, Option<Box<Recovered>>) {
        match std::mem::replace(&mut self.life, Life::Over) {
            Life::Blank(storage) => match adoption.write(*storage, &Start::Empty) {
                Ok(recovered) => {
                    self.adopted(&recovered);
                    (Ok(()), Some(recovered))
                }
                Err((refusal, storage)) => {
                    self.life = Life::Blank(storage);
                    (Err(refusal), None)
                }
            },
            Life::Member(engine) => {
                let outcome = adoption.compare(&engine.record);
                self.life = Life::Member(engine);
                (outcome, None)
            }
            other @ (Life::Restoring(_) | Life::Over) => {
                self.life = other;
                (Err(AdoptError::NotBlank { phase: self.handle.status().phase }), None)
            }
        }
    }

    fn adopted(&self, recovered: &Recovered) {
        if let Some(record) = &recovered.identity.cluster {
            self.shared.require_token(record.token_sha256);
            tracing::info!(cluster = %record.cluster_id, name = record.own.name, "took the record of a cluster");
        }
    }

    /// Consensus ended by itself: the member was removed.
    async fn ended(&mut self, ending: Ended, serving: &mut Serving) {
        let Life::Member(engine) = std::mem::replace(&mut self.life, Life::Over) else { return };
        engine.stop().await;
        if let Ended::Removed(index) = ending {
            tracing::warn!(%index, "the tombstone is written; this member only says that it was removed");
            self.shared.update_status(|status| Status { phase: Phase::Removed, leader: None, ..Status::clone(status) });
        }
        serving.stop_clients(&self.shared).await;
    }

    async fn stop(self, mut serving: Serving) {
        tracing::info!("stopping");
        if tokio::time::timeout(DRAIN, self.handle.drain()).await.is_err() {
            tracing::warn!("leadership was not handed over in time");
        }
        serving.stop_clients(&self.shared).await;
        if let Life::Member(engine) = self.life {
            engine.stop().await;
        }
        serving.stop();
        tracing::info!("stopped");
    }
}
