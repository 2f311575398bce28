//! Following, with or without a vote. Owns the step back to follower and what a word from the leader means for time-outs.

use crate::ids::{MemberId, Term};
use crate::message::HardState;
use crate::raft::Raft;
use crate::role::Standing;
use crate::role::candidate::Reason;

impl Raft {
    /// Steps back to follower, in this term or a newer one.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<MemberId>) {
        assert!(term >= self.hard.term, "the term never falls: {term} after {}", self.hard.term);
        if term > self.hard.term {
            self.set_hard_state(HardState { term, vote: None });
        }
        if let Standing::Leader(leader) = std::mem::replace(&mut self.standing, Standing::Follower) {
            self.fail_confirmations(*leader);
            self.wait_anew();
        }
        self.set_leader(leader);
    }

    /// A message of this term came from `from` as its leader. False if that cannot be: this member, or another, leads.
    pub(crate) fn hear_leader(&mut self, from: MemberId) -> bool {
        match &self.standing {
            Standing::Leader(_) => return false,
            Standing::Follower if self.leader == Some(from) => {}
            Standing::Follower if self.leader.is_some() => return false,
            _ => self.follow(self.hard.term, Some(from)),
        }
        self.wait_anew();
        self.trusts_until = self.now.monotonic.saturating_add(self.config.election_timeout);
        true
    }

    /// Whether a leader was heard so lately that no other should be elected: within the shortest election timeout (Raft
    /// thesis §4.2.3). A matter of time alone, so that a lease holds whatever else is learnt. Whoever leads trusts itself;
    /// should it hear from nobody, check-quorum ends that.
    pub(crate) fn trusts_leader(&self) -> bool {
        match self.standing {
            Standing::Leader(_) => true,
            _ => self.now.monotonic < self.trusts_until,
        }
    }

    /// The silence, or the ballot, was too long.
    pub(crate) fn on_silence(&mut self) {
        self.timeout.begin_campaign(self.now.monotonic);
        self.follow(self.hard.term, None);
        if !self.may_campaign() || self.disk_is_stalled() {
            return;
        }
        if self.config.pre_vote {
            self.ask_for_campaign();
        } else {
            self.campaign(Reason::Silence);
        }
    }

    /// Whether this member may become leader: it has a vote in the committed configuration or in a later one. One that the
    /// latest leaves out must still campaign, as long as that one is not committed (Raft thesis §4.2.2).
    pub(crate) fn may_campaign(&self) -> bool {
        let id = self.config.id;
        !self.removed && self.history.since(self.log.commit()).any(|configuration| configuration.is_voter(id))
    }

    pub(crate) fn set_leader(&mut self, leader: Option<MemberId>) {
        if self.leader != leader {
            self.leader = leader;
            self.fail_forwarded_reads();
        }
    }
}
