//! The threads of a member that belongs to a cluster. Owns how they are built from what the disk held, and the order in
//! which they end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use raft::MemberId;
use storage::{ClusterRecord, Recovered, Storage};
use tokio::sync::mpsc;

use crate::apply::run::ApplyQueue;
use crate::config::Config;
use crate::driver::clock::Clock;
use crate::driver::log_thread::{LogJob, LogThread};
use crate::driver::mailbox::Mailbox;
use crate::driver::run::Ended;
use crate::driver::snapshots::{SnapshotJob, write_snapshots};
use crate::fatal;
use crate::handle::Shared;
use crate::member::StartError;
use crate::member::wiring::{Queues, Settings, Wired, wire};
use crate::peer::{self, Peers};
use crate::random;

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
        let member = recovered.identity.member;
        let Some(record) = recovered.identity.cluster.clone() else {
            return Err(StartError::Consensus("the disk belongs to no cluster".to_owned()));
        };
        let queues = Queues::default();
        let peers = Peers::new(peer::Parts {
            cluster: record.cluster_id,
            own_url: own_url(&record, config),
            shared: Arc::clone(shared),
            apply: Arc::clone(&queues.apply),
            snapshots: recovered.storage.snapshots().clone(),
            snapshot_rate: config.args.snapshot_rate,
            runtime: tokio::runtime::Handle::current(),
        });
        let clock = Clock::start();
        let settings = settings(config, member);
        let outside = Box::new(Arc::clone(&peers));
        let Wired { driver, writer, applier, stored } =
            wire(recovered, &record, settings, clock.now(), shared, &queues, outside).map_err(StartError::Consensus)?;
        let Queues { log, apply, snapshots } = queues;
        let log_thread = LogThread::new(writer, Arc::clone(&log));
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
                let ending = driver.run(clock);
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

fn settings(config: &Config, member: MemberId) -> Settings {
    Settings {
        raft: core_config(config, member),
        commit_timeout: config.args.commit_timeout,
        prefer_leaders: config.args.prefer_leaders.clone(),
        first_names: [random::number(), random::number(), random::number()],
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
