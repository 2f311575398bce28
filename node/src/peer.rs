//! Member to member: who is where, what waits for whom, what comes in. Owns links and addresses; the protocol's rules are
//! the core's, its bytes are the crate `wire`'s.

mod compression;
mod lanes;

pub(crate) mod dial;
mod greeting;
pub(crate) mod listen;

pub(crate) mod snapshot;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use engine::shared::Shared;
use engine::transport::Transport;
use proto::peer::Greeting;
use raft::{Configuration, Index, MemberId, Message, Term};
use storage::{ClusterId, Snapshots};
use tokio::task::AbortHandle;

use crate::metrics::Metrics;
use crate::peer::lanes::{Lane, LaneKind};

/// While so much is committed and not applied, no new entries are taken in.
const BEHIND_BYTES: usize = 64 << 20;

/// The lanes to one member.
struct Link {
    control: Arc<Lane>,
    bulk: Arc<Lane>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Default)]
struct Links {
    links: BTreeMap<MemberId, Link>,
    /// Addresses that members gave of themselves; used while the configuration says nothing of them.
    learned: BTreeMap<MemberId, String>,
    /// The latest snapshot transfer to each member, ended or not.
    snapshots: BTreeMap<MemberId, AbortHandle>,
}

/// Addresses learned from greetings are bounded: a cluster is small.
const LEARNED_MAX: usize = 64;

/// All others, as this member knows them.
pub(crate) struct Peers {
    cluster: ClusterId,
    own_url: String,
    shared: Arc<Shared>,
    snapshots: Snapshots,
    metrics: Metrics,
    rate: snapshot::Rate,
    runtime: tokio::runtime::Handle,
    configuration: ArcSwap<Configuration>,
    links: Mutex<Links>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What [`Peers`] is built from.
pub(crate) struct Parts {
    pub(crate) cluster: ClusterId,
    /// Where others reach this member.
    pub(crate) own_url: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) snapshots: Snapshots,
    /// Bytes per second that snapshots may take.
    pub(crate) snapshot_rate: u64,
    /// Where connections live.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Peers {
    /// Nobody is known yet.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { cluster, own_url, shared, metrics, snapshots, snapshot_rate, runtime } = parts;
        Arc::new(Self {
            cluster,
            own_url,
            shared,
            metrics,
            snapshots,
            rate: snapshot::Rate::new(snapshot_rate),
            runtime,
            configuration: ArcSwap::default(),
            links: Mutex::default(),
        })
    }

    fn link(self: &Arc<Self>, to: MemberId) -> Link {
        let (control, bulk) = (Arc::<Lane>::default(), Arc::<Lane>::default());
        let tasks = [&control, &bulk]
            .map(|lane| self.runtime.spawn(dial::keep(Arc::clone(self), to, Arc::clone(lane))).abort_handle())
            .into();
        Link { control, bulk, tasks }
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        let mut links = self.lock();
        links.links.clear();
        std::mem::take(&mut links.snapshots).into_values().for_each(|task| task.abort());
    }

    /// Where `member` is reached: as the configuration says, else as it said itself.
    fn url(&self, member: MemberId) -> Option<String> {
        let configuration = self.configuration.load();
        let configured = configuration.members.get(&member).map(|info| info.peer_url.clone());
        configured.filter(|url| !url.is_empty()).or_else(|| self.lock().learned.get(&member).cloned())
    }

    fn learn(&self, member: MemberId, url: &str) {
        if url.is_empty() {
            return;
        }
        let mut links = self.lock();
        if links.learned.len() < LEARNED_MAX || links.learned.contains_key(&member) {
            links.learned.insert(member, url.to_owned());
        }
    }

    fn greeting(&self, to: MemberId) -> Greeting {
        Greeting {
            cluster_id: Bytes::copy_from_slice(&self.cluster.0),
            from: self.member().0,
            to: to.0,
            protocol: wire::PROTOCOL,
            peer_url: self.own_url.clone(),
        }
    }

    fn hear(&self, from: MemberId, messages: Vec<Message>) {
        self.shared.deliver(from, messages);
    }

    fn unreachable(&self, member: MemberId) {
        self.shared.unreachable(member);
    }

    fn is_behind(&self) -> bool {
        self.shared.unapplied_bytes() > BEHIND_BYTES
    }

    fn member(&self) -> MemberId {
        self.shared.member()
    }

    fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Every holder leaves the maps whole, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of the core's messages: sorts them into the lanes of their receivers.
pub(crate) struct Outgoing(pub(crate) Arc<Peers>);

impl Transport for Outgoing {
    /// Links to members that are gone stay, so that those can be told.
    fn configure(&self, configuration: Arc<Configuration>) {
        self.0.configuration.store(configuration);
    }

    fn send(&self, messages: &mut Vec<(MemberId, Message)>) {
        if messages.is_empty() {
            return;
        }
        let mut sorted: BTreeMap<MemberId, [Vec<Message>; 2]> = BTreeMap::new();
        for (to, message) in messages.drain(..) {
            let [control, bulk] = sorted.entry(to).or_default();
            match LaneKind::of(&message) {
                LaneKind::Control => control.push(message),
                LaneKind::Bulk => bulk.push(message),
            }
        }
        let mut links = self.0.lock();
        for (to, [mut control, mut bulk]) in sorted {
            let link = links.links.entry(to).or_insert_with(|| self.0.link(to));
            let lost = if control.is_empty() { 0 } else { link.control.put(&mut control) }
                + if bulk.is_empty() { 0 } else { link.bulk.put(&mut bulk) };
            if lost > 0 {
                tracing::debug!(%to, lost, "messages were lost: too many wait");
            }
        }
    }

    fn send_snapshot(&self, to: MemberId, number: u64, term: Term, at_least: Index) {
        snapshot::begin(&self.0, to, number, term, at_least);
    }
}
