//! The role of a member, with the data that only this role has. Owns the enum. Does not own the transitions (`role`).

use std::collections::BTreeMap;

use crate::ids::MemberId;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::state::leader::Leader;

/// Answers of voters to a pre-vote or vote request.
pub(crate) type Ballot = BTreeMap<MemberId, bool>;

/// The role of a member. A learner is a follower that may not campaign.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks other voters whether a campaign could succeed.
    PreCandidate(Ballot),
    /// Requests votes. The candidate's own vote enters the ballot when the vote is durable.
    Candidate(Ballot),
    /// Leads the term.
    Leader(Box<Leader>),
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for RoleState {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        match self {
            Self::Follower => 0.hash(into),
            Self::PreCandidate(ballot) => (1, ballot).hash(into),
            Self::Candidate(ballot) => (2, ballot).hash(into),
            Self::Leader(leader) => {
                3.hash(into);
                leader.fingerprint(present, into);
            }
        }
    }
}
