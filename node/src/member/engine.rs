//! The threads of a member that belongs to a cluster. Owns how they are built from what the disk held, and the order in
//! which they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use mvcc::Store;
use raft::{Index, MemberId, Raft};
use storage::{ClusterRecord, Recovered, SnapshotInfo, Snapshots, Storage};
use tokio::sync::mpsc;

use crate::apply::publish::Published;
use crate::apply::run::{Applier, ApplyQueue};
use crate::config::Config;
use crate::driver::Reporter;
use crate::driver::clock::Clock;
use crate::driver::log_thread::{LogJob, LogThread};
use crate::driver::mailbox::Mailbox;
use crate::driver::run::{Driver, Ended, Parts};
use crate::driver::snapshots::{SnapshotJob, Snapshotting, write_snapshots};
use crate::fatal;
use crate::handle::Shared;
use crate::member::StartError;
use crate::peer::{self, Peers};
use crate::propose::batch::Batcher;
use crate::propose::pending::Pending;
use crate::random;
use crate::read::barrier::{Barrier, Rounds};

/// Consensus, log and store at work.
pub(super) struct Engine {
    pub(super) peers: Arc<Peers>,
    pub(super) record: ClusterRecord,
    shared: Arc<Shared>,
    log: Arc<Mailbox<LogJob>>,
    apply: Arc<ApplyQueue>,
    snapshots: Arc<Mailbox<SnapshotJob>>,
    core_thread: JoinHandle<()>,
    apply_thread: JoinHandle<()>,
    log_thread: JoinHandle<Storage>,
}

impl Engine {
    /// Starts every thread; the core's tells `ended` when it ends.
    pub(super) fn start(
        config: &Config,
        shared: &Arc<Shared>,
        recovered: Recovered,
        ended: mpsc::Sender<Ended>,
    ) -> Result<Self, StartError> {
        let Recovered { storage, identity, raft: restored, snapshot, .. } = recovered;
        let Some(record) = identity.cluster else {
            return Err(StartError::Consensus("the disk belongs to no cluster".to_owned()));
        };
        let (store, at) = match &snapshot {
            Some(info) => (load(storage.snapshots(), info).map_err(StartError::Consensus)?, info.meta.last),
            None => (Store::new(), restored.snapshot.last),
        };
        shared.snapshot.store(at.index.0, Ordering::Relaxed);
        shared.published.store(Arc::new(Published { view: store.view(), applied: at.index, term: at.term }));

        let clock = Clock::start();
        let raft = Raft::new(core_config(config, identity.member), restored, clock.now())
            .map_err(|reason| StartError::Consensus(reason.to_string()))?;
        let log = Arc::new(Mailbox::default());
        let apply = Arc::new(ApplyQueue::default());
        let snapshots = Arc::new(Mailbox::<SnapshotJob>::default());
        let (pending, barrier) = (Arc::new(Pending::default()), Arc::new(Barrier::default()));
        let stored = storage.snapshots().clone();
        let peers = Peers::new(peer::Parts {
            cluster: record.cluster_id,
            own_url: own_url(&record, config),
            shared: Arc::clone(shared),
            apply: Arc::clone(&apply),
            snapshots: stored.clone(),
            snapshot_rate: config.args.snapshot_rate,
            runtime: tokio::runtime::Handle::current(),
        });

        let driver = Driver::new(Parts {
            raft,
            clock,
            shared: Arc::clone(shared),
            pending: Arc::clone(&pending),
            barrier: Arc::clone(&barrier),
            log: Arc::clone(&log),
            apply: Arc::clone(&apply),
            peers: Arc::clone(&peers),
            batcher: Batcher::new(random::number(), config.args.commit_timeout),
            rounds: Rounds::new(random::number(), config.args.commit_timeout, config.args.election_timeout / 2),
            snapshotting: Snapshotting::new(Arc::clone(&snapshots), at.index),
            reporter: Reporter::new(record.cluster_id, shared.status.load().name.clone()),
            election_timeout: config.args.election_timeout,
            prefer_leaders: config.args.prefer_leaders.clone(),
            first_proposal: random::number(),
        });
        let loading = stored.clone();
        let applier = Applier::new(
            store,
            at,
            Arc::clone(&apply),
            Arc::clone(shared),
            pending,
            barrier,
            Box::new(move |index| load_newest(&loading, index)),
        );
        shared.inbox.open();
        let log_thread = LogThread::new(storage, Arc::clone(&log), Arc::clone(shared));
        let (jobs, writing) = (Arc::clone(&snapshots), Arc::clone(shared));
        // Not joined: a snapshot that is cut off by the end leaves a draft, which the next start removes.
        drop(fatal::spawn("snapshots", move || write_snapshots(&jobs, &stored, &writing)));
        Ok(Self {
            peers,
            record,
            shared: Arc::clone(shared),
            log,
            apply,
            snapshots,
            log_thread: fatal::spawn("log", move || log_thread.run()),
            apply_thread: fatal::spawn("apply", move || applier.run()),
            core_thread: fatal::spawn("core", move || {
                let ending = driver.run();
                // Nobody listens any more when the member is stopping anyway.
                let _ = ended.try_send(ending);
            }),
        })
    }

    /// Ends every thread: first who makes work, then who does it. Everything that the core had asked for is on disk then.
    pub(super) async fn stop(self) {
        self.shared.inbox.stop();
        let Self { peers, log, apply, snapshots, core_thread, apply_thread, log_thread, .. } = self;
        let ending = tokio::task::spawn_blocking(move || {
            // A panic in any of them has ended the process before.
            let _ = core_thread.join();
            peers.close();
            apply.close();
            snapshots.close();
            log.close();
            let _ = apply_thread.join();
            let _ = log_thread.join();
        });
        let _ = ending.await;
    }
}

fn core_config(config: &Config, id: MemberId) -> raft::Config {
    const MIB: usize = 1 << 20;
    let args = &config.args;
    raft::Config {
        id,
        heartbeat_interval: args.heartbeat_interval,
        election_timeout: args.election_timeout,
        leader_lease: args.leader_lease,
        clock_drift: args.clock_drift,
        lease_reads: args.lease_reads,
        pre_vote: args.pre_vote,
        snapshot_threshold: args.snapshot_threshold,
        snapshot_trailing: args.snapshot_trailing,
        max_append_entries: args.max_append_entries,
        max_append_bytes: MIB,
        max_inflight_messages: 256,
        max_inflight_bytes: 16 * MIB,
        max_uncommitted_bytes: 64 * MIB,
        catch_up_entries: 64,
        transfer_timeout: args.election_timeout.max(Duration::from_millis(500)),
        seed: random::number(),
    }
}

fn own_url(record: &ClusterRecord, config: &Config) -> String {
    let recorded = &record.own.peer_url;
    if recorded.is_empty() { config.args.advertise_peer_url.clone() } else { recorded.clone() }
}

fn load_newest(snapshots: &Snapshots, index: Index) -> Result<Store, String> {
    let info = snapshots.newest().filter(|info| info.meta.last.index == index);
    load(snapshots, &info.ok_or("it is not the newest one on disk")?)
}

fn load(snapshots: &Snapshots, info: &SnapshotInfo) -> Result<Store, String> {
    let index = info.meta.last.index;
    let reader = snapshots.open(info).map_err(|reason| reason.to_string())?;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, reader);
    let image = mvcc::image::read(&mut reader).map_err(|reason| format!("snapshot at {index}: {reason}"))?;
    if image.summary.applied_index != index.0 {
        return Err(format!("the snapshot at {index} holds the state at {}", image.summary.applied_index));
    }
    Ok(image.store)
}
