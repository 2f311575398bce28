//! Everything that reconciliations share: the client, connections to members, the event recorder, metrics, the zones of
//! nodes, and what this process remembers about each cluster and backup between passes. Does not own what is remembered
//! (`memory.rs`), nor any decision.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use plan::observed::OperatorSettings;
use tokio::time::Instant;

use crate::machine::Machine;
use crate::member::client::Members;
use crate::memory::{Memories, Memory};
use crate::metrics::Metrics;
use crate::retry::Failures;

/// Everything that reconciliations share.
pub struct Context {
    /// Client of the Kubernetes API.
    pub client: Client,
    /// Connections to members.
    pub members: Members,
    /// Wall-clock time and randomness.
    pub machine: Box<dyn Machine>,
    /// Publishes events.
    pub recorder: Recorder,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// Settings that the planner needs.
    pub settings: OperatorSettings,
    /// Names this operator's release among all releases in Kubernetes.
    pub release: String,
    memories: Mutex<Memories>,
    zones: Mutex<BTreeMap<String, (Instant, Option<String>)>>,
}

impl Context {
    /// Creates the context of this process. `instance` names the process in its events, `release` names its release
    /// among all releases in Kubernetes.
    #[must_use]
    pub fn new(
        client: Client,
        members: Members,
        machine: Box<dyn Machine>,
        settings: OperatorSettings,
        metrics: Metrics,
        instance: String,
        release: String,
    ) -> Self {
        let reporter = Reporter { controller: "raft-operator".to_owned(), instance: Some(instance) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            members,
            machine,
            metrics,
            settings,
            release,
            memories: Mutex::default(),
            zones: Mutex::default(),
        }
    }

    /// Runs `work` on the memory of the object with this UID. `work` holds the lock, therefore it must be short and
    /// must not run the planner.
    pub fn remember<T>(&self, uid: &str, work: impl FnOnce(&mut Memory) -> T) -> T {
        lock(&self.memories).with(uid, Instant::now(), work)
    }

    /// Drops the memory of an object that was deleted.
    pub fn forget(&self, uid: &str) {
        lock(&self.memories).forget(uid);
    }

    /// Counts a failure of this object, and returns the delay before the next pass.
    pub fn failed(&self, uid: &str) -> Duration {
        self.remember(uid, |memory| memory.failures.one_more())
    }

    /// Resets the count of failures after the object was reconciled.
    pub fn succeeded(&self, uid: &str) {
        self.remember(uid, |memory| memory.failures = Failures::default());
    }

    /// The zone of a node, if it was read in the last minute. The inner option is `None` if the node has no zone.
    pub fn zone(&self, node: &str) -> Option<Option<String>> {
        const FRESH: Duration = Duration::from_secs(60);
        let zones = lock(&self.zones);
        zones.get(node).filter(|(read, _)| read.elapsed() < FRESH).map(|(_, zone)| zone.clone())
    }

    /// Remembers the zone of a node for a minute.
    pub fn keep_zone(&self, node: String, zone: Option<String>) {
        const NODES_MAX: usize = 10_000;
        let mut zones = lock(&self.zones);
        if zones.len() >= NODES_MAX {
            zones.clear();
        }
        zones.insert(node, (Instant::now(), zone));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoning is ignored: every holder of the lock leaves the data consistent, even if it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts a time of the monotonic clock into wall-clock time.
pub(crate) fn wall_clock(moment: Instant, now: Timestamp) -> Timestamp {
    let ago = SignedDuration::try_from(moment.elapsed()).unwrap_or(SignedDuration::ZERO);
    now.checked_sub(ago).unwrap_or(now)
}
