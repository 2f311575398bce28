//! Proposals: how they enter the log of this member or of its leader. Owns refusals, forwarding, and the outcome of
//! this member's own proposals. Does not own the memory of forwarded proposals (`state/seen.rs`).

use crate::ids::{Index, MemberId, ProposalId};
use crate::message::{Body, DropReason, Message, Payload};
use crate::output::Output;
use crate::raft::Raft;
use crate::state::role::RoleState;

/// Proposals, each with the ID that its proposer chose.
type Proposals = Vec<(ProposalId, Payload)>;

/// Reason why proposals were refused immediately; none of them entered the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeRefusal {
    /// This member knows no leader.
    #[error("no leader")]
    NoLeader,
    /// A leadership transfer is in progress.
    #[error("leadership is being transferred")]
    Transferring,
    /// Too many bytes are proposed and not yet committed, or not yet on this member's disk.
    #[error("too many proposals are not committed yet")]
    Overloaded,
    /// No quorum of voters has space for the proposals.
    #[error("no quorum of voters has enough disk space")]
    NoSpace,
    /// A driver cannot propose no-ops and configurations, because only the core creates them.
    #[error("no-ops and configurations cannot be proposed")]
    Reserved,
}

impl Raft {
    pub(crate) fn start_proposals(&mut self, proposals: Proposals) -> Result<(), ProposeRefusal> {
        if proposals.iter().any(|(_, payload)| is_reserved(payload)) {
            return Err(ProposeRefusal::Reserved);
        }
        if !self.is_leader() {
            let Some(leader) = self.leader.id() else { return Err(ProposeRefusal::NoLeader) };
            if !proposals.is_empty() {
                self.outbox.send(leader, Message { term: self.hard.term(), body: Body::Propose { proposals } });
            }
            return Ok(());
        }
        let is_too_much = proposals.iter().any(|(_, payload)| self.lacks_space_for(payload));
        match self.refusal(&proposals).or(is_too_much.then_some(DropReason::NoSpace)) {
            Some(DropReason::Transferring) => Err(ProposeRefusal::Transferring),
            Some(DropReason::NoSpace) => Err(ProposeRefusal::NoSpace),
            Some(_) => Err(ProposeRefusal::Overloaded),
            None => {
                for (proposal, payload) in proposals {
                    let index = self.append(payload);
                    assert!(index > self.log.commit(), "a proposal is not committed when it enters the log");
                    self.open.insert(index, self.hard.term(), proposal);
                }
                Ok(())
            }
        }
    }

    /// Handles proposals that another member forwarded. Each ID is handled at most once in a term. Otherwise a
    /// duplicate could be applied twice, or enter the log after the original was refused.
    pub(crate) fn on_propose(&mut self, from: MemberId, mut proposals: Proposals) {
        let term = self.hard.term();
        let is_stranger = !self.history.latest().1.contains(from);
        if self.seen.is_blind(term) || (is_stranger && self.seen.has_no_place_for(term, from)) {
            return;
        }
        proposals.retain(|(proposal, payload)| !is_reserved(payload) && self.seen.is_new(term, from, *proposal));
        if proposals.is_empty() {
            return;
        }
        let refusal = if self.is_leader() { self.refusal(&proposals) } else { Some(DropReason::LeaderChanged) };
        if let Some(reason) = refusal {
            self.refuse(from, proposals, reason);
            return;
        }
        let without_space = proposals.extract_if(.., |(_, payload)| self.lacks_space_for(payload)).collect();
        self.refuse(from, without_space, DropReason::NoSpace);
        for (_, payload) in proposals {
            self.append(payload);
        }
    }

    /// Answers the member that forwarded these proposals. None of them entered the log.
    fn refuse(&mut self, from: MemberId, proposals: Proposals, reason: DropReason) {
        let proposals: Vec<ProposalId> = proposals.into_iter().map(|(proposal, _)| proposal).collect();
        if !proposals.is_empty() {
            let term = self.hard.term();
            self.outbox.send(from, Message { term, body: Body::ProposeRefused { proposals, reason } });
        }
    }

    /// Handles the leader's refusal of forwarded proposals.
    pub(crate) fn on_propose_refused(&mut self, proposals: Vec<ProposalId>, reason: DropReason) {
        for proposal in proposals {
            self.outbox.push(Output::Dropped { proposal, reason });
        }
    }

    /// Returns the reason why the leader refuses all of these proposals now; `None` if it accepts them.
    fn refusal(&self, proposals: &[(ProposalId, Payload)]) -> Option<DropReason> {
        let RoleState::Leader(leader) = &self.role else { return Some(DropReason::NoLeader) };
        if leader.is_transferring() || leader.is_retiring() {
            return Some(DropReason::Transferring);
        }
        let bytes: usize = proposals.iter().map(|(_, payload)| payload.len()).sum();
        let unsettled = self.log.unsettled_bytes();
        let is_idle = unsettled == 0;
        let fits = unsettled.saturating_add(bytes as u64) <= self.config.limits.unsettled_bytes as u64;
        (!is_idle && !fits).then_some(DropReason::Overloaded)
    }

    /// Settles this member's own proposals up to `index`, because the log is committed up to `index`. Their outcome is
    /// not known earlier: another log may still hold an entry that was truncated here, and that entry may be committed
    /// (Raft thesis figure 3.7).
    pub(crate) fn settle_proposals(&mut self, index: Index) {
        while let Some((at, term, proposal)) = self.open.take_through(index) {
            assert!(at <= self.log.commit(), "only a committed log settles a proposal");
            if self.log.term_at(at).is_some_and(|decided| decided != term) {
                self.outbox.push(Output::Dropped { proposal, reason: DropReason::LeaderChanged });
            }
        }
    }
}

/// Returns whether only the core may create entries with this payload.
fn is_reserved(payload: &Payload) -> bool {
    matches!(payload, Payload::Noop | Payload::Configuration(_))
}
