//! Owns the state that a member's threads, its callers and its transport share, and the few things that each of them may do
//! with it. Does not own the questions that callers ask (`handle.rs`) or what follows from an event (`driver/`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use mvcc::Store;
use raft::{Index, MemberId, Message, Term};
use tokio::sync::{mpsc, watch};

use crate::inbox::Inbox;
use crate::lifecycle::Lifecycle;
use crate::observer::Observer;
use crate::propose::admission::Admission;
use crate::published::Published;
use crate::reply::{LaneId, Lanes};
use crate::status::Status;

/// The state of one member that more than one thread needs. The program holds it to report what happens outside the engine;
/// callers hold a [`crate::handle::Handle`] instead.
#[derive(Debug)]
pub struct Shared {
    pub(crate) member: MemberId,
    pub(crate) inbox: Inbox,
    pub(crate) admission: Admission,
    pub(crate) lanes: Lanes,
    pub(crate) status: ArcSwap<Status>,
    pub(crate) published: ArcSwap<Published>,
    pub(crate) draining: AtomicBool,
    /// SHA-256 of the cluster's token; none while blank.
    pub(crate) token: ArcSwapOption<[u8; 32]>,
    pub(crate) lifecycle: mpsc::Sender<Lifecycle>,
    pub(crate) stopping: watch::Sender<bool>,
    /// Last entry in the newest durable snapshot.
    pub(crate) snapshot: AtomicU64,
    /// Payload bytes of entries that are committed and not applied yet.
    pub(crate) unapplied_bytes: AtomicUsize,
    pub(crate) observer: Box<dyn Observer>,
}

impl Shared {
    /// The state of a member that has published nothing and takes no requests yet. `lanes` is the number of runtimes that
    /// wait for answers; `lifecycle` leads to who makes a blank member part of a cluster.
    #[must_use]
    pub fn new(
        status: Status,
        token_sha256: Option<[u8; 32]>,
        lanes: usize,
        lifecycle: mpsc::Sender<Lifecycle>,
        observer: Box<dyn Observer>,
    ) -> Arc<Self> {
        let nothing = Published { view: Store::new().view(), applied: Index(0), term: Term(0) };
        Arc::new(Self {
            member: status.member,
            inbox: Inbox::default(),
            admission: Admission::default(),
            lanes: Lanes::new(lanes),
            status: ArcSwap::from_pointee(status),
            published: ArcSwap::from_pointee(nothing),
            draining: AtomicBool::new(false),
            token: ArcSwapOption::from_pointee(token_sha256),
            lifecycle,
            stopping: watch::Sender::new(false),
            snapshot: AtomicU64::new(0),
            unapplied_bytes: AtomicUsize::new(0),
            observer,
        })
    }

    /// This member's ID.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// Replaces the status by what `update` makes of it. The driver replaces it from then on while the member runs.
    pub fn update_status(&self, update: impl Fn(&Status) -> Status) {
        self.status.rcu(|status| update(status));
    }

    /// Requires this token, given by its SHA-256, of administrative calls from now on.
    pub fn require_token(&self, sha256: [u8; 32]) {
        self.token.store(Some(Arc::new(sha256)));
    }

    /// Passes on to the core what another member sent. Messages that do not fit are lost, and so are all messages while the
    /// core does not run: Raft sends them again.
    pub fn deliver(&self, from: MemberId, messages: Vec<Message>) {
        let _ = self.inbox.messages(from, messages);
    }

    /// Reports that a connection to a member broke.
    pub fn unreachable(&self, member: MemberId) {
        self.inbox.unreachable(member);
    }

    /// Reports that the snapshot transfer of this number ended, and whether the snapshot arrived.
    pub fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.inbox.snapshot_sent(to, number, arrived);
    }

    /// Payload bytes of entries that are committed and not applied yet.
    #[must_use]
    pub fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes.load(Ordering::Relaxed)
    }

    /// Delivers the answers of one lane on the runtime that polls this future, until it is dropped.
    pub async fn attend(&self, lane: LaneId) {
        self.lanes.attend(lane).await;
    }

    /// Ends streams to clients: [`crate::handle::Handle::stopping`] and [`Shared::subscribe_stopping`] are notified.
    pub fn announce_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Turns true when the member stops.
    #[must_use]
    pub fn subscribe_stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Asks the core to end.
    pub fn stop_core(&self) {
        self.inbox.stop();
    }
}
