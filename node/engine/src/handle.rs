//! Owns what callers may ask of a member: propose, read, change membership, transfer leadership, join a cluster. Answers come
//! from the core's and the apply thread. Does not own protobuf or gRPC: callers translate.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mvcc::Command;
use raft::{Change, Index, MemberId};
use tokio::sync::oneshot;

use crate::error::{AdoptError, ChangeError, ConfigurationError, ProposeError, ReadError, TransferError};
pub use crate::event::Configurations;
use crate::event::Control;
use crate::inbox::Refused;
use crate::lifecycle::Lifecycle;
use crate::outcome::Committed;
use crate::published::Published;
use crate::record::{BootstrapRecord, JoinRecord, RestoreRecord};
use crate::reply::{LaneId, Waiter};
use crate::shared::Shared;
use crate::status::{Phase, Status};

/// One member, as its doors see it. Clones share the member.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    lane: LaneId,
}

impl Handle {
    /// A handle whose answers are delivered from wherever they arise.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, lane: LaneId(0) }
    }

    /// The same member, with answers taking the way to the runtime that attends to `lane`.
    #[must_use]
    pub fn on_lane(&self, lane: LaneId) -> Self {
        Self { shared: Arc::clone(&self.shared), lane }
    }

    /// Who this is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.shared.member
    }

    /// Commits a command and applies it here. Cancelling forgets the answer, not the command.
    ///
    /// # Errors
    /// Each variant says whether the command may still happen.
    pub async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, lane: self.lane };
        let proposal = self.shared.admission.admit(command, waiter)?;
        let bytes = proposal.bytes;
        self.shared.inbox.propose(proposal).map_err(|refused| {
            self.shared.admission.release(1, bytes);
            match refused {
                Refused::Full => ProposeError::Overloaded,
                Refused::Closed => self.not_serving(ProposeError::Stopping, |phase| ProposeError::NotServing { phase }),
            }
        })?;
        answer.await.unwrap_or(Err(ProposeError::Stopping))
    }

    /// A view that holds everything that any client anywhere knew to be committed when this was called (ReadIndex, Raft
    /// thesis §6.4). All reads that wait at the same time share one quorum round.
    ///
    /// # Errors
    /// It could not be confirmed; try again, here or elsewhere.
    pub async fn linearizable(&self) -> Result<Arc<Published>, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.shared.inbox.read(Waiter { reply, lane: self.lane }).map_err(|refused| match refused {
            Refused::Full => ReadError::Overloaded,
            Refused::Closed => self.not_serving(ReadError::Stopping, |phase| ReadError::NotServing { phase }),
        })?;
        answer.await.unwrap_or(Err(ReadError::Stopping))?;
        Ok(self.published())
    }

    /// The newest view of this member, which may lag: what serializable reads use.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.shared.published.load_full()
    }

    /// What the member says of itself; never blocks.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.shared.status.load_full()
    }

    /// SHA-256 of the token that administrative calls must carry; `None` while blank.
    #[must_use]
    pub fn token_sha256(&self) -> Option<Arc<[u8; 32]>> {
        self.shared.token.load_full()
    }

    /// Changes membership and returns the index of the committed entry (leader only).
    ///
    /// # Errors
    /// Refused, or its outcome is unknown.
    pub async fn change(&self, change: Change) -> Result<Index, ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.control(Control::Change { change, reply }, ChangeError::Overloaded, ChangeError::Stopping, |phase| {
            ChangeError::NotServing { phase }
        })?;
        answer.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// Hands leadership over and returns who leads then; `None`: to the most caught-up voter.
    ///
    /// # Errors
    /// Nothing was started, or nobody was seen to take over in time.
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

    /// The configurations by a linearizable read (leader only).
    ///
    /// # Errors
    /// This member does not lead, or could not prove that it does.
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

    /// Makes a blank member one of the first voters of a new cluster. The same record again succeeds.
    ///
    /// # Errors
    /// The disk is as it was.
    pub async fn bootstrap(&self, record: BootstrapRecord) -> Result<(), AdoptError> {
        let (reply, answer) = oneshot::channel();
        self.adopt(Lifecycle::Bootstrap { record, reply }, answer).await
    }

    /// Tells a blank member which cluster it will be added to. The same record again succeeds.
    ///
    /// # Errors
    /// The disk is as it was.
    pub async fn join(&self, record: JoinRecord) -> Result<(), AdoptError> {
        let (reply, answer) = oneshot::channel();
        self.adopt(Lifecycle::Join { record, reply }, answer).await
    }

    /// Makes a blank member fetch a backup and start a new cluster from it, as its only voter. Returns when that has begun;
    /// [`Status::restore`] tells how far it is. The same order again succeeds, and tries again what failed.
    ///
    /// # Errors
    /// Nothing was begun; the disk is as it was.
    pub async fn restore(&self, record: RestoreRecord) -> Result<(), AdoptError> {
        let (reply, answer) = oneshot::channel();
        self.adopt(Lifecycle::Restore { record, reply }, answer).await
    }

    /// Prepares the end: readiness turns false and leadership is handed over, if there is any. Returns when that is done,
    /// or could not be done in time.
    pub async fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.status.rcu(|status| Status { draining: true, ..Status::clone(status) });
        if self.status().leader == Some(self.member())
            && let Err(reason) = self.transfer(None).await
        {
            tracing::warn!(%reason, "leadership was not handed over before the end");
        }
    }

    /// Returns once the member was told to stop: streams should end.
    pub async fn stopping(&self) {
        // The sender lives in `shared`, which `self` holds.
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
            Refused::Full => overloaded,
            Refused::Closed => self.not_serving(stopping, not_serving),
        })
    }

    fn not_serving<E>(&self, stopping: E, not_serving: impl FnOnce(Phase) -> E) -> E {
        match self.status().phase {
            Phase::Member => stopping,
            phase => not_serving(phase),
        }
    }
}
