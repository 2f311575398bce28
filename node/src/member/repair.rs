//! Repair of a damaged log: the entries after the damage are fetched from the leader, then the directory is opened again and consensus
//! starts. Owns whom the member asks, how often, and what it reports meanwhile. Does not own the call (`peer/fetch.rs`), the files
//! (`storage`), or the argument why this is safe (`node/docs/repair.md`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::shared::Shared;
use engine::status::{Phase, RepairStatus, Status};
use mvcc::FeatureLevel;
use proto::peer::Greeting;
use raft::{Configuration, MemberId, Term};
use storage::{ClusterIdentity, Damage, Disk, LogRepair};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::guarded;
use crate::member::consensus::own_url;
use crate::member::serve::Serving;
use crate::member::{Member, Opened, Stage, StartError, open, options};
use crate::peer::fetch::{FetchError, Fetching};

/// Shortest and longest pause after a round in which no voter helped.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Maximum number of transfers from a voter in a round. After the first one, this member may return to its newest snapshot.
const RETURNS_MAX: usize = 3;
/// Interval in which the progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// End of a repair: the directory, opened again, or why there is none.
pub(super) type Ended = Result<Opened, Unmended>;

/// Why a repair ended without a log.
#[derive(Debug)]
pub(super) enum Unmended {
    /// No other member has what is missing.
    Purged(String),
    /// The repaired directory cannot be opened.
    Start(StartError),
}

/// A running repair. Dropping this value ends it.
pub(super) struct Repairing(AbortHandle);

impl Drop for Repairing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns a repair for a directory that was found damaged; `None` if no other member can mend it.
pub(super) fn prepare(config: &Config, disk: &Arc<dyn Disk>, damage: Damage) -> Option<Box<LogRepair>> {
    let dir = PathBuf::from(&config.args.data_dir);
    match LogRepair::open(Arc::clone(disk), &dir, &options(config), damage) {
        Ok(repair) if voters(&repair).next().is_some() => Some(Box::new(repair)),
        Ok(_) => {
            tracing::error!("no other voter is known, so no member can mend the log");
            None
        }
        Err(reason) => {
            tracing::error!(%reason, "the damage is none that other members can mend");
            None
        }
    }
}

/// The other voters, with their addresses.
fn voters(repair: &LogRepair) -> impl Iterator<Item = (MemberId, String)> {
    let configuration: &Configuration = repair.configuration();
    let own = repair.identity().member;
    let voters = configuration.voters.union(&configuration.outgoing).filter(move |id| **id != own);
    voters.filter_map(|id| {
        let url = &configuration.members.get(id)?.peer_url;
        (!url.is_empty()).then(|| (*id, url.clone()))
    })
}

/// What is reported of a repair.
#[derive(Debug)]
struct Progress {
    bytes: u64,
    moved: Instant,
    what: String,
}

impl Member {
    /// Begins to repair the log.
    pub(super) fn repair(&mut self, repair: Box<LogRepair>) {
        let Some(cluster) = repair.identity().cluster.clone() else { return };
        tracing::warn!(
            after = %repair.last().index,
            term = %repair.term(),
            "the log is damaged; its end is fetched from the leader, and until then this member neither votes nor serves"
        );
        let progress = Progress { bytes: 0, moved: Instant::now(), what: "waiting for a leader".to_owned() };
        let task = Task {
            own_url: own_url(&cluster, &self.config),
            cluster,
            config: self.config.clone(),
            disk: Arc::clone(&self.disk),
            shared: Arc::clone(&self.shared),
            supports: self.shared.supports(),
            progress: Arc::new(Mutex::new(progress)),
            repair: None,
        };
        let ended = self.repaired.clone();
        let handle = guarded::spawn("the repair of the log", task.run(repair, ended));
        self.stage = Stage::Repairing(Repairing(handle));
    }

    /// Handles the end of a repair.
    ///
    /// # Errors
    /// Returns why consensus cannot start on the repaired log.
    pub(super) fn repair_ended(&mut self, ended: Ended, serving: &mut Serving) -> Result<(), StartError> {
        self.stage = Stage::Over;
        let (phase, error) = match ended {
            Ok(Opened::Whole(recovered)) => {
                tracing::info!("the log is whole again");
                self.shared.update_status(|status| Status {
                    phase: Phase::Member,
                    repair: None,
                    error: String::new(),
                    ..Status::clone(status)
                });
                return self.begin(*recovered, serving);
            }
            Ok(Opened::TooNew { reason, .. }) => (Phase::TooNew, reason),
            // A disk that damages what was just written is not repaired over and over.
            Ok(Opened::Damaged { reason, .. } | Opened::Repairable { reason, .. }) => (Phase::Damaged, reason),
            Err(Unmended::Purged(reason)) => (Phase::Damaged, reason),
            Err(Unmended::Start(reason)) => return Err(reason),
        };
        tracing::error!(%phase, %error, "the log was not repaired");
        self.shared.update_status(|status| Status {
            phase,
            error: error.clone(),
            repair: None,
            ..Status::clone(status)
        });
        Ok(())
    }
}

/// Why an attempt did not complete the log.
enum Failed {
    /// Another attempt may succeed.
    NotNow(String),
    /// No attempt can succeed.
    Final(String),
    /// The runtime ends.
    Interrupted,
}

struct Task {
    own_url: String,
    cluster: ClusterIdentity,
    config: Config,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    supports: FeatureLevel,
    progress: Arc<Mutex<Progress>>,
    /// `None` while a blocking task has it.
    repair: Option<Box<LogRepair>>,
}

impl Task {
    async fn run(mut self, repair: Box<LogRepair>, ended: mpsc::Sender<Ended>) {
        let mut reports = tokio::time::interval(REPORT_INTERVAL);
        let (shared, progress) = (Arc::clone(&self.shared), Arc::clone(&self.progress));
        let report = async {
            loop {
                reports.tick().await;
                report(&shared, &progress);
            }
        };
        let outcome = tokio::select! {
            outcome = self.complete(repair) => outcome,
            () = report => return,
        };
        if let Some(outcome) = outcome {
            // Fails only if the member is stopping.
            let _ = ended.send(outcome).await;
        }
    }

    /// Asks the voters in turns until the log is whole, then opens the directory.
    async fn complete(&mut self, repair: Box<LogRepair>) -> Option<Ended> {
        let voters: Vec<_> = voters(&repair).collect();
        self.repair = Some(repair);
        let mut pause = PAUSE_MIN;
        loop {
            for (voter, url) in &voters {
                let outcome = match self.attempt(*voter, url).await {
                    Ok(term) => self.finish(term).await,
                    Err(reason) => Err(reason),
                };
                match outcome {
                    Ok(opened) => return Some(opened.map_err(Unmended::Start)),
                    Err(Failed::NotNow(reason)) => tracing::info!(%voter, reason, "the log is not complete yet"),
                    Err(Failed::Final(reason)) => return Some(Err(Unmended::Purged(reason))),
                    Err(Failed::Interrupted) => return None,
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Fetches the log from a voter, if it leads. Returns the term that it leads once the log is complete.
    async fn attempt(&mut self, voter: MemberId, url: &str) -> Result<Term, Failed> {
        for _ in 0..RETURNS_MAX {
            let outcome = self.fetch(voter, url).await?;
            let repair = self.repair.as_deref_mut().ok_or(Failed::Interrupted)?;
            let index = repair.snapshot();
            match outcome {
                Fetch::Complete(term) => return Ok(term),
                Fetch::Differs | Fetch::Purged if !repair.is_at_snapshot() => {
                    tracing::info!(%index, "the leader has another log, so all after the newest snapshot is fetched");
                    repair.return_to_snapshot();
                }
                Fetch::Differs => break,
                Fetch::Purged => {
                    return Err(Failed::Final(format!(
                        "the log after index {index} is damaged, and {voter}, which leads, has purged it: replace this member"
                    )));
                }
            }
        }
        Err(Failed::NotNow("its log does not continue the one of this member".to_owned()))
    }

    async fn fetch(&mut self, voter: MemberId, url: &str) -> Result<Fetch, Failed> {
        let repair = self.repair.as_deref().ok_or(Failed::Interrupted)?;
        let (after, is_committed) = (repair.last(), repair.is_at_snapshot());
        match Fetching::begin(url, self.greeting(voter), repair.term(), after, is_committed).await {
            Ok(fetching) => self.receive(voter, fetching).await,
            Err(reason) => Fetch::of(&reason),
        }
    }

    async fn receive(&mut self, voter: MemberId, mut fetching: Fetching) -> Result<Fetch, Failed> {
        let (term, through) = (fetching.log.term, fetching.log.last.index);
        loop {
            let (entries, bytes) = match fetching.next().await {
                Ok(next) => next,
                Err(reason) => return Fetch::of(&reason),
            };
            let mut repair = self.repair.take().ok_or(Failed::Interrupted)?;
            self.note(bytes, format!("entries {} to {through} from {voter}", repair.last().index.next()));
            let written = tokio::task::spawn_blocking(move || {
                let outcome = repair.append(&entries);
                (repair, outcome)
            });
            let (repair, outcome) = guarded::returned(written.await).ok_or(Failed::Interrupted)?;
            self.repair = Some(repair);
            outcome.map_err(|reason| Failed::NotNow(reason.to_string()))?;
            if fetching.is_complete() {
                return Ok(Fetch::Complete(term));
            }
        }
    }

    fn note(&self, bytes: usize, what: String) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // An empty chunk is a sign of life and no progress.
        let moved = if bytes > 0 { Instant::now() } else { progress.moved };
        *progress = Progress { bytes: progress.bytes + bytes as u64, moved, what };
    }

    /// Makes the repaired log the member's log, and opens the directory.
    async fn finish(&mut self, term: Term) -> Result<Result<Opened, StartError>, Failed> {
        let mut repair = self.repair.take().ok_or(Failed::Interrupted)?;
        let (config, disk) = (self.config.clone(), Arc::clone(&self.disk));
        let finished = tokio::task::spawn_blocking(move || match repair.finish(term) {
            Err(reason) => Err((repair, reason)),
            Ok(()) => {
                // Unlocks the directory.
                drop(repair);
                Ok(open(&config, &disk))
            }
        });
        match guarded::returned(finished.await).ok_or(Failed::Interrupted)? {
            Ok(opened) => Ok(opened),
            Err((repair, reason)) => {
                self.repair = Some(repair);
                Err(Failed::NotNow(reason.to_string()))
            }
        }
    }

    fn greeting(&self, to: MemberId) -> Greeting {
        Greeting {
            cluster_id: Bytes::copy_from_slice(&self.cluster.cluster_id.0),
            from: self.shared.member().0,
            to: to.0,
            protocol: wire::PROTOCOL,
            peer_url: self.own_url.clone(),
            feature_level: self.supports.0,
        }
    }
}

/// Outcome of a transfer.
enum Fetch {
    /// The log is that of the leader of this term.
    Complete(Term),
    /// The leader has another entry where this member's log ends.
    Differs,
    /// The leader does not have the next entry any more.
    Purged,
}

impl Fetch {
    fn of(reason: &FetchError) -> Result<Self, Failed> {
        match reason {
            FetchError::Differs => Ok(Self::Differs),
            FetchError::Purged => Ok(Self::Purged),
            FetchError::NotNow(reason) => Err(Failed::NotNow(reason.clone())),
        }
    }
}

fn report(shared: &Shared, progress: &Mutex<Progress>) {
    let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    let repair = RepairStatus {
        bytes_done: progress.bytes,
        bytes_total: 0,
        stalled: progress.moved.elapsed(),
        what: progress.what.clone(),
    };
    drop(progress);
    shared.update_status(|status| Status { repair: Some(repair.clone()), ..Status::clone(status) });
}
