//! The configuration of a cluster: electorates, learners, and the addresses of members. Owns which members each set
//! contains. Does not own majorities (`quorum`) or which changes are legal (`membership`).

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::MemberId;
use crate::quorum::joint::Electorate;

/// Name and addresses of a member. They are replicated as part of the configuration; the core does not interpret them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberInfo {
    /// Name of the member, such as `demo-1`.
    pub name: String,
    /// URL at which other members reach this member, such as `http://demo-1.demo-members.default.svc:2380`.
    pub peer_url: String,
    /// URL at which clients reach this member.
    pub client_url: String,
}

/// The members of the cluster from one log entry on (Raft thesis §4.3). A configuration is always complete, never a
/// difference from an earlier one. The configuration in force therefore depends only on snapshot and log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// Voters; in a joint configuration, those of the incoming electorate.
    pub voters: BTreeSet<MemberId>,
    /// Voters of the outgoing electorate; empty unless the configuration is joint.
    pub outgoing: BTreeSet<MemberId>,
    /// Members that receive the log but have no vote.
    pub learners: BTreeSet<MemberId>,
    /// Voters of the outgoing electorate that become learners when the joint configuration is left.
    pub learners_next: BTreeSet<MemberId>,
    /// Name and addresses of every member in the sets above.
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// IDs of all members that were ever removed. IDs are never reused, and a change that adds a removed member is
    /// refused.
    pub removed: BTreeSet<MemberId>,
}

impl Configuration {
    /// Returns whether the configuration is joint. Decisions then need a majority of each electorate.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Returns whether `id` has a vote in either electorate.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Returns whether `id` is a voter or a learner, or becomes a learner when the joint configuration is left.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }

    /// Returns every member. A member that is in two sets is returned twice.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = MemberId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).chain(&self.learners_next).copied()
    }

    /// Returns the electorates whose majorities decide.
    pub(crate) fn electorate(&self) -> Electorate<'_> {
        Electorate { incoming: &self.voters, outgoing: &self.outgoing }
    }
}
