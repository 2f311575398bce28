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
    deadline: Duration,
    timeout_now_sent: bool,
}

impl LeadershipTransfer {
    pub(crate) fn new(target: MemberId, deadline: Duration) -> Self {
        Self { target, deadline, timeout_now_sent: false }
    }

    /// Returns the member to which leadership is transferred.
    pub(crate) fn target(&self) -> MemberId {
        self.target
    }

    /// Returns the time at which the transfer is aborted.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
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
        let Self { target, deadline, timeout_now_sent } = self;
        (target, present.wait(*deadline), timeout_now_sent).hash(into);
    }
}
