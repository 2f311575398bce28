//! Owns the execution of the core's outputs. Does not own the order of outputs (`raft`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::{DropReason, HardState, IoId, MemberId, Now, Output, ProposalId, Role, SnapshotMeta};

use super::run::{Driver, Ended, RETRY_DELAY};
use crate::apply::ApplyJob;
use crate::error::ProposeError;
use crate::level;
use crate::log_reads::ReadTarget;
use crate::log_thread::{InstalledSignal, LogJob};
use crate::slot::Slot;

impl Driver {
    pub(super) fn execute_outputs(&mut self, now: Now) {
        while let Some(output) = self.raft.next_output() {
            self.shared.observer.output(&output);
            self.execute(now, output);
        }
    }

    fn execute(&mut self, now: Now, output: Output) {
        match output {
            Output::Persist(persist) => self.log_jobs.push(LogJob::Persist(vec![persist])),
            Output::Send { to, message } => {
                let message = level::sendable(self.published.view.level(), message);
                self.sends.extend(message.map(|message| (to, message)));
            }
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(now, to, term, at_least),
            Output::InstallSnapshot { io, from, hard_state, meta } => self.install(io, from, hard_state, meta),
            Output::DiscardSnapshot { from, last } => {
                tracing::info!(%last, %from, "discarding an unused received snapshot");
                self.log_jobs.push(LogJob::Discard { last });
            }
            Output::Apply(entries) => {
                self.sent_to_apply = entries.last().map_or(self.sent_to_apply, |entry| entry.id.index);
                self.apply.push(ApplyJob::Entries(entries));
            }
            Output::ApplyStored { first, last } => {
                self.sent_to_apply = last;
                let slot = Slot::default();
                self.apply.push(ApplyJob::Stored(slot.clone()));
                let into = ReadTarget::Apply(slot);
                self.log_jobs.push(LogJob::Read { from: first, through: last, bytes: usize::MAX, into });
            }
            Output::ReadLog { to, from, through, bytes } => {
                self.log_jobs.push(LogJob::Read { from, through, bytes, into: ReadTarget::Peer(to) });
            }
            Output::ReadReady { context, index } => {
                let groups = self.rounds.confirmed(context);
                let shared = &self.shared;
                self.barrier.pass_or_wait(index, groups, || shared.published.load().applied, &mut self.replies);
            }
            Output::ReadFailed { context } => self.rounds.failed(context, now.monotonic + RETRY_DELAY),
            Output::Dropped { proposal, reason } => self.dropped(now, proposal, reason),
            Output::SnapshotDue { index } => self.snapshots.due(index),
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
            Output::VerifyRemoval => self.peers.verify_removal(),
            Output::Removed { index } => {
                tracing::warn!(%index, "removed from the cluster by a committed configuration");
                self.ended = Some(Ended::Removed(index));
            }
        }
    }

    fn install(&mut self, io: IoId, from: MemberId, hard_state: Option<HardState>, meta: SnapshotMeta) {
        tracing::info!(index = %meta.last.index, %from, "installing a snapshot");
        // The snapshot may contain commands that were proposed on this member. This member will never learn their results.
        let unanswered = self.pending.take_all();
        self.answer(unanswered, ProposeError::TimedOut);
        let installed = InstalledSignal::default();
        self.snapshots.installed(meta.last.index, self.shared.log_bytes.load(Ordering::Relaxed));
        self.sent_to_apply = meta.last.index;
        self.apply.push(ApplyJob::Install { meta: meta.clone(), installed: installed.clone() });
        self.log_jobs.push(LogJob::Install { io, from, hard_state, meta, installed });
    }

    /// Proposes dropped commands again, unless the leader lacks space. Proposing again is safe because a dropped proposal is never
    /// applied. An overloaded leader may have capacity before the commands expire: a burst is absorbed on every member.
    fn dropped(&mut self, now: Now, proposal: ProposalId, reason: DropReason) {
        let Some(batch) = self.pending.take_proposal(proposal) else { return };
        match reason {
            DropReason::NoSpace => self.refuse_for_space(now.monotonic, batch),
            DropReason::NoLeader | DropReason::LeaderChanged | DropReason::Transferring | DropReason::Overloaded => {
                self.batcher.requeue(batch, now.monotonic + RETRY_DELAY);
            }
        }
    }

    /// Proposes commands again that never left this member. This is as safe as for dropped commands.
    pub(super) fn not_sent(&mut self, now: Duration, proposal: ProposalId) {
        if let Some(batch) = self.pending.take_proposal(proposal) {
            self.batcher.requeue(batch, now + RETRY_DELAY);
        }
    }
}
