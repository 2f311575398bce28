//! Campaigns: first the pre-vote, then the vote. Owns the ballot of this member. Does not own how other members answer
//! (`election`).

use crate::ids::MemberId;
use crate::message::{Body, HardState, Message};
use crate::quorum::joint;
use crate::quorum::majority::Tally;
use crate::raft::Raft;
use crate::state::role::{Ballot, RoleState};

/// Cause of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CampaignReason {
    /// The election timeout passed, or this member won a pre-vote.
    Silence,
    /// The leader requested the campaign (Raft thesis §3.10).
    Transfer,
}

impl Raft {
    /// Starts a pre-vote: asks every voter whether a campaign could succeed. No term changes (Raft thesis §9.6).
    pub(crate) fn ask_for_campaign(&mut self) {
        self.role = RoleState::PreCandidate(Ballot::from([(self.config.id, true)]));
        let message = Message { term: self.hard.term().next(), body: Body::PreVote { last: self.log.last() } };
        for id in self.other_voters() {
            self.outbox.send(id, message.clone());
        }
        self.count_ballot();
    }

    /// Starts an election in a new term, with this member's vote for itself. Vote requests are sent only after term and
    /// vote are durable. Otherwise this member could crash and request votes twice in one term, the second time with a
    /// shorter log.
    pub(crate) fn campaign(&mut self, reason: CampaignReason) {
        assert!(self.may_campaign(), "only a voter campaigns");
        assert!(!self.is_leader(), "a leader does not campaign");
        self.timer.redraw_ballot(self.clocks.monotonic());
        self.set_leader(None);
        self.hard.set(HardState { term: self.hard.term().next(), vote: Some(self.config.id) });
        self.role = RoleState::Candidate(Ballot::new());
        let body = Body::Vote { last: self.log.last(), transfer: reason == CampaignReason::Transfer };
        let message = Message { term: self.hard.term(), body };
        let io = self.hard_state_io();
        assert!(io > self.outbox.durable(), "no vote is requested before this member's own vote is durable");
        for id in self.other_voters() {
            self.outbox.send_after(io, id, message.clone());
        }
    }

    /// Counts the candidate's own vote if the write that carries it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        let durable = self.hard_state_io() <= self.outbox.durable();
        let id = self.config.id;
        if let RoleState::Candidate(ballot) = &mut self.role
            && durable
            && ballot.insert(id, true).is_none()
        {
            self.count_ballot();
        }
    }

    /// Counts a member's answer to the pre-vote or the vote request.
    pub(crate) fn count_vote(&mut self, from: MemberId, granted: bool) {
        if let RoleState::PreCandidate(ballot) | RoleState::Candidate(ballot) = &mut self.role {
            // A granted vote stays granted, even if a late refusal follows.
            let vote = ballot.entry(from).or_insert(granted);
            *vote |= granted;
            self.count_ballot();
        }
    }

    fn count_ballot(&mut self) {
        let (ballot, is_campaign) = match &self.role {
            RoleState::PreCandidate(ballot) => (ballot, false),
            RoleState::Candidate(ballot) => (ballot, true),
            RoleState::Follower | RoleState::Leader(_) => return,
        };
        match joint::tally(self.history.latest().1.electorate(), |id| ballot.get(&id).copied()) {
            Tally::Won if is_campaign => self.lead(),
            Tally::Won => self.campaign(CampaignReason::Silence),
            Tally::Lost => self.follow(self.hard.term(), None),
            Tally::Open => {}
        }
    }

    /// Returns every other member that has a vote in the configuration in force.
    fn other_voters(&self) -> Vec<MemberId> {
        let configuration = &self.history.latest().1;
        let voters = configuration.voters.union(&configuration.outgoing);
        voters.copied().filter(|id| *id != self.config.id).collect()
    }
}
