//! The leader of the current term, as far as this member knows it, and how long the member must trust that leader. Owns
//! both values. Does not own when a message proves its sender's leadership (`role/follower.rs`).

use std::time::Duration;

use crate::ids::MemberId;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// The leader that this member knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownLeader {
    /// Leader of the current term, if known.
    id: Option<MemberId>,
    /// Until this time, only a successor that the leader chose can receive this member's vote. A newer term does not
    /// shorten this time, because the leader's lease may still be valid.
    trusted_until: Duration,
}

impl KnownLeader {
    pub(crate) fn unknown(trusted_until: Duration) -> Self {
        Self { id: None, trusted_until }
    }

    pub(crate) fn id(&self) -> Option<MemberId> {
        self.id
    }

    pub(crate) fn is(&self, member: MemberId) -> bool {
        self.id == Some(member)
    }

    pub(crate) fn is_known(&self) -> bool {
        self.id.is_some()
    }

    pub(crate) fn is_trusted(&self, now: Duration) -> bool {
        now < self.trusted_until
    }

    pub(crate) fn set(&mut self, id: Option<MemberId>) {
        self.id = id;
    }

    pub(crate) fn trust_until(&mut self, at: Duration) {
        assert!(self.id.is_some(), "only a known leader is trusted");
        assert!(at >= self.trusted_until, "a message from a leader never shortens the trust in it");
        self.trusted_until = at;
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for KnownLeader {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { id, trusted_until } = self;
        (id, present.wait(*trusted_until)).hash(into);
    }
}
