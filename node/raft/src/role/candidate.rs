//! Campaigning: first the question whether it could succeed, then the vote. Owns the ballots of this member.

use crate::ids::MemberId;
use crate::message::{Body, HardState, Message};
use crate::quorum::joint;
use crate::quorum::majority::Tally;
use crate::raft::Raft;
use crate::role::{Ballot, Standing};

/// Why a campaign starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No leader was heard, or a pre-vote said that it could succeed.
    Silence,
    /// The leader asked for it (Raft thesis §3.10).
    Transfer,
}

impl Raft {
    /// Asks everyone whether a campaign could succeed; no term moves (Raft thesis §9.6).
    pub(crate) fn ask_for_campaign(&mut self) {
        self.standing = Standing::PreCandidate(Ballot::from([(self.config.id, true)]));
        let message = Message { term: self.hard.term.next(), body: Body::PreVote { last: self.log.last() } };
        for id in self.other_voters() {
            self.outbox.send(id, message.clone());
        }
        self.count_ballot();
    }

    /// Starts the election: a new term, the own vote. Nothing leaves before both are durable, or a crash could let this
    /// member ask twice in one term, the second time with a shorter log.
    pub(crate) fn campaign(&mut self, reason: Reason) {
        assert!(self.may_campaign(), "only who has a vote campaigns");
        assert!(!self.is_leader(), "a leader does not campaign");
        self.timeout.redraw_ballot(self.now.monotonic);
        self.set_leader(None);
        self.set_hard_state(HardState { term: self.hard.term.next(), vote: Some(self.config.id) });
        self.standing = Standing::Candidate(Ballot::new());
        let body = Body::Vote { last: self.log.last(), transfer: reason == Reason::Transfer };
        let message = Message { term: self.hard.term, body };
        let io = self.hard_state_io();
        assert!(io > self.outbox.durable(), "nobody is asked before the own vote is durable");
        for id in self.other_voters() {
            self.outbox.send_after(io, id, message.clone());
        }
    }

    /// A write became durable; when it was the candidate's own vote, that counts now.
    pub(crate) fn count_own_vote(&mut self) {
        let durable = self.hard_state_io() <= self.outbox.durable();
        let id = self.config.id;
        if let Standing::Candidate(ballot) = &mut self.standing
            && durable
            && ballot.insert(id, true).is_none()
        {
            self.count_ballot();
        }
    }

    /// Someone answered.
    pub(crate) fn count_voice(&mut self, from: MemberId, granted: bool) {
        if let Standing::PreCandidate(ballot) | Standing::Candidate(ballot) = &mut self.standing {
            // A yes stays a yes, whatever late message follows.
            let voice = ballot.entry(from).or_insert(granted);
            *voice |= granted;
            self.count_ballot();
        }
    }

    fn count_ballot(&mut self) {
        let (ballot, is_campaign) = match &self.standing {
            Standing::PreCandidate(ballot) => (ballot, false),
            Standing::Candidate(ballot) => (ballot, true),
            Standing::Follower | Standing::Leader(_) => return,
        };
        match joint::tally(&self.history.latest().1, |id| ballot.get(&id).copied()) {
            Tally::Won if is_campaign => self.lead(),
            Tally::Won => self.campaign(Reason::Silence),
            Tally::Lost => self.follow(self.hard.term, None),
            Tally::Open => {}
        }
    }

    /// Everyone but this member who has a vote in the configuration in force.
    fn other_voters(&self) -> Vec<MemberId> {
        let configuration = &self.history.latest().1;
        let voters = configuration.voters.union(&configuration.outgoing);
        voters.copied().filter(|id| *id != self.config.id).collect()
    }
}
