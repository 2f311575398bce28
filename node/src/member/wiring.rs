//! What a member with a cluster is made of, put together from what its disk holds. Owns which part is given what; whether the
//! parts run on threads ([`crate::member`]) or one step at a time ([`crate::stepped`]) is others' to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mvcc::Store;
use raft::{EntryId, Index, Now, Raft};
use storage::{ClusterRecord, Recovered, SnapshotReader, Snapshots};

use crate::apply::publish::Published;
use crate::apply::run::{Applier, ApplyQueue};
use crate::driver::Reporter;
use crate::driver::log_thread::{LogJob, LogWriter};
use crate::driver::mailbox::Mailbox;
use crate::driver::run::{Driver, Outside, Parts};
use crate::driver::snapshots::{SnapshotJob, Snapshotting};
use crate::handle::Shared;
use crate::propose::batch::Batcher;
use crate::propose::pending::Pending;
use crate::read::barrier::{Barrier, Rounds};

/// What the parts hand to each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    pub(crate) log: Arc<Mailbox<LogJob>>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) snapshots: Arc<Mailbox<SnapshotJob>>,
}

/// How a member is to behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits and times of consensus.
    pub raft: raft::Config,
    /// How long a proposal or read may take.
    pub commit_timeout: Duration,
    /// Names of members that should lead rather than others.
    pub prefer_leaders: Vec<String>,
    /// First names of commands, reads and proposals: random, as names are never reused, not by an earlier start either.
    pub first_names: [u64; 3],
}

/// A member that is ready to run.
pub(crate) struct Wired {
    pub(crate) driver: Driver,
    pub(crate) writer: LogWriter,
    pub(crate) applier: Applier,
    pub(crate) stored: Snapshots,
}

/// Puts a member together from what its disk, which belongs to the cluster of `record`, holds.
///
/// # Errors
/// What it holds makes no sense.
pub(crate) fn wire(
    recovered: Recovered,
    record: &ClusterRecord,
    settings: Settings,
    now: Now,
    shared: &Arc<Shared>,
    queues: &Queues,
    outside: Box<dyn Outside>,
) -> Result<Wired, String> {
    let Recovered { storage, raft: restored, snapshot, .. } = recovered;
    let Settings { raft: config, commit_timeout, prefer_leaders, first_names: [command, read, proposal] } = settings;
    let (store, at) = match &snapshot {
        Some(info) => load_newest(storage.snapshots(), info.meta.last.index)?,
        None => (Store::new(), restored.snapshot.last),
    };
    shared.snapshot.store(at.index.0, Ordering::Relaxed);
    shared.published.store(Arc::new(Published { view: store.view(), applied: at.index, term: at.term }));
    let election_timeout = config.election_timeout;
    let raft = Raft::new(config, restored, now).map_err(|reason| reason.to_string())?;
    let (pending, barrier) = (Arc::new(Pending::default()), Arc::new(Barrier::default()));
    let driver = Driver::new(Parts {
        raft,
        shared: Arc::clone(shared),
        pending: Arc::clone(&pending),
        barrier: Arc::clone(&barrier),
        log: Arc::clone(&queues.log),
        apply: Arc::clone(&queues.apply),
        peers: outside,
        batcher: Batcher::new(command, commit_timeout),
        rounds: Rounds::new(read, commit_timeout, election_timeout / 2),
        snapshotting: Snapshotting::new(Arc::clone(&queues.snapshots), at.index),
        reporter: Reporter::new(record.cluster_id, shared.status.load().name.clone()),
        election_timeout,
        prefer_leaders,
        first_proposal: proposal,
    });
    let stored = storage.snapshots().clone();
    let loading = stored.clone();
    let applier = Applier::new(
        store,
        at,
        Arc::clone(&queues.apply),
        Arc::clone(shared),
        pending,
        barrier,
        Box::new(move |index| load_newest(&loading, index)),
    );
    shared.inbox.open();
    Ok(Wired { driver, writer: LogWriter::new(storage, Arc::clone(shared)), applier, stored })
}

fn load_newest(snapshots: &Snapshots, index: Index) -> Result<(Store, EntryId), String> {
    let reader = snapshots.open_newest(index).map_err(|reason| reason.to_string())?;
    let last = reader.info().meta.last;
    load(reader).map(|store| (store, last))
}

fn load(reader: SnapshotReader) -> Result<Store, String> {
    let index = reader.info().meta.last.index;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, reader);
    let image = mvcc::image::read(&mut reader).map_err(|reason| format!("snapshot at {index}: {reason}"))?;
    if image.summary.applied_index != index.0 {
        return Err(format!("the snapshot at {index} holds the state at {}", image.summary.applied_index));
    }
    Ok(image.store)
}
