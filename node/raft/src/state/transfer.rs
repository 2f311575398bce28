//! A leadership transfer in progress. Owns its target, its deadline, and whether TimeoutNow was sent. Does not own the
//! steps of a transfer (`election/transfer.rs`).

use std::time::Duration;

use crate::ids::MemberId;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// A leadership transfer in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeadershipTransfer {
    target: MemberId,
    give_up: Duration,
    timeout_now_sent: bool,
}

impl LeadershipTransfer {
    pub(crate) fn new(target: MemberId, give_up: Duration) -> Self {
        Self { target, give_up, timeout_now_sent: false }
    }

    /// Returns the member to which leadership is transferred.
    pub(crate) fn target(&self) -> MemberId {
        self.target
    }

    /// Returns the time at which the transfer is aborted.
    pub(crate) fn give_up(&self) -> Duration {
        self.give_up
    }

    /// Returns whether the target was asked to campaign.
    pub(crate) fn is_timeout_now_sent(&self) -> bool {
        self.timeout_now_sent
    }

    /// Records that the target was asked to campaign.
    pub(crate) fn timeout_now_sent(&mut self) {
        assert!(!self.timeout_now_sent, "the first TimeoutNow leaves once");
        self.timeout_now_sent = true;
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for LeadershipTransfer {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { target, give_up, timeout_now_sent } = self;
        (target, present.wait(*give_up), timeout_now_sent).hash(into);
    }
}
