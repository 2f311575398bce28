//! Owns the assembly of a member from the recovered content of its disk, which must belong to a cluster. Does not own
//! the threads (`threads.rs`): the parts either run on threads, or the caller steps them one by one.
//!
//! Each part offers two methods that share one implementation: `run` blocks its thread until the member stops, and `step`
//! executes one round and returns. A simulator steps the parts of many members in one thread, in any order.

use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mvcc::{Batch, FeatureLevel, Store};
use raft::{ConfigError, Entry, EntryId, Index, Now, Payload, Raft, RestoredLog, SnapshotMeta};
use storage::{Recovered, SnapshotReader, Snapshots, Storage};

use crate::apply::{self, Applier, ApplyError, ApplyQueue};
use crate::driver::{Driver, Parts, Reporter, SnapshotJob, SnapshotSchedule, SnapshotTrigger};
use crate::error::SnapshotLoadError;
use crate::log_thread::{LogJob, LogThread, LogWriter};
use crate::mailbox::Mailbox;
use crate::propose::batch::Batcher;
use crate::propose::pending::Pending;
use crate::published::Published;
use crate::read::barrier::{Barrier, Rounds};
use crate::read::executor::Executor;
use crate::shared::Shared;
use crate::snapshot_thread::SnapshotThread;
use crate::transport::Transport;

/// Payload bytes that are read at a time to look for entries of a newer program.
const CHECK_BYTES: usize = 4 << 20;

/// Why a member cannot be assembled from the content of its disk. The disk is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The disk belongs to no cluster.
    #[error("the disk belongs to no cluster")]
    NoCluster,
    /// The newest snapshot cannot be loaded.
    #[error(transparent)]
    Snapshot(#[from] SnapshotLoadError),
    /// A newer program wrote an entry of the recovered log that is not in the snapshot.
    #[error(transparent)]
    Log(#[from] ApplyError),
    /// The core refuses its settings or the recovered log.
    #[error(transparent)]
    Core(#[from] ConfigError),
}

impl WireError {
    /// Returns whether a newer program wrote what the disk holds. Otherwise it is damaged or cannot be read.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            Self::Snapshot(reason) => reason.is_newer(),
            Self::Log(reason) => reason.is_newer(),
            Self::NoCluster | Self::Core(_) => false,
        }
    }
}

/// Queues through which the driver passes jobs to the other parts.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    pub(crate) log: Arc<Mailbox<LogJob>>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) snapshots: Arc<Mailbox<SnapshotJob>>,
    pub(crate) heavy: Arc<Executor>,
}

/// Limits on the bytes of the engine's queues. In an empty queue everything fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Commands under way, as the quota counts them. Default: 64 MiB.
    pub commands_bytes: usize,
    /// Messages from other members that wait for the core. Default: 64 MiB.
    pub messages_bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { commands_bytes: 64 << 20, messages_bytes: 64 << 20 }
    }
}

/// Settings of a member.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits and timeouts of consensus.
    pub raft: raft::Config,
    /// Time within which a proposal or read must be answered.
    pub commit_timeout: Duration,
    /// When snapshots of this member's own state begin.
    pub snapshots: SnapshotTrigger,
    /// Limits on the bytes of queues.
    pub queues: QueueLimits,
    /// Names of the members that should preferably lead.
    pub prefer_leaders: Vec<String>,
    /// First IDs of commands, reads and proposals, in this order. The IDs must be random, because an ID must never be reused, not
    /// even after a restart.
    pub first_names: [u64; 3],
}

/// Parts of a member, ready to run on threads or to be stepped.
pub struct Wired {
    /// The core's thread.
    pub driver: Driver,
    /// Writes the log.
    pub log: LogThread,
    /// Applies committed entries.
    pub applier: Applier,
    /// Writes snapshots of this member's own state.
    pub snapshots: SnapshotThread,
    pub(crate) queues: Queues,
}

/// Assembles a member from the recovered content of its disk, which must belong to a cluster.
///
/// # Errors
/// Returns why the member cannot run on this disk.
pub fn wire(
    recovered: Recovered,
    settings: Settings,
    now: Now,
    shared: &Arc<Shared>,
    transport: Box<dyn Transport>,
) -> Result<Wired, WireError> {
    let Recovered { mut storage, identity, raft: restored, snapshot, .. } = recovered;
    let cluster = identity.cluster.ok_or(WireError::NoCluster)?.cluster_id;
    let Settings { raft: config, commit_timeout, snapshots: trigger, queues: limits, prefer_leaders, first_names } =
        settings;
    let [command, read, proposal] = first_names;
    shared.admission.limit(limits.commands_bytes);
    shared.inbox.limit(limits.messages_bytes);
    let supports = shared.supports();
    let (store, start) = match &snapshot {
        Some(info) => load_newest(storage.snapshots(), info.meta.last.index, supports)?,
        None => (Store::new(), restored.snapshot.clone()),
    };
    let SnapshotMeta { last: EntryId { term, index: applied }, time_ms, .. } = start;
    check_log(&mut storage, &restored.log, applied, supports)?;
    shared.snapshot.store(applied.0, Ordering::Relaxed);
    shared.snapshot_bytes.store(snapshot.as_ref().map_or(0, |info| info.bytes), Ordering::Relaxed);
    let backlog = storage.log_bytes_after(applied);
    shared.published.store(Arc::new(Published { view: store.view(), applied, term, time_ms }));
    // The core interprets no payload, so that it is told which ones may not use the reserve.
    let config = raft::Config { adds_content: Batch::adds_content, ..config };
    let election_timeout = config.election_timeout;
    let raft = Raft::new(config, restored, now)?;
    let queues = Queues {
        log: Arc::default(),
        apply: Arc::default(),
        snapshots: Arc::default(),
        heavy: Arc::clone(&shared.heavy),
    };
    let (pending, barrier) = (Arc::new(Pending::default()), Arc::new(Barrier::default()));
    let driver = Driver::new(Parts {
        raft,
        shared: Arc::clone(shared),
        pending: Arc::clone(&pending),
        barrier: Arc::clone(&barrier),
        log: Arc::clone(&queues.log),
        apply: Arc::clone(&queues.apply),
        peers: transport,
        batcher: Batcher::new(command, commit_timeout),
        rounds: Rounds::new(read, commit_timeout, election_timeout / 2),
        snapshots: SnapshotSchedule::new(Arc::clone(&queues.snapshots), trigger, applied, backlog),
        reporter: Reporter::new(cluster, shared.status.load().name.clone()),
        election_timeout,
        prefer_leaders,
        first_proposal: proposal,
    });
    let stored = storage.snapshots().clone();
    let loading = stored.clone();
    let applier = Applier::new(
        store,
        &start,
        Arc::clone(&queues.apply),
        Arc::clone(shared),
        pending,
        barrier,
        Box::new(move |index| load_newest(&loading, index, supports)),
    );
    let log = LogThread::new(LogWriter::new(storage, Arc::clone(shared)), Arc::clone(&queues.log));
    let snapshots = SnapshotThread::new(Arc::clone(&queues.snapshots), stored, Arc::clone(shared));
    shared.inbox.open();
    Ok(Wired { driver, log, applier, snapshots, queues })
}

/// Looks for entries after `applied` that a newer program wrote. Without this check the member would start, apply them and end,
/// again and again. An entry that is damaged is left to the apply thread, and one that cannot be read to the log thread.
fn check_log(
    storage: &mut Storage,
    log: &RestoredLog,
    applied: Index,
    supports: FeatureLevel,
) -> Result<(), ApplyError> {
    let mut next = applied.max(log.floor.index).next();
    while let Some(first) = log.tail.first().filter(|first| next < first.id.index) {
        let through = Index(first.id.index.0 - 1);
        let Ok(entries) = storage.read_log(next, through, CHECK_BYTES) else { break };
        let Some(last) = entries.last() else { break };
        next = last.id.index.next();
        check_entries(&entries, supports)?;
    }
    let after = log.tail.partition_point(|entry| entry.id.index <= applied);
    check_entries(&log.tail[after..], supports)
}

fn check_entries(entries: &[Entry], supports: FeatureLevel) -> Result<(), ApplyError> {
    for entry in entries {
        let Payload::Normal(payload) = &entry.payload else { continue };
        if let Err(reason) = apply::decode(entry.id, payload.clone(), supports)
            && reason.is_newer()
        {
            return Err(reason);
        }
    }
    Ok(())
}

fn load_newest(
    snapshots: &Snapshots,
    index: Index,
    supports: FeatureLevel,
) -> Result<(Store, SnapshotMeta), SnapshotLoadError> {
    let reader = snapshots.open_newest(index)?;
    let meta = reader.info().meta.clone();
    let store = load(reader)?;
    let level = store.view().level();
    if level > supports {
        return Err(SnapshotLoadError::TooNew { index: meta.last.index, level, supports });
    }
    Ok((store, meta))
}

fn load(reader: SnapshotReader) -> Result<Store, SnapshotLoadError> {
    let index = reader.info().meta.last.index;
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    let image = mvcc::image::read(&mut reader).map_err(|source| SnapshotLoadError::Image { index, source })?;
    if image.summary.applied_index != index.0 {
        return Err(SnapshotLoadError::WrongIndex { claimed: index, found: Index(image.summary.applied_index) });
    }
    Ok(image.store)
}
