//! Followers, with or without a vote. Owns the return to the follower role, the trust in a leader, and the reaction
//! when the leader is silent.

use std::time::Duration;

use crate::ids::{MemberId, Term};
use crate::message::HardState;
use crate::raft::Raft;
use crate::role::candidate::CampaignReason;
use crate::state::role::RoleState;

impl Raft {
    /// Becomes a follower in this term or in a newer one.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<MemberId>) {
        assert!(term >= self.hard.term(), "the term never falls: {term} after {}", self.hard.term());
        if term > self.hard.term() {
            self.hard.set(HardState { term, vote: None });
        }
        if let RoleState::Leader(leader) = std::mem::replace(&mut self.role, RoleState::Follower) {
            self.fail_confirmations(*leader);
            self.wait_for_leader();
        }
        self.set_leader(leader);
    }

    /// Records that `from` sent a message as the leader of this term. Returns false if the message is invalid, because
    /// this member itself leads this term or already follows another leader in it.
    pub(crate) fn accept_leader(&mut self, from: MemberId) -> bool {
        match &self.role {
            RoleState::Leader(_) => return false,
            RoleState::Follower if self.leader.is(from) => {}
            RoleState::Follower if self.leader.is_known() => return false,
            _ => self.follow(self.hard.term(), Some(from)),
        }
        self.forget_removal_hint();
        self.wait_for_leader();
        self.leader.trust_until(self.clocks.monotonic().saturating_add(self.config.election_timeout));
        true
    }

    /// Returns whether this member received a message from a leader within the shortest election timeout. If so, no
    /// other member should be elected (Raft thesis §4.2.3). Nothing that this member learns ends the trust early,
    /// because the leader's lease relies on the trust. A leader trusts itself; check-quorum makes it step down if no
    /// quorum answers.
    pub(crate) fn trusts_leader(&self) -> bool {
        match self.role {
            RoleState::Leader(_) => true,
            _ => self.leader.is_trusted(self.clocks.monotonic()),
        }
    }

    /// Reacts when the election timeout has passed without a message from a leader, or when an election took too long.
    pub(crate) fn on_silence(&mut self) {
        self.timer.begin_campaign(self.clocks.monotonic());
        self.follow(self.hard.term(), None);
        if !self.may_campaign() || self.disk_is_stalled() || self.leaves_campaign_to_others() {
            return;
        }
        if self.config.pre_vote {
            self.ask_for_campaign();
        } else {
            self.campaign(CampaignReason::Silence);
        }
    }

    /// Returns the time at which a follower or candidate stops waiting. At that time, a member that is not allowed to
    /// campaign forgets its leader and does nothing else.
    pub(crate) fn silence_ends_at(&self) -> Duration {
        let waits = !self.is_removed() && (self.leader.is_known() || self.may_campaign());
        if waits { self.timer.due() } else { Duration::MAX }
    }

    /// Returns whether this member may become leader now.
    pub(crate) fn may_campaign(&self) -> bool {
        self.has_vote() && !self.removal.is_suspected()
    }

    /// Returns whether this member has a vote in the committed configuration or in a later one. A voter that the latest
    /// configuration does not contain must still campaign while that configuration is not committed (Raft thesis
    /// §4.2.2).
    pub(crate) fn has_vote(&self) -> bool {
        let id = self.config.id;
        !self.is_removed() && self.history.since(self.log.commit()).any(|configuration| configuration.is_voter(id))
    }

    /// Sets the known leader of the term. If the leader changes, reads that were forwarded to the previous leader fail.
    pub(crate) fn set_leader(&mut self, leader: Option<MemberId>) {
        if self.leader.id() != leader {
            self.leader.set(leader);
            self.fail_forwarded_reads();
        }
    }
}
