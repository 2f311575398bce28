//! Identity of a volume: member, cluster and tombstone. Owns these values, and the rule that each value is written once. Does not
//! own the file that holds them (`identity_file.rs`).

use std::fmt;

use raft::{Configuration, Index, MemberId, MemberInfo};

/// ID of a cluster: 128 random bits, never used for another cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Parses 32 hexadecimal digits. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// The first 64 bits of the ID as a number, because the cluster ID in etcd's response header has 64 bits.
    #[must_use]
    pub fn short(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The cluster of a member, and the settings with which the member joined the cluster. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// ID of the cluster.
    pub cluster_id: ClusterId,
    /// SHA-256 of the token that the operator presents. The token itself is not stored.
    pub token_sha256: [u8; 32],
    /// Name and URLs of this member.
    pub own: MemberInfo,
    /// Configuration in force before the log's first configuration. Empty for a member that is to be added to a running cluster.
    pub first_configuration: Configuration,
}

/// Identity of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The member, unchanged for the life of the volume.
    pub member: MemberId,
    /// The member's cluster; `None` while the volume is blank.
    pub cluster: Option<ClusterIdentity>,
    /// Index of the committed configuration that removed the member. A removed member never takes part again.
    pub removed: Option<Index>,
}

impl Identity {
    /// Creates the identity of a volume that belongs to no cluster yet.
    ///
    /// # Panics
    /// Panics if the ID is 0, because 0 stands for "no member" in every format.
    pub(crate) fn blank(member: MemberId) -> Self {
        assert_ne!(member, MemberId(0), "a member ID is never 0: 0 stands for no member");
        Self { member, cluster: None, removed: None }
    }

    /// Returns whether the volume holds the data of a member that joined a cluster and was not removed.
    pub(crate) fn has_data(&self) -> bool {
        self.cluster.is_some() && self.removed.is_none()
    }

    /// Asserts that no part of the identity that was set in `old` has changed.
    pub(crate) fn identity_is_written_once(&self, old: &Self) {
        assert_eq!(self.member, old.member, "the member ID of a volume never changes");
        assert!(old.cluster.is_none() || self.cluster == old.cluster, "the cluster of a volume never changes");
        assert!(old.removed.is_none() || self.removed == old.removed, "a tombstone never changes");
        assert!(self.removed.is_none() || self.cluster.is_some(), "only a member of a cluster is removed from one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined() -> Identity {
        let record = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [9; 32],
            own: MemberInfo::default(),
            first_configuration: Configuration::default(),
        };
        Identity { cluster: Some(record), ..Identity::blank(MemberId(5)) }
    }

    #[test]
    fn a_volume_joins_and_is_removed_once() {
        joined().identity_is_written_once(&Identity::blank(MemberId(5)));
        let removed = Identity { removed: Some(Index(3)), ..joined() };
        removed.identity_is_written_once(&joined());
        removed.identity_is_written_once(&removed);
    }

    #[test]
    #[should_panic(expected = "the member ID of a volume never changes")]
    fn a_planted_change_of_the_member_is_caught() {
        Identity::blank(MemberId(6)).identity_is_written_once(&Identity::blank(MemberId(5)));
    }

    #[test]
    #[should_panic(expected = "the cluster of a volume never changes")]
    fn a_planted_change_of_the_cluster_is_caught() {
        Identity::blank(MemberId(5)).identity_is_written_once(&joined());
    }

    #[test]
    #[should_panic(expected = "a tombstone never changes")]
    fn a_planted_return_of_a_removed_member_is_caught() {
        joined().identity_is_written_once(&Identity { removed: Some(Index(3)), ..joined() });
    }

    #[test]
    #[should_panic(expected = "a member ID is never 0")]
    fn a_planted_member_without_an_id_is_caught() {
        Identity::blank(MemberId(0));
    }
}
