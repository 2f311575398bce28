//! What tells a blank member which cluster it belongs to. Owns the shapes; `member` writes them to disk, once.

use std::collections::BTreeMap;
use std::fmt;

use raft::{MemberId, MemberInfo};

/// A cluster, for ever: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Reads 32 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// The first 64 bits: what etcd's response header carries.
    #[must_use]
    pub fn short(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
