//! One arm per output of the core. Owns no decision: what must wait for what is the core's to say.

use raft::{DropReason, Now, Output, ProposalId, Role};

use super::run::{Driver, Ended, RETRY};
use crate::apply::ApplyJob;
use crate::error::ProposeError;
use crate::log_thread::{InstalledSignal, LogJob};

impl Driver {
    pub(super) fn perform_outputs(&mut self, now: Now) {
        while let Some(output) = self.raft.next_output() {
            self.shared.observer.output(&output);
            self.perform(now, output);
        }
    }

    fn perform(&mut self, now: Now, output: Output) {
        match output {
            Output::Persist(persist) => self.log_jobs.push(LogJob::Persist(vec![persist])),
            Output::Send { to, message } => self.sends.push((to, message)),
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(now, to, term, at_least),
            Output::InstallSnapshot { io, from, hard_state, meta } => {
                tracing::info!(index = %meta.last.index, %from, "installing a snapshot");
                // The snapshot may hold what was proposed here, and nobody will see it applied.
                let unseen = self.pending.take_all();
                self.answer(unseen, ProposeError::TimedOut);
                let installed = InstalledSignal::default();
                self.snapshotting.installed(meta.last.index);
                self.handed = meta.last.index;
                self.apply.push(ApplyJob::Install { meta: meta.clone(), installed: installed.clone() });
                self.log_jobs.push(LogJob::Install { io, from, hard_state, meta, installed });
            }
            Output::DiscardSnapshot { from, last } => {
                tracing::info!(%last, %from, "a received snapshot is of no use");
                self.log_jobs.push(LogJob::Discard { last });
            }
            Output::Apply(entries) => {
                self.handed = entries.last().map_or(self.handed, |entry| entry.id.index);
                self.apply.push(ApplyJob::Entries(entries));
            }
            Output::ReadReady { context, index } => {
                let groups = self.rounds.confirmed(context);
                let shared = &self.shared;
                self.barrier.pass_or_wait(index, groups, || shared.published.load().applied, &mut self.replies);
            }
            Output::ReadFailed { context } => self.rounds.failed(context, now.monotonic + RETRY),
            Output::Dropped { proposal, reason } => self.dropped(now, proposal, reason),
            Output::SnapshotDue { index } => self.snapshotting.due(index),
            Output::Changed(state) => {
                tracing::info!(
                    role = ?state.role,
                    leader = state.leader.map(tracing::field::display),
                    term = %state.term,
                    "role, leader or term changed"
                );
                if state.leader.is_some() && state.leader != self.leader {
                    self.shared.observer.leader_changed();
                }
                if state.role == Role::Candidate {
                    self.shared.observer.election_started();
                }
                self.leader = state.leader;
                self.pending.stop_counting();
                self.batcher.retry_now();
                self.rounds.retry_now();
            }
            Output::Removed { index } => {
                tracing::warn!(%index, "removed from the cluster by a committed configuration");
                self.ended = Some(Ended::Removed(index));
            }
        }
    }

    /// It has not happened and will not, so it may be tried again, but for a leader that has too much to do.
    fn dropped(&mut self, now: Now, proposal: ProposalId, reason: DropReason) {
        let Some(batch) = self.pending.take_named(proposal) else { return };
        if reason == DropReason::Overloaded {
            self.answer(vec![batch], ProposeError::Overloaded);
            return;
        }
        self.batcher.give_back(batch, now.monotonic + RETRY);
    }
}
