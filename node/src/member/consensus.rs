//! Consensus of a member that belongs to a cluster: the engine's threads and the connections to other members. Owns how
//! these are built from the flags and the recovered disk, and the order in which they stop. Does not own the threads
//! (`engine`).

use std::sync::Arc;
use std::time::Duration;

use engine::clock::Clock;
use engine::driver::Ended;
use engine::handle::Handle;
use engine::shared::Shared;
use engine::threads::Threads;
use engine::wiring::{Settings, WireError, wire};
use mvcc::Revision;
use raft::MemberId;
use storage::{ClusterIdentity, Recovered};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::member::{compaction, hash_check};
use crate::metrics::Metrics;
use crate::peer::{self, Outgoing, Peers};
use crate::random;
use crate::volume::{size_of, snapshot_trigger};

/// Running threads and connections of a member.
pub(super) struct Consensus {
    pub(super) peers: Arc<Peers>,
    pub(super) cluster: ClusterIdentity,
    shared: Arc<Shared>,
    threads: Threads,
    /// The task that compacts without a client's request, if history is not kept for good.
    compaction: Option<AbortHandle>,
    /// The task that compares keyspaces.
    hash_check: AbortHandle,
}

impl Consensus {
    /// Starts every thread. `ended` is notified when the core's thread ends.
    ///
    /// # Errors
    /// Returns why consensus cannot run on this disk. No thread was started.
    pub(super) fn start(
        config: &Config,
        shared: &Arc<Shared>,
        metrics: &Metrics,
        recovered: Recovered,
        ended: mpsc::Sender<Ended>,
        differs: mpsc::Sender<Revision>,
    ) -> Result<Self, WireError> {
        let member = recovered.identity.member;
        let cluster = recovered.identity.cluster.clone().ok_or(WireError::NoCluster)?;
        let peers = Peers::new(peer::Parts {
            cluster: cluster.cluster_id,
            own_url: own_url(&cluster, config),
            shared: Arc::clone(shared),
            metrics: metrics.clone(),
            snapshots: recovered.storage.snapshots().clone(),
            snapshot_rate: config.args.snapshot_rate,
            lane_bytes: config.memory.lane,
            runtime: tokio::runtime::Handle::current(),
        });
        let clock = Clock::start();
        let transport = Box::new(Outgoing(Arc::clone(&peers)));
        let wired = wire(recovered, settings(config, member), clock.now(), shared, transport)?;
        let threads = Threads::start(wired, clock, move |ending| {
            // Fails only if the member is already stopping.
            let _ = ended.try_send(ending);
        });
        let compaction = config
            .retention
            .map(|retention| tokio::spawn(compaction::run(Handle::new(Arc::clone(shared)), retention)).abort_handle());
        let check = hash_check::run(Arc::clone(&peers), Arc::clone(shared), metrics.clone(), differs);
        let hash_check = tokio::spawn(check).abort_handle();
        Ok(Self { peers, cluster, shared: Arc::clone(shared), threads, compaction, hash_check })
    }

    /// Stops every thread in the order in which data flows. Every output of the core is therefore durable afterwards.
    pub(super) async fn stop(self) {
        if let Some(compaction) = &self.compaction {
            compaction.abort();
        }
        self.hash_check.abort();
        self.shared.stop_core();
        let Self { peers, threads, .. } = self;
        let ending = tokio::task::spawn_blocking(move || {
            let draining = threads.join_core();
            // The connections are closed after the core has stopped, because a message of the core would open a
            // connection again.
            peers.close();
            draining.join();
        });
        let _ = ending.await;
    }
}

fn settings(config: &Config, member: MemberId) -> Settings {
    Settings {
        raft: core_config(config, member),
        commit_timeout: config.args.commit_timeout,
        snapshots: snapshot_trigger(size_of(&config.args.data_dir), config.args.snapshot_threshold),
        queues: config.memory.engine(),
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
        // Half of a lane, so that only forwarded commands can fill it.
        max_inflight_bytes: config.memory.lane / 2,
        limits: config.memory.core(),
        catch_up_entries: 64,
        transfer_timeout: args.election_timeout.max(Duration::from_millis(500)),
        adds_content: mvcc::Batch::adds_content,
        seed: random::number(),
    }
}

/// URL at which other members reach this one.
pub(super) fn own_url(cluster: &ClusterIdentity, config: &Config) -> String {
    let configured = &cluster.own.peer_url;
    if configured.is_empty() { config.args.advertise_peer_url.clone() } else { configured.clone() }
}
