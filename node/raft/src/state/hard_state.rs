//! Term and vote, and the write that makes them durable. Owns the rules that every change keeps: the term never falls,
//! and a vote is given once per term.

use crate::ids::{IoId, MemberId, Term};
use crate::message::HardState;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// The hard state and where it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrackedHardState {
    value: HardState,
    /// The write that carries `value`; `None`: the next write will.
    io: Option<IoId>,
}

impl TrackedHardState {
    /// The hard state as the disk holds it.
    pub(crate) fn restored(value: HardState) -> Self {
        Self { value, io: Some(IoId::default()) }
    }

    pub(crate) fn term(&self) -> Term {
        self.value.term
    }

    pub(crate) fn vote(&self) -> Option<MemberId> {
        self.value.vote
    }

    /// The write that carries the hard state; `None`: the next write will.
    pub(crate) fn io(&self) -> Option<IoId> {
        self.io
    }

    /// Changes term or vote. The next write makes the change durable, and every promise that depends on it waits for
    /// that write.
    pub(crate) fn set(&mut self, value: HardState) {
        assert!(value.term >= self.value.term, "the term never falls");
        assert!(value.term > self.value.term || self.value.vote.is_none(), "one vote per term");
        *self = Self { value, io: None };
    }

    /// Breaks an invariant, so that a test sees its assertion fail.
    #[cfg(test)]
    pub(crate) fn corrupt_vote(&mut self) {
        self.value.vote = None;
    }

    /// The hard state, if the write `io` must carry it because no earlier write does.
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
