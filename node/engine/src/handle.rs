//! Owns the calls that a member offers: propose, read, change membership, transfer leadership, join a cluster. The core's thread
//! and the apply thread answer them. Does not own protobuf or gRPC: the services translate requests and answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mvcc::{Command, FeatureLevel, Revision};
use raft::{Change, Index, MemberId};
use tokio::sync::oneshot;

use crate::error::{AdoptError, ChangeError, ConfigurationError, ProposeError, RaiseError, ReadError, TransferError};
pub use crate::event::Configurations;
use crate::event::Control;
use crate::inbox::InboxRefusal;
use crate::lifecycle::Lifecycle;
use crate::outcome::Committed;
use crate::parameters::{BootstrapParameters, JoinParameters, RestoreParameters};
use crate::published::Published;
use crate::read::executor::Executor;
use crate::reply::{ReplyLaneId, Waiter};
use crate::shared::Shared;
use crate::status::{Phase, Status};

/// Access of the services to one member. Clones refer to the same member.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    lane: ReplyLaneId,
}

impl Handle {
    /// Creates a handle whose answers use the first reply lane. [`Handle::on_reply_lane`] returns a handle for another lane.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, lane: ReplyLaneId(0) }
    }

    /// Returns a handle to the same member whose answers are delivered on the runtime of `lane`.
    #[must_use]
    pub fn on_reply_lane(&self, lane: ReplyLaneId) -> Self {
        Self { shared: Arc::clone(&self.shared), lane }
    }

    /// This member's ID.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.shared.member
    }

    /// What another member has sent of late that this program does not know.
    #[must_use]
    pub fn unknown(&self) -> Option<String> {
        self.shared.unknown(std::time::Instant::now())
    }

    /// Commits a command and applies it on this member. A caller that drops the future loses the answer but does not withdraw the
    /// command.
    ///
    /// # Errors
    /// Returns the reason why the outcome is not known. Each variant says whether the command may still be applied.
    pub async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        self.propose_holding(command, 0).await
    }

    /// Commits a command as [`Handle::propose`] does. `held` is the memory of the command's request in bytes. The command
    /// keeps it alive until it is in an entry, even if the caller has gone.
    ///
    /// # Errors
    /// Returns the reason why the outcome is not known. Each variant says whether the command may still be applied.
    pub async fn propose_holding(&self, command: Command, held: usize) -> Result<Committed, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, lane: self.lane };
        let proposal = self.shared.admission.admit(command, held, waiter)?;
        let bytes = proposal.bytes;
        self.shared.inbox.propose(proposal).map_err(|refused| {
            self.shared.admission.release(1, bytes);
            match refused {
                InboxRefusal::Full => ProposeError::Overloaded,
                InboxRefusal::Closed => {
                    self.not_serving(ProposeError::Stopping, |phase| ProposeError::NotServing { phase })
                }
            }
        })?;
        answer.await.unwrap_or(Err(ProposeError::Stopping))
    }

    /// Returns a view that holds every write that was acknowledged to any client before this call (ReadIndex, Raft
    /// thesis §6.4). All reads that wait at the same time share one quorum round.
    ///
    /// # Errors
    /// Returns why the read was not confirmed. The caller may retry the read on this or another member.
    pub async fn linearizable(&self) -> Result<Arc<Published>, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.shared.inbox.read(Waiter { reply, lane: self.lane }).map_err(|refused| match refused {
            InboxRefusal::Full => ReadError::Overloaded,
            InboxRefusal::Closed => self.not_serving(ReadError::Stopping, |phase| ReadError::NotServing { phase }),
        })?;
        answer.await.unwrap_or(Err(ReadError::Stopping))?;
        Ok(self.published())
    }

    /// The newest view of this member, for serializable reads. The view may lag behind the leader's view.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.shared.published.load_full()
    }

    /// Runs reads that would occupy the thread of their caller for too long.
    #[must_use]
    pub fn heavy(&self) -> &Arc<Executor> {
        &self.shared.heavy
    }

    /// This member's latest status report. Never blocks.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.shared.status.load_full()
    }

    /// SHA-256 of the token that administrative calls must carry; `None` while the member is blank.
    #[must_use]
    pub fn token_sha256(&self) -> Option<Arc<[u8; 32]>> {
        self.shared.token.load_full()
    }

    /// Changes membership and returns the index of the committed entry (leader only). `supports` holds the feature
    /// levels that new members have said they support. A new member that it does not contain is not refused for its
    /// level.
    ///
    /// # Errors
    /// Returns why the change was refused, or that its outcome is unknown.
    pub async fn change(
        &self,
        change: Change,
        supports: BTreeMap<MemberId, FeatureLevel>,
    ) -> Result<Index, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let control = Control::Change { change, supports, reply };
        self.control(control, ChangeError::Overloaded, ChangeError::Stopping, |phase| ChangeError::NotServing {
            phase,
        })?;
        answer.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// Raises the feature level of the cluster and returns the level that holds (leader only). If `to` is `None`,
    /// raises it to the highest level that all members support. A level that holds already succeeds.
    ///
    /// # Errors
    /// Returns why the level was not raised, or that the outcome is unknown.
    pub async fn raise_level(&self, to: Option<FeatureLevel>) -> Result<FeatureLevel, RaiseError> {
        let (reply, answer) = oneshot::channel();
        let control = Control::RaiseLevel { to, reply };
        self.control(control, RaiseError::Overloaded, RaiseError::Stopping, |phase| RaiseError::NotServing { phase })?;
        answer.await.unwrap_or(Err(RaiseError::Stopping))
    }

    /// Transfers leadership and returns the new leader. If `target` is `None`, the leader chooses the most caught-up voter.
    ///
    /// # Errors
    /// Returns why the transfer was refused, or that no other member was seen to lead in time.
    pub async fn transfer(&self, target: Option<MemberId>) -> Result<MemberId, TransferError> {
        let (reply, answer) = oneshot::channel();
        self.control(
            Control::Transfer { target, reply },
            TransferError::Overloaded,
            TransferError::Stopping,
            |phase| TransferError::NotServing { phase },
        )?;
        answer.await.unwrap_or(Err(TransferError::Stopping))
    }

    /// Reads the configurations linearizably (leader only).
    ///
    /// # Errors
    /// Returns an error if this member does not lead, or cannot confirm with a quorum that it leads.
    pub async fn configuration(&self) -> Result<Configurations, ConfigurationError> {
        let status = self.status();
        if status.phase == Phase::Member && status.leader != Some(self.member()) {
            return Err(ConfigurationError::NotLeader { leader: status.leader });
        }
        self.linearizable().await?;
        let (reply, answer) = oneshot::channel();
        self.control(Control::Configuration { reply }, ReadError::Overloaded, ReadError::Stopping, |phase| {
            ReadError::NotServing { phase }
        })?;
        match answer.await {
            Ok(Ok(configurations)) => Ok(configurations),
            Ok(Err(leader)) => Err(ConfigurationError::NotLeader { leader }),
            Err(_) => Err(ReadError::Stopping.into()),
        }
    }

    /// Makes a blank member one of the first voters of a new cluster. Repeating the call with the same content succeeds.
    ///
    /// # Errors
    /// Returns why the member refused. Its disk is unchanged.
    pub async fn bootstrap(&self, parameters: BootstrapParameters) -> Result<(), AdoptError> {
        let (reply, answer) = oneshot::channel();
        self.adopt(Lifecycle::Bootstrap { parameters, reply }, answer).await
    }

    /// Binds a blank member to the running cluster that is to add it. Repeating the call with the same content succeeds.
    ///
    /// # Errors
    /// Returns why the member refused. Its disk is unchanged.
    pub async fn join(&self, parameters: JoinParameters) -> Result<(), AdoptError> {
        let (reply, answer) = oneshot::channel();
        self.adopt(Lifecycle::Join { parameters, reply }, answer).await
    }

    /// Makes a blank member fetch a backup and start a new cluster from the backup, as the only voter of the cluster. Returns
    /// once the restore has begun; [`Status::restore`] reports its progress. Repeating the call with the same content succeeds,
    /// and retries a failed restore.
    ///
    /// # Errors
    /// Returns why the restore was not begun. The disk is unchanged.
    pub async fn restore(&self, parameters: RestoreParameters) -> Result<(), AdoptError> {
        let (reply, answer) = oneshot::channel();
        self.adopt(Lifecycle::Restore { parameters, reply }, answer).await
    }

    /// Prepares a shutdown: readiness becomes false, and a leader transfers its leadership. Returns when the transfer is done
    /// or has failed.
    pub async fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.status.rcu(|status| Status { draining: true, ..Status::clone(status) });
        if self.status().leader == Some(self.member())
            && let Err(reason) = self.transfer(None).await
        {
            tracing::warn!(%reason, "leadership was not transferred before the shutdown");
        }
    }

    /// Returns once this member has removed the versions that the compaction at `mark` makes unreadable. The compaction must
    /// be applied on this member already. Does not return if the member stops first.
    pub async fn removed(&self, mark: Revision) {
        // The wait cannot fail, because `self` keeps the sender in `shared` alive.
        let _ = self.shared.removed.subscribe().wait_for(|removed| *removed >= mark).await;
    }

    /// Returns once the member begins to stop, so that the caller can end its streams to clients.
    pub async fn stopping(&self) {
        // The wait cannot fail, because `self` keeps the sender in `shared` alive.
        let _ = self.shared.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    async fn adopt(
        &self,
        request: Lifecycle,
        answer: oneshot::Receiver<Result<(), AdoptError>>,
    ) -> Result<(), AdoptError> {
        self.shared.lifecycle.send(request).await.map_err(|_| AdoptError::Stopping)?;
        answer.await.unwrap_or(Err(AdoptError::Stopping))
    }

    fn control<E>(
        &self,
        control: Control,
        overloaded: E,
        stopping: E,
        not_serving: impl FnOnce(Phase) -> E,
    ) -> Result<(), E> {
        self.shared.inbox.control(control).map_err(|refused| match refused {
            InboxRefusal::Full => overloaded,
            InboxRefusal::Closed => self.not_serving(stopping, not_serving),
        })
    }

    fn not_serving<E>(&self, stopping: E, not_serving: impl FnOnce(Phase) -> E) -> E {
        match self.status().phase {
            Phase::Member => stopping,
            phase => not_serving(phase),
        }
    }
}
