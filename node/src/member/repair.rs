//! Repair of a damaged log: the entries after the damage are fetched from the leader, then the directory is opened again and consensus
//! starts. Owns the beginning and the end, and what the member reports meanwhile. Does not own the rounds in which members are asked
//! (`repair/attempts.rs`), the call (`peer/fetch.rs`), the files (`storage`), or the argument why this is safe
//! (`node/docs/repair.md`).

mod round;

mod attempts;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use engine::shared::Shared;
use engine::status::{Phase, RepairStatus, Status};
use raft::{Configuration, Index};
use storage::{Damage, Disk, LogRepair};
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::guarded;
use crate::member::consensus::own_url;
use crate::member::repair::attempts::Task;
use crate::member::repair::round::{PurgedAnswers, Source};
use crate::member::serve::Serving;
use crate::member::{Member, Opened, Stage, StartError, options};

/// End of a repair: the directory, opened again, or why there is none.
pub(super) type Ended = Result<Opened, Unmended>;

/// Why a repair ended without a log.
#[derive(Debug)]
pub(super) enum Unmended {
    /// The leader has not kept what is missing.
    Purged(String),
    /// The configuration that is committed at this index removed this member, and the tombstone is written.
    Removed(Index),
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

/// The other voters of the newest configuration that is known.
fn voters(repair: &LogRepair) -> impl Iterator<Item = Source> {
    let configuration: &Configuration = repair.configuration();
    let own = repair.identity().member;
    let voters = configuration.voters.union(&configuration.outgoing).filter(move |id| **id != own);
    voters.filter_map(|id| {
        let url = &configuration.members.get(id)?.peer_url;
        (!url.is_empty()).then(|| Source { member: *id, url: url.clone() })
    })
}

/// What is reported of a repair.
#[derive(Debug)]
struct Progress {
    /// Number of bytes of entries that have arrived, in all transfers.
    bytes: u64,
    /// The same at the end of the repair, as the leader estimates it; 0: not known.
    total: u64,
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
        let progress = Progress { bytes: 0, total: 0, moved: Instant::now(), what: "waiting for a leader".to_owned() };
        let task = Task {
            own_url: own_url(&cluster, &self.config),
            cluster,
            config: self.config.clone(),
            disk: Arc::clone(&self.disk),
            shared: Arc::clone(&self.shared),
            supports: self.shared.supports(),
            progress: Arc::new(Mutex::new(progress)),
            repair: Some(repair),
            leader: None,
            purged: PurgedAnswers::default(),
        };
        let ended = self.repaired.clone();
        let handle = guarded::spawn("the repair of the log", task.run(ended));
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
            Err(Unmended::Removed(index)) => {
                tracing::warn!(%index, "this member was removed from its cluster and has written its tombstone");
                (Phase::Removed, String::new())
            }
            Err(Unmended::Start(reason)) => return Err(reason),
        };
        if phase != Phase::Removed {
            tracing::error!(%phase, error, "the log was not repaired");
        }
        self.shared.update_status(|status| Status {
            phase,
            error: error.clone(),
            repair: None,
            ..Status::clone(status)
        });
        Ok(())
    }
}

fn report(shared: &Shared, progress: &Mutex<Progress>) {
    let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    let repair = RepairStatus {
        bytes_done: progress.bytes,
        // More may arrive than was estimated.
        bytes_total: if progress.total > 0 { progress.total.max(progress.bytes) } else { 0 },
        stalled: progress.moved.elapsed(),
        what: progress.what.clone(),
    };
    drop(progress);
    shared.update_status(|status| Status { repair: Some(repair.clone()), ..Status::clone(status) });
}
