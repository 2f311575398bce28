//! Owns the admission of calls (phase, role, metadata, quota), and the two ways into the engine: commands go through
//! the log, reads do not. Does not own the meaning of a call (`kv.rs`, `cluster.rs`, `maintenance.rs`).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine::error::ProposeError;
use engine::handle::Handle;
use engine::outcome::Committed;
use engine::published::Published;
use engine::status::Status as MemberStatus;
use mvcc::{Alarm, AlarmAction, AlarmChange, AlarmKind, Command, Op, Outcome, Txn, View};
use proto::etcdserverpb as pb;
use raft::Role;
use tonic::Status;

use crate::framed::Held;
use crate::header::Header;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::observer::{CallObserver, PendingProposal, PendingRequest, Request};
use crate::operations::{self, OPERATION_BYTES};
use crate::parse::Consistency;
use crate::status::Refusal;
use crate::transport::{MessageMemory, Reserved};

/// Maximum number of committed entries that are not applied yet. Above this number, commands are refused.
const UNAPPLIED_ENTRIES_MAX: u64 = 5_000;

/// Number of operations of a transaction whose memory the one of its message includes.
const UNCOUNTED_OPERATIONS: usize = 16;

/// Settings of the client port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Limits on the size of requests.
    pub limits: Limits,
    /// Maximum size of live keys and history, in bytes. Above this size, only calls that free space are admitted.
    pub quota_bytes: u64,
}

/// The parts that every call uses: the member's engine, the settings and the metrics.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub(crate) handle: Handle,
    pub(crate) settings: Settings,
    pub(crate) observer: Arc<dyn CallObserver>,
}

/// One received call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) metadata: Metadata,
    pub(super) message: Bytes,
    /// Memory of the message, until the call has its answer.
    pub(super) memory: MessageMemory,
}

impl Call {
    /// Decodes the message. Keys and values share the received bytes only until the call ends, because the log and the
    /// store copy what they keep.
    pub(super) fn decode<M: prost::Message + Default>(&self) -> Result<M, Status> {
        M::decode(self.message.clone())
            .map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))
    }

    /// Decodes a transaction, and reserves memory for its operations if there are many.
    ///
    /// # Errors
    /// Returns an error if there are too many operations, or if they do not decode. Too many are not decoded.
    pub(super) async fn decode_txn(&self) -> Result<(pb::TxnRequest, Option<Reserved>), Status> {
        let count = operations::count(&self.message).map_err(|_| Refusal::TooManyOps)?;
        let reserved = if count > UNCOUNTED_OPERATIONS {
            Some(self.memory.reserve_operations(count * OPERATION_BYTES).await?)
        } else {
            None
        };
        Ok((self.decode()?, reserved))
    }

    /// Maximum size of the answer, in bytes.
    pub(super) fn answer_bytes_max(&self) -> u64 {
        self.memory.answer_bytes_max() as u64
    }

    /// Reserves memory for an answer that keeps stored versions alive.
    ///
    /// # Errors
    /// Returns an error if there is none for some time.
    pub(super) async fn reserve_answer(&self, bytes: u64) -> Result<Held, Refusal> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let reserved = self.memory.reserve_answer(bytes).await.ok_or(Refusal::Timeout)?;
        Ok(Held { bytes, reserved: Box::new(reserved) })
    }
}

/// The members that may answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answerer {
    /// Voters and learners.
    AnyMember,
    /// Voters only.
    Voter,
}

impl CallContext {
    /// Admits a call. The checks run in the same order as in etcd, because the order decides which error a client
    /// receives if several checks fail.
    ///
    /// # Errors
    /// Returns the reason why the call is refused. The call has no effect.
    pub(super) fn admit(&self, call: &Call, answerer: Answerer) -> Result<Admitted, Refusal> {
        let status = self.handle.status();
        status.serving()?;
        if answerer == Answerer::Voter {
            refuse_on_learner(&status)?;
        }
        check_metadata(&call.metadata, &status)?;
        Ok(Admitted { status })
    }

    /// Admits a call that asks for the member's health. The member's phase does not matter.
    ///
    /// # Errors
    /// Returns the reason why the call is refused.
    pub(super) fn admit_in_any_phase(&self, call: &Call) -> Result<Admitted, Refusal> {
        let status = self.handle.status();
        refuse_on_learner(&status)?;
        check_metadata(&call.metadata, &status)?;
        Ok(Admitted { status })
    }

    /// Returns a view of the store with the requested consistency.
    ///
    /// # Errors
    /// Returns the reason why a linearizable read could not be confirmed.
    pub(super) async fn read(&self, consistency: Consistency) -> Result<Arc<Published>, Refusal> {
        match consistency {
            Consistency::Serializable => Ok(self.handle.published()),
            Consistency::Linearizable => {
                let started = Instant::now();
                match self.handle.linearizable().await {
                    Ok(published) => {
                        self.observer.read_confirmed(started.elapsed());
                        Ok(published)
                    }
                    Err(error) => {
                        self.observer.read_failed();
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// Refuses a command that would exceed the quota, and raises the alarm NOSPACE. Every member then refuses all
    /// commands that contain a put, even those that would fit, until a client clears the alarm.
    pub(super) async fn check_quota(&self, command: &Command) -> Result<(), Refusal> {
        let cost = command.cost_bytes();
        let published = self.handle.published();
        if cost == 0 || published.view.size_bytes().saturating_add(cost) < self.settings.quota_bytes {
            return Ok(());
        }
        let alarm = Alarm { kind: AlarmKind::NoSpace, member: self.handle.member().0 };
        if published.view.alarms().all(|raised| raised != alarm) {
            let raise = Command::Alarm(AlarmChange { action: AlarmAction::Activate, alarm });
            // The command is refused in any case. If the alarm could not be raised, the next such command tries to
            // raise it again.
            if let Err(error) = self.handle.propose(raise).await {
                tracing::warn!(%error, "the quota is used up, and the alarm NOSPACE could not be raised");
            }
        }
        Err(Refusal::NoSpace)
    }

    /// Proposes a command and waits for its outcome.
    ///
    /// # Errors
    /// Returns the reason why the command was refused, or that its outcome is unknown.
    pub(super) async fn commit(
        &self,
        call: &Call,
        admitted: &Admitted,
        request: Request,
        command: Command,
    ) -> Result<Outcome, Refusal> {
        let pending = PendingRequest::begin(&*self.observer, request);
        let held = call.message.len() + decoded_bytes(&command);
        let outcome = self.propose(call, admitted, self.handle.propose_holding(command, held)).await;
        pending.end(&outcome);
        outcome
    }

    /// Proposes a command as [`CallContext::commit`] does, and holds `turn` until the outcome is known, even if the client
    /// cancels the call before.
    ///
    /// # Errors
    /// Returns the reason why the command was refused, or that its outcome is unknown.
    pub(super) async fn commit_in_turn(
        &self,
        call: &Call,
        admitted: &Admitted,
        request: Request,
        command: Command,
        turn: impl Send + 'static,
    ) -> Result<Outcome, Refusal> {
        let pending = PendingRequest::begin(&*self.observer, request);
        let handle = self.handle.clone();
        let proposed = async move {
            let task = tokio::spawn(async move {
                let committed = handle.propose(command).await;
                drop(turn);
                committed
            });
            task.await.unwrap_or(Err(ProposeError::Stopping))
        };
        let outcome = self.propose(call, admitted, proposed).await;
        pending.end(&outcome);
        outcome
    }

    async fn propose(
        &self,
        call: &Call,
        admitted: &Admitted,
        proposed: impl Future<Output = Result<Committed, ProposeError>>,
    ) -> Result<Outcome, Refusal> {
        if admitted.status.commit.0 > admitted.status.applied.0.saturating_add(UNAPPLIED_ENTRIES_MAX) {
            return Err(Refusal::TooManyRequests);
        }
        self.settings.limits.check_for_log(call.message.len())?;
        let pending = PendingProposal::begin(&*self.observer);
        let committed = proposed.await?;
        pending.succeed();
        Ok(committed.result?)
    }
}

/// Status of the member at the time when a call was admitted.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) status: Arc<MemberStatus>,
}

impl Admitted {
    /// Returns the header of an answer, without a revision.
    pub(super) fn header(&self) -> Header {
        Header {
            cluster_id: self.status.cluster.map_or(0, |cluster| cluster.short()),
            member_id: self.status.member.0,
            revision: 0,
            raft_term: self.status.term.0,
        }
    }
}

/// Memory of the operations of a command, in bytes.
fn decoded_bytes(command: &Command) -> usize {
    fn operations(txn: &Txn) -> usize {
        let branches = txn.success.iter().chain(&txn.failure);
        let of = |op: &Op| if let Op::Txn(nested) = op { 1 + operations(nested) } else { 1 };
        txn.compare.len() + branches.map(of).sum::<usize>()
    }
    match command {
        Command::Txn(txn) => operations(txn) * size_of::<Op>(),
        _ => 0,
    }
}

/// Refuses a transaction that visits too many keys of a view.
pub(super) fn refuse_expensive(view: &View, txn: &Txn) -> Result<(), Refusal> {
    if view.is_too_expensive(txn) { Err(Refusal::TxnTooExpensive) } else { Ok(()) }
}

fn refuse_on_learner(status: &MemberStatus) -> Result<(), Refusal> {
    if status.role == Role::Learner { Err(Refusal::NotSupportedForLearner) } else { Ok(()) }
}

fn check_metadata(metadata: &Metadata, status: &MemberStatus) -> Result<(), Refusal> {
    if metadata.has_invalid_version {
        return Err(Refusal::InvalidClientApiVersion);
    }
    if metadata.requires_leader && status.leader.is_none() {
        return Err(Refusal::NoLeader);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use engine::status::Phase;
    use raft::MemberId;

    use super::*;

    fn member(role: Role, leader: Option<MemberId>) -> MemberStatus {
        let mut status = MemberStatus::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
        status.role = role;
        status.leader = leader;
        status
    }

    #[test]
    fn the_refusal_of_a_member_that_does_not_serve_names_its_phase() {
        for (phase, refusal) in [
            (Phase::Blank, Refusal::Blank),
            (Phase::Restoring, Refusal::Restoring),
            (Phase::Removed, Refusal::Removed),
            (Phase::Damaged, Refusal::Damaged),
            (Phase::TooNew, Refusal::TooNew),
            (Phase::Repairing, Refusal::Repairing),
        ] {
            let status = MemberStatus::idle(MemberId(1), String::new(), phase);
            assert_eq!(status.serving().map_err(Refusal::from), Err(refusal));
        }
        let learner = member(Role::Learner, None);
        assert_eq!(learner.serving().map_err(Refusal::from), Err(Refusal::Blank));
    }

    #[test]
    fn each_operation_of_a_command_counts() {
        let nested = Txn { success: vec![Op::Empty; 3], ..Txn::default() };
        let txn = Txn { failure: vec![Op::Txn(nested), Op::Empty], ..Txn::default() };
        assert_eq!(decoded_bytes(&Command::Txn(txn)), 5 * size_of::<Op>());
    }

    #[test]
    fn a_learner_refuses_calls_for_voters() {
        assert_eq!(refuse_on_learner(&member(Role::Learner, None)), Err(Refusal::NotSupportedForLearner));
        assert_eq!(refuse_on_learner(&member(Role::Follower, None)), Ok(()));
    }

    #[test]
    fn a_call_that_requires_a_leader_is_refused_without_one() {
        let without = member(Role::Follower, None);
        let required = Metadata { requires_leader: true, ..Metadata::default() };
        assert_eq!(check_metadata(&Metadata::default(), &without), Ok(()));
        assert_eq!(check_metadata(&required, &without), Err(Refusal::NoLeader));
        assert_eq!(check_metadata(&required, &member(Role::Follower, Some(MemberId(2)))), Ok(()));
    }

    #[test]
    fn a_call_of_a_client_with_an_invalid_version_is_refused() {
        let invalid = Metadata { has_invalid_version: true, ..Metadata::default() };
        let status = member(Role::Leader, Some(MemberId(1)));
        assert_eq!(check_metadata(&invalid, &status), Err(Refusal::InvalidClientApiVersion));
    }
}
