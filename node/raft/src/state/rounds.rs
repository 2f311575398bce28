//! Heartbeat rounds, with which a leader proves that it still leads. Owns the numbers and start times of rounds. Does
//! not own what a round proves (`read`, `election/check_quorum.rs`).

use std::collections::VecDeque;
use std::time::Duration;

#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// The rounds of one leader in one term, counted from 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeartbeatRounds {
    latest: u64,
    /// Start times of the newest rounds, the latest one last.
    began: VecDeque<Duration>,
}

impl HeartbeatRounds {
    /// Begins a round and returns its number. Forgets rounds that began more than `span` ago, because no rule uses
    /// them.
    pub(crate) fn begin(&mut self, now: Duration, span: Duration) -> u64 {
        while self.began.front().is_some_and(|began| began.saturating_add(span) < now) {
            self.began.pop_front();
        }
        assert!(self.began.back().is_none_or(|last| *last <= now), "rounds begin one after the other");
        self.latest += 1;
        self.began.push_back(now);
        assert!(self.began.len() as u64 <= self.latest, "only rounds that began are remembered");
        self.latest
    }

    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    /// Returns `round` if it began in this term, otherwise 0, which proves nothing.
    pub(crate) fn answered(&self, round: u64) -> u64 {
        if round <= self.latest { round } else { 0 }
    }

    /// Returns the start time of a round; `None` if the round is forgotten or never began.
    pub(crate) fn began(&self, round: u64) -> Option<Duration> {
        let back = self.latest.checked_sub(round)?;
        let place = (self.began.len() as u64).checked_sub(back + 1)?;
        self.began.get(usize::try_from(place).ok()?).copied()
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for HeartbeatRounds {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { latest, began } = self;
        (latest, began.len()).hash(into);
        began.iter().for_each(|at| present.distance(*at).hash(into));
    }
}
