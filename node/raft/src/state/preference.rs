//! The preferred leaders. Owns the set, and the earliest time of the next transfer to a preferred member. Does not own
//! the effects of a preference (`election/preference.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::MemberId;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// Preferred leaders; initially none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preference {
    members: BTreeSet<MemberId>,
    /// Earliest time of the next transfer to a preferred member. Kept when the term or the leader changes.
    transfer_due: Duration,
}

impl Preference {
    pub(crate) fn set(&mut self, members: BTreeSet<MemberId>) {
        self.members = members;
    }

    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.members.contains(&id)
    }

    pub(crate) fn any(&self, is_wanted: impl Fn(MemberId) -> bool) -> bool {
        self.members.iter().any(|id| is_wanted(*id))
    }

    pub(crate) fn is_transfer_due(&self, now: Duration) -> bool {
        self.transfer_due <= now
    }

    /// Prevents transfers to a preferred member before `at`.
    pub(crate) fn postpone_transfer(&mut self, at: Duration) {
        self.transfer_due = self.transfer_due.max(at);
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for Preference {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { members, transfer_due } = self;
        members.hash(into);
        if !members.is_empty() {
            present.wait(*transfer_due).hash(into);
        }
    }
}
