//! A process of a simulated operator: the passes of `operator/src` on a runtime with one thread and a clock that only
//! the world advances. Owns when a pass begins: after the delay that the last pass returned, or soon after an object
//! changed. Does not own what happens to its requests (`operator.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::RaftCluster;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use plan::observed::{Entropy, OperatorSettings};
use raft_operator::context::Context;
use raft_operator::health::Readiness;
use raft_operator::leadership::Candidate;
use raft_operator::machine::{Machine, NoEntropy};
use raft_operator::metrics::Metrics;
use raft_operator::raft_cluster::{self, NextPass};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use world::seed::{Random, Seed};

use super::OperatorFaults;
use super::messages;
use super::requests::{self, Pending, Queue};
use crate::api_server::{NAMESPACE, wall_clock};

/// Time between a change of an object and the arrival of its watch event.
const WATCH_LAG: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// Name of the operators' release, and of its lease.
const RELEASE: &str = "raft-operator";
/// Number of times that all tasks of the process are polled until every one of them waits for the world.
const ROUNDS: usize = 3;

/// Whether a process works only while it holds the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It works at any time, as a process does that has not noticed yet that it lost the lease.
    Always,
    /// It waits for the lease, and ends when it loses the lease.
    WithLease,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    runtime: Runtime,
    work: JoinHandle<()>,
    queue: Queue,
    changed: Arc<Notify>,
    wall: Arc<AtomicU64>,
    ran_to: Duration,
    /// Version of the objects of which the process was notified, or will be.
    noticed: u64,
    notified_at: Option<Duration>,
}

impl Process {
    /// Starts a process, which begins its first pass at once.
    pub(super) fn start(
        cluster: RaftCluster,
        activity: Activity,
        random: &mut Random,
        now: Duration,
        clock_ahead: SignedDuration,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without threads starts");
        let (queue, changed, wall) = (Queue::default(), Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let numbers = Mutex::new(Random::new(Seed(random.number())));
        let machine = SimulatedMachine { wall: Arc::clone(&wall), ahead: clock_ahead, random: numbers };
        let settings = OperatorSettings { node_image: "raft-node".to_owned(), node_image_pull_policy: None };
        let inside = runtime.enter();
        let (client, members) = (requests::client(&queue), messages::members(&queue));
        let identity = format!("operator-{:x}", random.number());
        let candidate = Candidate::new(client.clone(), NAMESPACE, RELEASE, identity.clone());
        let (machine, release) = (Box::new(machine), format!("{NAMESPACE}/{RELEASE}"));
        let context = Context::new(client, members, machine, settings, Metrics::new(), identity, release);
        let passes = reconcile(cluster, context, Arc::clone(&changed));
        let work = match activity {
            Activity::Always => runtime.spawn(passes),
            Activity::WithLease => runtime.spawn(while_leading(candidate, passes)),
        };
        drop(inside);
        Self { runtime, work, queue, changed, wall, ran_to: now, noticed: 0, notified_at: None }
    }

    /// Sends a watch event if the objects changed, or if the watch starts anew. While the watch is silent, no event
    /// arrives; when it starts anew, one does.
    pub(super) fn notice(&mut self, version: u64, faults: &OperatorFaults, random: &mut Random, now: Duration) {
        if version == self.noticed && !random.chance(faults.watch_restarts) {
            return;
        }
        self.noticed = version;
        if self.notified_at.is_none() {
            let is_silent = random.chance(faults.silences);
            let (least, most) = if is_silent { (Duration::ZERO, faults.silence_max) } else { WATCH_LAG };
            self.notified_at = Some(now + random.time(least, most));
        }
    }

    /// Advances the clock of the process to `now`, and lets it run until it waits. Returns whether it goes on: it ends
    /// when it loses the lease.
    pub(super) fn run(&mut self, now: Duration) -> bool {
        if self.notified_at.is_some_and(|at| at <= now) {
            self.notified_at = None;
            self.changed.notify_one();
        }
        let milliseconds = u64::try_from(now.as_millis()).expect("a run is short");
        self.wall.store(milliseconds, Ordering::Relaxed);
        let passed = now.saturating_sub(self.ran_to);
        self.ran_to = now;
        self.runtime.block_on(async {
            if !passed.is_zero() {
                tokio::time::advance(passed).await;
            }
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
        });
        if !self.work.is_finished() {
            return true;
        }
        if let Err(failed) = self.runtime.block_on(&mut self.work) {
            std::panic::resume_unwind(failed.into_panic());
        }
        false
    }

    /// Removes a random pending request from the queue. Requests that were made together arrive in any order.
    pub(super) fn take_request(&mut self, random: &mut Random) -> Option<Pending> {
        let mut queue = self.queue.lock();
        match u64::try_from(queue.len()).expect("few requests") {
            0 => None,
            count => Some(queue.remove(usize::try_from(random.below(count)).expect("few requests"))),
        }
    }
}

/// Runs passes as kube's controller does: after the delay that a pass returns, or after a watch event.
async fn reconcile(cluster: RaftCluster, context: Context, changed: Arc<Notify>) {
    let uid = cluster.metadata.uid.clone().unwrap_or_default();
    loop {
        let delay = match raft_cluster::pass(&cluster, &context).await {
            Ok(NextPass::After(delay)) => Some(delay),
            Ok(NextPass::AtChange) => None,
            Err(_) => Some(context.failed(&uid)),
        };
        match delay {
            // The next pass follows whether the time has passed or an object changed.
            Some(delay) => {
                let _ = timeout(delay, changed.notified()).await;
            }
            None => changed.notified().await,
        }
    }
}

/// Runs passes while the process holds the lease, as `operator/src/run.rs` does.
async fn while_leading(mut candidate: Candidate, passes: impl Future<Output = ()>) {
    candidate.acquire(&Readiness::default(), std::future::pending()).await;
    tokio::select! {
        // The order of polling must not depend on chance.
        biased;
        _ = candidate.keep() => {}
        () = passes => {}
    }
}

/// The machine of an operator.
struct SimulatedMachine {
    /// Time since the start of the run, in milliseconds.
    wall: Arc<AtomicU64>,
    /// Difference between this machine's clock and that of the API server.
    ahead: SignedDuration,
    random: Mutex<Random>,
}

impl Machine for SimulatedMachine {
    fn wall_clock(&self) -> Timestamp {
        wall_clock(Duration::from_millis(self.wall.load(Ordering::Relaxed))) + self.ahead
    }

    fn entropy(&self) -> Result<Entropy, NoEntropy> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = || random.number();
        let cluster_id = u128::from(number()) << 64 | u128::from(number());
        let token = std::array::from_fn(|_| number().to_le_bytes()[0]);
        Ok(Entropy { cluster_id, token })
    }
}
