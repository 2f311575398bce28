//! What the doors asked of the core and wait for. Owns the waiting; whether a change or transfer is legal is the core's.

use std::time::Duration;

use raft::{Change, Index, MemberId, Now};
use tokio::sync::oneshot;

use super::calls::{Changing, Transferring};
use super::run::Driver;
use crate::error::{ChangeError, TransferError};
use crate::event::{Configurations, Control};

/// How long a door waits for a change to commit.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for another leader, besides the election timeout in which the core gives a transfer up.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(3);

impl Driver {
    pub(super) fn control(&mut self, now: Now, control: Control) {
        match control {
            Control::Change { change, reply } => self.change(now, change, reply),
            Control::Transfer { target, reply } => match self.raft.transfer(now, target) {
                // Nothing changes, so nothing is waited for.
                Ok(target) if target == self.shared.member => drop(reply.send(Ok(target))),
                Ok(target) => {
                    tracing::info!(%target, "handing leadership over");
                    let deadline = now.monotonic + TRANSFER_PATIENCE + self.election_timeout;
                    self.controls.transferring.push(Transferring { deadline, reply });
                }
                Err(refusal) => drop(reply.send(Err(refusal.into()))),
            },
            Control::Configuration { reply } => drop(reply.send(self.configurations())),
        }
    }

    fn change(&mut self, now: Now, change: Change, reply: oneshot::Sender<Result<Index, ChangeError>>) {
        match self.raft.change(now, change) {
            Ok(index) => self.controls.changing.push(Changing {
                index,
                term: self.raft.soft_state().term,
                deadline: now.monotonic + CHANGE_PATIENCE,
                reply,
            }),
            Err(refusal) => drop(reply.send(Err(refusal.into()))),
        }
    }

    fn configurations(&mut self) -> Result<Configurations, Option<MemberId>> {
        if !self.leads() {
            return Err(self.raft.soft_state().leader);
        }
        self.known.refresh(&self.raft);
        Ok(Configurations {
            committed: self.known.committed.clone(),
            in_force: self.known.in_force.clone(),
            term: self.raft.soft_state().term,
        })
    }

    /// Answers whoever's wait is over.
    pub(super) fn follow_controls(&mut self, now: Now) {
        let state = self.raft.soft_state();
        let commit = self.raft.commit();
        for changing in self.controls.changing.extract_if(.., |changing| {
            commit >= changing.index || state.term != changing.term || changing.deadline <= now.monotonic
        }) {
            // In another term the entry may have been overwritten before that index was committed.
            let same_term = state.term == changing.term;
            let outcome = if same_term && commit >= changing.index {
                Ok(changing.index)
            } else {
                Err(ChangeError::Unknown { index: changing.index })
            };
            drop(changing.reply.send(outcome));
        }
        let successor = state.leader.filter(|leader| *leader != self.shared.member);
        for transferring in self
            .controls
            .transferring
            .extract_if(.., |transferring| successor.is_some() || transferring.deadline <= now.monotonic)
        {
            drop(transferring.reply.send(successor.ok_or(TransferError::TimedOut)));
        }
    }
}
