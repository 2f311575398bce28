//! The configuration that a change of the membership asks for. Owns its parameters. Does not own whether it may be
//! requested (`membership/safety.rs`).

use crate::ids::MemberId;
use crate::observed::member::MemberInfo;

/// A requested configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index of the configuration from which this change was computed.
    pub expected: u64,
    /// Number of voters in that configuration.
    pub present_voters: usize,
    /// The voters.
    pub voters: Vec<MemberId>,
    /// The learners.
    pub learners: Vec<MemberId>,
    /// Names and addresses of the voters and learners.
    pub members: Vec<(MemberId, MemberInfo)>,
}
