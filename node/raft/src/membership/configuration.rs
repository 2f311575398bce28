//! A configuration: both halves of the electorate, learners, and how members are reached. Owns set membership, not
//! majorities.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::MemberId;

/// How a member is known and reached. Opaque to consensus, replicated with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberInfo {
    /// Its name, such as `demo-1`.
    pub name: String,
    /// Where members reach it, such as `http://demo-1.demo-members.default.svc:2380`.
    pub peer_url: String,
    /// Where clients reach it.
    pub client_url: String,
}

/// Who takes part from one entry of the log on (Raft thesis §4.3). Always whole, never a difference, so that it is a
/// function of snapshot and log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The electorate; while joint, the incoming half.
    pub voters: BTreeSet<MemberId>,
    /// The outgoing half while joint; empty otherwise.
    pub outgoing: BTreeSet<MemberId>,
    /// Members that receive the log without a vote.
    pub learners: BTreeSet<MemberId>,
    /// Voters of the outgoing half that become learners when the joint configuration is left.
    pub learners_next: BTreeSet<MemberId>,
    /// Name and addresses of everyone in any of the sets.
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// Members that were removed, so that a survivor can tell a returning one; IDs are never reused.
    pub removed: BTreeSet<MemberId>,
}

impl Configuration {
    /// Whether both halves must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` has a vote in either half.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Everyone who takes part; some may come twice.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = MemberId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).chain(&self.learners_next).copied()
    }

    /// Whether `id` takes part at all.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }
}
