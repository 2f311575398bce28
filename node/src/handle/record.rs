//! What tells a blank member which cluster it belongs to. Owns the shapes; `member` writes them to disk, once.

use std::collections::BTreeMap;

use raft::{MemberId, MemberInfo};
pub use storage::ClusterId;

/// The immutable record of a new cluster (admin.proto `BootstrapRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapRecord {
    /// The new cluster.
    pub cluster: ClusterId,
    /// What administrative calls must carry from now on; only its SHA-256 is kept.
    pub token: String,
    /// The first voters; the receiver must be one of them.
    pub voters: BTreeMap<MemberId, MemberInfo>,
    /// The receiver's own name; must be the one among `voters`.
    pub name: String,
}

/// Which running cluster a blank member is to be added to (admin.proto `JoinRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRecord {
    /// The running cluster.
    pub cluster: ClusterId,
    /// As in [`BootstrapRecord::token`].
    pub token: String,
    /// Whom the sender takes the receiver for; must be the receiver's own ID.
    pub member: MemberId,
    /// The receiver's name and addresses.
    pub info: MemberInfo,
}
