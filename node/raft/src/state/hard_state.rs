//! Term and vote, and the write that makes them durable. Owns the rules for every change: the term never decreases, and
//! at most one vote is given in each term.

use crate::ids::{IoId, MemberId, Term};
use crate::message::HardState;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// Term and vote, and which write carries them to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrackedHardState {
    value: HardState,
    /// The write that carries `value`; `None` if only the next write will carry it.
    io: Option<IoId>,
}

impl TrackedHardState {
    /// Returns the hard state as read from the disk.
    pub(crate) fn restored(value: HardState) -> Self {
        Self { value, io: Some(IoId::default()) }
    }

    pub(crate) fn term(&self) -> Term {
        self.value.term
    }

    pub(crate) fn vote(&self) -> Option<MemberId> {
        self.value.vote
    }

    /// Returns the write that carries the hard state; `None` if only the next write will carry it.
    pub(crate) fn io(&self) -> Option<IoId> {
        self.io
    }

    /// Changes term or vote. The next write makes the change durable. Every message that depends on the change must
    /// wait for that write.
    pub(crate) fn set(&mut self, value: HardState) {
        assert!(value.term >= self.value.term, "the term never falls");
        assert!(value.term > self.value.term || self.value.vote.is_none(), "one vote per term");
        *self = Self { value, io: None };
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_vote(&mut self) {
        self.value.vote = None;
    }

    /// Returns the hard state if no earlier write carries it; the write `io` then carries it.
    pub(crate) fn take_unwritten(&mut self, io: IoId) -> Option<HardState> {
        if self.io.is_some() {
            return None;
        }
        self.io = Some(io);
        Some(self.value)
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for TrackedHardState {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { value, io } = self;
        (value, io.map(|io| present.writes_to(io))).hash(into);
    }
}
