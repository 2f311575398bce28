//! Messages between members. Owns the addresses of the other members, and one link to each of these members. A link
//! holds the messages that wait to be sent. Does not own the rules of the protocol (`raft`) nor the encoding of
//! messages (`wire`).

mod accepted;
mod compression;
mod lanes;

mod connected;
mod links;

pub(crate) mod dial;
pub(crate) mod fetch;
pub(crate) mod first_message;
mod greet;
mod greeting;
pub(crate) mod hash;
pub(crate) mod listen;

mod incoming;
pub(crate) mod snapshot;

pub(crate) mod removal;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use engine::shared::Shared;
use engine::transport::Transport;
use mvcc::FeatureLevel;
use proto::peer::Greeting;
use raft::{Configuration, Index, MemberId, MemberInfo, Message, ProposalId, Term};
use storage::{ClusterId, Snapshots};

use crate::metrics::Metrics;
use crate::peer::lanes::{CONTROL_BYTES_MAX, Lane, LaneKind};
use crate::peer::links::{Link, Links};

pub(crate) use crate::peer::accepted::Accepted;
pub(crate) use crate::peer::greet::level;

/// Time within which a member that is to be added must say what it supports.
const NEWCOMER_TIMEOUT: Duration = Duration::from_secs(1);

/// All other members, as this member knows them.
pub(crate) struct Peers {
    cluster: ClusterId,
    own_url: String,
    shared: Arc<Shared>,
    snapshots: Snapshots,
    metrics: Metrics,
    rate: snapshot::Rate,
    lane_bytes: usize,
    reached: snapshot::Reached,
    incoming: incoming::Incoming,
    verifications: removal::Pace,
    /// The one place for a member that reads this member's log to repair its own.
    fetches: Arc<tokio::sync::Semaphore>,
    hashes: hash::Hashes,
    runtime: tokio::runtime::Handle,
    configuration: ArcSwap<Configuration>,
    links: Mutex<Links>,
    refusals: greeting::RefusalLog,
    connected: Mutex<connected::Members>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Parts from which [`Peers`] is built.
pub(crate) struct Parts {
    pub(crate) cluster: ClusterId,
    /// URL at which other members reach this one.
    pub(crate) own_url: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) snapshots: Snapshots,
    /// Maximum bytes per second of all snapshots that this member sends together; 0: no limit.
    pub(crate) snapshot_rate: u64,
    /// Maximum weight of the entries and commands that wait for one member, in bytes.
    pub(crate) lane_bytes: usize,
    /// Runtime on which the tasks of the connections run.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Peers {
    /// Creates the peers of a member with an empty configuration and without connections.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { cluster, own_url, shared, metrics, snapshots, snapshot_rate, lane_bytes, runtime } = parts;
        Arc::new(Self {
            cluster,
            own_url,
            shared,
            metrics,
            snapshots,
            rate: snapshot::Rate::new(snapshot_rate),
            lane_bytes,
            reached: snapshot::Reached::default(),
            incoming: incoming::Incoming::default(),
            verifications: removal::Pace::default(),
            fetches: Arc::new(tokio::sync::Semaphore::new(1)),
            hashes: hash::Hashes::default(),
            runtime,
            configuration: ArcSwap::default(),
            links: Mutex::default(),
            refusals: greeting::RefusalLog::default(),
            connected: Mutex::default(),
        })
    }

    fn link(self: &Arc<Self>, to: MemberId) -> Link {
        let (control, bulk) = (Arc::new(Lane::new(CONTROL_BYTES_MAX)), Arc::new(Lane::new(self.lane_bytes)));
        let tasks = [&control, &bulk]
            .map(|lane| self.runtime.spawn(dial::keep(Arc::clone(self), to, Arc::clone(lane))).abort_handle())
            .into();
        Link { control, bulk, tasks }
    }

    /// Closes all connections and aborts all snapshot transfers.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    /// Returns the URL of `member` in the configuration. If the configuration has none, returns the URL in the member's
    /// greeting.
    fn url(&self, member: MemberId) -> Option<String> {
        let configuration = self.configuration.load();
        let configured = configuration.members.get(&member).map(|info| info.peer_url.clone());
        configured.filter(|url| !url.is_empty()).or_else(|| self.lock().learned(member))
    }

    fn learn(&self, member: MemberId, url: &str) {
        self.lock().learn(member, url);
    }

    fn greeting(&self, to: MemberId) -> Greeting {
        Greeting {
            cluster_id: Bytes::copy_from_slice(&self.cluster.0),
            from: self.member().0,
            to: to.0,
            protocol: wire::PROTOCOL,
            peer_url: self.own_url.clone(),
            feature_level: self.shared.supports().0,
        }
    }

    /// Asks the members among these that are not in the configuration what they support, all at once. A member that
    /// does not answer in time is missing from the result. Nothing is asked at the first level, which every program
    /// supports.
    pub(crate) async fn support_of_newcomers(
        &self,
        members: &BTreeMap<MemberId, MemberInfo>,
    ) -> BTreeMap<MemberId, FeatureLevel> {
        if self.shared.level() == FeatureLevel::FIRST {
            return BTreeMap::new();
        }
        let configuration = self.configuration.load_full();
        let newcomers = members.iter().filter(|(id, _)| !configuration.contains(**id));
        let asked = newcomers.map(async |(id, info)| {
            let supports = async {
                let channel = dial::connect(&info.peer_url).await.ok()?;
                let greeted = greet::ask(self.greeting(*id), channel).await.ok()?;
                Some(greet::level(greeted.feature_level))
            };
            tokio::time::timeout(NEWCOMER_TIMEOUT, supports).await.ok().flatten().map(|supports| (*id, supports))
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    fn receive(&self, from: MemberId, messages: Vec<Message>) {
        let is_member = self.configuration.load().contains(from);
        self.shared.deliver(from, is_member, messages);
    }

    fn unreachable(&self, member: MemberId) {
        self.shared.unreachable(member);
    }

    fn member(&self) -> MemberId {
        self.shared.member()
    }

    fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Ignores poisoning, because every holder of the lock leaves the maps consistent.
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the core's messages by putting each into a lane of its receiver.
pub(crate) struct Outgoing(pub(crate) Arc<Peers>);

impl Transport for Outgoing {
    /// Keeps the links to removed members, so that these members can be notified of their removal.
    fn configure(&self, configuration: Arc<Configuration>) {
        self.0.reached.retain(|id| configuration.contains(id));
        self.0.configuration.store(configuration);
    }

    fn send(&self, messages: &mut Vec<(MemberId, Message)>, unsent: &mut Vec<ProposalId>) {
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
        let configuration = self.0.configuration.load();
        let mut links = self.0.lock();
        for (to, [mut control, mut bulk]) in sorted {
            let link = links.to(to, &configuration, || self.0.link(to));
            for (lane, messages) in [(&link.control, &mut control), (&link.bulk, &mut bulk)] {
                if messages.is_empty() {
                    continue;
                }
                let dropped = lane.put(messages);
                if !dropped.is_empty() {
                    tracing::debug!(%to, dropped = dropped.len(), "messages were dropped, because the lane is full");
                    unsent.extend(lanes::proposals_of(&dropped));
                }
            }
        }
    }

    fn send_snapshot(&self, to: MemberId, number: u64, term: Term, at_least: Index) {
        snapshot::begin(&self.0, to, number, term, at_least);
    }

    fn verify_removal(&self) {
        removal::verify(&self.0);
    }
}
