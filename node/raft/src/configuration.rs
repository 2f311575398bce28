//! The configuration of a cluster: electorates, learners, and the addresses of members. Owns set membership. Does not
//! own majorities (`quorum`) or which changes are legal (`membership`).

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::MemberId;
use crate::quorum::joint::Electorate;

/// Name and addresses of a member. Replicated with the configuration, not interpreted by the core.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberInfo {
    /// Name of the member, such as `demo-1`.
    pub name: String,
    /// URL for other members, such as `http://demo-1.demo-members.default.svc:2380`.
    pub peer_url: String,
    /// URL for clients.
    pub client_url: String,
}

/// The members that take part from one entry of the log on (Raft thesis §4.3). Always complete, never a difference to
/// an earlier one, so that the configuration in force is a function of snapshot and log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// Voters; in a joint configuration, those of the incoming electorate.
    pub voters: BTreeSet<MemberId>,
    /// Voters of the outgoing electorate; empty unless the configuration is joint.
    pub outgoing: BTreeSet<MemberId>,
    /// Members that receive the log and have no vote.
    pub learners: BTreeSet<MemberId>,
    /// Voters of the outgoing electorate that become learners when the joint configuration is left.
    pub learners_next: BTreeSet<MemberId>,
    /// Name and addresses of every member in the sets above.
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// IDs of all members that were ever removed. They are never reused, and a removed member that returns is refused.
    pub removed: BTreeSet<MemberId>,
}

impl Configuration {
    /// Whether decisions need a majority of both electorates.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` has a vote in either electorate.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` is a voter or learner, now or after the joint configuration.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }

    /// Every member; a member in two sets comes twice.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = MemberId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).chain(&self.learners_next).copied()
    }

    /// The voters that decide.
    pub(crate) fn electorate(&self) -> Electorate<'_> {
        Electorate { incoming: &self.voters, outgoing: &self.outgoing }
    }
}
