//! Owns the execution of administrative calls and the answers to them. Does not own the rules for a change or a transfer
//! (`raft`).

use std::collections::BTreeMap;
use std::time::Duration;

use mvcc::FeatureLevel;
use raft::{Change, Index, MemberId, Now};
use tokio::sync::oneshot;

use super::calls::{PendingChange, PendingTransfer};
use super::run::Driver;
use crate::error::{ChangeError, TransferError};
use crate::event::{Configurations, Control};
use crate::log_reads::{LeaderLog, ReadTarget};
use crate::log_thread::LogJob;

/// Time within which a membership change must commit.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a transfer call waits for the new leader, in addition to one election timeout. The call waits longer
/// than the core's transfer timeout, because the target may still win its election after the core has aborted the
/// transfer.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

impl Driver {
    pub(super) fn control(&mut self, now: Now, control: Control) {
        match control {
            Control::Change { reply, .. } if self.controls.are_full() => drop(reply.send(Err(ChangeError::Overloaded))),
            Control::Transfer { reply, .. } if self.controls.are_full() => {
                drop(reply.send(Err(TransferError::Overloaded)));
            }
            Control::Change { change, supports, reply } => self.change(now, change, &supports, reply),
            Control::RaiseLevel { to, reply } => self.raise_level(now, to, reply),
            Control::Transfer { target, reply } => match self.raft.transfer(now, target) {
                // The target is this member, which already leads, so there is nothing to wait for.
                Ok(target) if target == self.shared.member => drop(reply.send(Ok(target))),
                Ok(target) => {
                    tracing::info!(%target, "transferring leadership");
                    let deadline = now.monotonic + TRANSFER_TIMEOUT + self.election_timeout;
                    self.controls.transfers.push(PendingTransfer { deadline, reply });
                }
                Err(refusal) => drop(reply.send(Err(refusal.into()))),
            },
            Control::Configuration { reply } => drop(reply.send(self.configurations())),
            Control::LeaderLog { after, reply } => drop(reply.send(self.leader_log(after))),
            Control::ReadLog { from, through, bytes, reply } => {
                let into = ReadTarget::Caller(reply);
                self.log_jobs.push(LogJob::Read { from, through, bytes, into });
            }
        }
    }

    fn change(
        &mut self,
        now: Now,
        change: Change,
        supports: &BTreeMap<MemberId, FeatureLevel>,
        reply: oneshot::Sender<Result<Index, ChangeError>>,
    ) {
        let checked = self.check_newcomers(&change, supports);
        match checked.and_then(|()| Ok(self.raft.change(now, change)?)) {
            Ok(index) => self.controls.changes.push(PendingChange {
                index,
                term: self.raft.soft_state().term,
                deadline: now.monotonic + CHANGE_TIMEOUT,
                reply,
            }),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn configurations(&mut self) -> Result<Configurations, Option<MemberId>> {
        if !self.leads() {
            return Err(self.raft.soft_state().leader);
        }
        self.configurations.refresh(&self.raft);
        Ok(Configurations {
            committed: self.configurations.committed.clone(),
            in_force: self.configurations.in_force.clone(),
            term: self.raft.soft_state().term,
        })
    }

    fn leader_log(&self, after: Index) -> Result<LeaderLog, Option<MemberId>> {
        let state = self.raft.soft_state();
        if !self.leads() {
            return Err(state.leader);
        }
        let payload_bytes = self.raft.payload_bytes_after(after);
        Ok(LeaderLog { term: state.term, last: self.raft.last(), payload_bytes })
    }

    /// Answers the calls whose outcome is known, and the calls that have timed out.
    pub(super) fn answer_controls(&mut self, now: Now) {
        self.answer_raise(now);
        let state = self.raft.soft_state();
        let commit = self.raft.commit();
        for change in self.controls.changes.extract_if(.., |change| {
            commit >= change.index || state.term != change.term || change.deadline <= now.monotonic
        }) {
            // If the term has changed, another leader may have overwritten the change. The committed entry at this
            // index may then be another one.
            let same_term = state.term == change.term;
            let outcome = if same_term && commit >= change.index {
                Ok(change.index)
            } else {
                Err(ChangeError::Unknown { index: change.index })
            };
            drop(change.reply.send(outcome));
        }
        let successor = state.leader.filter(|leader| *leader != self.shared.member);
        for transfer in
            self.controls.transfers.extract_if(.., |transfer| successor.is_some() || transfer.deadline <= now.monotonic)
        {
            drop(transfer.reply.send(successor.ok_or(TransferError::TimedOut)));
        }
    }
}
