//! Owns the state that a member's threads, callers and transport share, and the operations with which they use it. Does not own
//! the callers' operations (`handle.rs`) or the reaction to an event (`driver/`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use mvcc::{FeatureLevel, Revision, Store};
use raft::{Entry, Index, MemberId, Message, ProposalId, RemovalVerdict, Term};
use tokio::sync::{mpsc, oneshot, watch};

use crate::event::Control;
use crate::inbox::{Inbox, InboxRefusal};
use crate::lifecycle::Lifecycle;
use crate::log_reads::{LeaderLog, LogReadError, LogReply};
use crate::observer::Observer;
use crate::propose::admission::Admission;
use crate::published::Published;
use crate::read::executor::Executor;
use crate::reply::{ReplyLaneId, ReplyLanes};
use crate::status::Status;

/// Time for which a message that this program does not know is shown. A newer member repeats what it sends far more often.
const UNKNOWN_SHOWN: Duration = Duration::from_secs(60);

/// The state of one member that more than one thread needs. The program holds a reference to report events from outside the
/// engine; callers hold a [`crate::handle::Handle`] instead.
#[derive(Debug)]
pub struct Shared {
    pub(crate) member: MemberId,
    /// The highest feature level that this program supports.
    pub(crate) supports: FeatureLevel,
    /// The highest feature levels that other members support, of those members that are connected to this one.
    pub(crate) stated: ArcSwap<BTreeMap<MemberId, FeatureLevel>>,
    pub(crate) inbox: Inbox,
    pub(crate) admission: Admission,
    /// Runs heavy reads while the member has threads.
    pub(crate) heavy: Arc<Executor>,
    pub(crate) lanes: ReplyLanes,
    pub(crate) status: ArcSwap<Status>,
    pub(crate) published: ArcSwap<Published>,
    pub(crate) draining: AtomicBool,
    /// What another member has sent that this program does not know, and when it was noted; `None` if there was nothing
    /// like it.
    unknown: ArcSwapOption<(String, Instant)>,
    /// SHA-256 of the cluster's token; `None` while the member is blank.
    pub(crate) token: ArcSwapOption<[u8; 32]>,
    pub(crate) lifecycle: mpsc::Sender<Lifecycle>,
    pub(crate) stopping: watch::Sender<bool>,
    /// Index of the last entry in the newest durable snapshot.
    pub(crate) snapshot: AtomicU64,
    /// Length of the newest durable snapshot, in bytes.
    pub(crate) snapshot_bytes: AtomicU64,
    /// Bytes of the batches that this process has written to the log.
    pub(crate) log_bytes: AtomicU64,
    /// Compaction mark below which this member has removed all versions that the mark makes unreadable.
    pub(crate) removed: watch::Sender<Revision>,
    pub(crate) observer: Box<dyn Observer>,
}

impl Shared {
    /// Creates the state of a member that has published nothing and accepts no requests yet. `lanes` is the number of
    /// runtimes that wait for answers. Through `lifecycle`, the program receives the requests that make a blank member
    /// part of a cluster.
    #[must_use]
    pub fn new(
        status: Status,
        token_sha256: Option<[u8; 32]>,
        lanes: usize,
        lifecycle: mpsc::Sender<Lifecycle>,
        observer: Box<dyn Observer>,
    ) -> Arc<Self> {
        let nothing = Published { view: Store::new().view(), applied: Index(0), term: Term(0), time_ms: 0 };
        Arc::new(Self {
            member: status.member,
            supports: status.supports,
            stated: ArcSwap::default(),
            inbox: Inbox::default(),
            admission: Admission::default(),
            heavy: Arc::default(),
            lanes: ReplyLanes::new(lanes),
            status: ArcSwap::from_pointee(status),
            published: ArcSwap::from_pointee(nothing),
            draining: AtomicBool::new(false),
            unknown: ArcSwapOption::empty(),
            token: ArcSwapOption::from_pointee(token_sha256),
            lifecycle,
            stopping: watch::Sender::new(false),
            snapshot: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            removed: watch::Sender::new(Revision(0)),
            observer,
        })
    }

    /// This member's ID.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The highest feature level that this program supports.
    #[must_use]
    pub fn supports(&self) -> FeatureLevel {
        self.supports
    }

    /// The cluster's feature level, as far as this member has applied it.
    #[must_use]
    pub fn level(&self) -> FeatureLevel {
        self.published.load().view.level()
    }

    /// Reports what the members support that are connected to this one. A member that is not connected holds a raise of
    /// the level back, because its next program may be an older one.
    pub fn state_levels(&self, stated: BTreeMap<MemberId, FeatureLevel>) {
        self.stated.store(Arc::new(stated));
    }

    /// The latest status report. Never blocks.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Notes what another member has sent that this program does not know.
    pub fn note_unknown(&self, what: String) {
        self.unknown.store(Some(Arc::new((what, Instant::now()))));
    }

    /// What another member has sent that this program does not know, if it was noted within a minute before `now`.
    /// It ends by itself, because a caller that is not authenticated may have sent it.
    #[must_use]
    pub fn unknown(&self, now: Instant) -> Option<String> {
        let noted = self.unknown.load_full()?;
        let (what, at) = &*noted;
        (now.saturating_duration_since(*at) < UNKNOWN_SHOWN).then(|| what.clone())
    }

    /// Replaces the status by the result of `update`. While the driver runs, the driver overwrites the status with its own
    /// reports.
    pub fn update_status(&self, update: impl Fn(&Status) -> Status) {
        self.status.rcu(|status| update(status));
    }

    /// Requires administrative calls to carry the token with this SHA-256 from now on.
    pub fn require_token(&self, sha256: [u8; 32]) {
        self.token.store(Some(Arc::new(sha256)));
    }

    /// Queues messages from another member for the core. The messages are dropped if the inbox is full or the core does not run,
    /// because Raft tolerates lost messages.
    /// `is_member`: the sender is in the configuration. All other senders together get a small part of the inbox.
    pub fn deliver(&self, from: MemberId, is_member: bool, messages: Vec<Message>) {
        let _ = self.inbox.messages(from, is_member, messages);
    }

    /// Reports proposals that were handed to the transport, but certainly never left this member.
    pub fn not_sent(&self, proposals: Vec<ProposalId>) {
        if !proposals.is_empty() {
            self.inbox.not_sent(proposals);
        }
    }

    /// Reports that the connection to a member broke.
    pub fn unreachable(&self, member: MemberId) {
        self.inbox.unreachable(member);
    }

    /// Reports what the other voters say of this member's removal.
    pub fn removal_verified(&self, verdict: RemovalVerdict) {
        self.inbox.removal_verified(verdict);
    }

    /// Reports that the snapshot transfer with this number ended, and whether the snapshot arrived.
    pub fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.inbox.snapshot_sent(to, number, arrived);
    }

    /// Reports that the durable snapshot which ends at `index` cannot be read, so that another one replaces it.
    pub fn snapshot_unreadable(&self, index: Index) {
        self.inbox.snapshot_unreadable(index);
    }

    /// Delivers the answers of one lane on the runtime that polls this future, until the future is dropped.
    pub async fn deliver_replies(&self, lane: ReplyLaneId) {
        self.lanes.deliver(lane).await;
    }

    /// Announces that the member stops, so that streams to clients can end. Notifies the callers of
    /// [`crate::handle::Handle::stopping`] and the channels of [`Shared::subscribe_stopping`].
    pub fn announce_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// A channel whose value becomes true when the member stops.
    #[must_use]
    pub fn subscribe_stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// A channel whose value is the compaction mark below which this member has removed all versions that the mark makes unreadable.
    #[must_use]
    pub fn subscribe_removed(&self) -> watch::Receiver<Revision> {
        self.removed.subscribe()
    }

    /// The newest view of the store.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Asks the core's thread to end.
    pub fn stop_core(&self) {
        self.inbox.stop();
    }

    /// Returns the log of this member at a moment after the call began (leader only), with the bytes of the entries after `after`.
    ///
    /// # Errors
    /// Returns why there is no answer.
    pub async fn leader_log(&self, after: Index) -> Result<LeaderLog, LogReadError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Control::LeaderLog { after, reply })?;
        let answer = answer.await.unwrap_or(Err(None));
        answer.map_err(|leader| LogReadError::NotLeader { leader })
    }

    /// Reads durable entries as [`storage::Storage::read_log`] does. The caller has one read under way at a time.
    ///
    /// # Errors
    /// Returns why the first entry was not read.
    pub async fn read_log(&self, from: Index, through: Index, bytes: usize) -> Result<Vec<Entry>, LogReadError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Control::ReadLog { from, through, bytes, reply: LogReply::new(reply) })?;
        Ok(answer.await.map_err(|_| LogReadError::Stopped)??)
    }

    fn ask(&self, control: Control) -> Result<(), LogReadError> {
        self.inbox.control(control).map_err(|refused| match refused {
            InboxRefusal::Full => LogReadError::Overloaded,
            InboxRefusal::Closed => LogReadError::Stopped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Unobserved;
    use crate::status::Phase;

    #[test]
    fn what_is_not_known_is_shown_for_a_minute() {
        let status = Status::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
        let shared = Shared::new(status, None, 1, mpsc::channel(1).0, Box::new(Unobserved));
        assert_eq!(shared.unknown(Instant::now()), None);
        shared.note_unknown("news".to_owned());
        let now = Instant::now();
        assert_eq!(shared.unknown(now).as_deref(), Some("news"));
        assert_eq!(shared.unknown(now + UNKNOWN_SHOWN), None);
    }
}
