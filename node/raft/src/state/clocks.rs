//! The two clocks of a member: the latest reading, and whether they agree. Owns the monotony of time in the core and
//! the detection of clock jumps. Does not own what a lease is (`read/leader_lease.rs`).

use std::time::Duration;

use crate::ids::Now;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// Readings of the monotonic clock and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// As of the latest input; the monotonic part never goes back.
    now: Now,
    /// The reading that later readings are compared with.
    compared_from: Now,
    /// A round that began at or before this time proves no lease.
    sound_from: Duration,
}

impl Clocks {
    pub(crate) fn new(now: Now) -> Self {
        Self { now, compared_from: now, sound_from: now.monotonic }
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.now.monotonic
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        self.now.wall_ms
    }

    /// Takes the driver's reading; a monotonic clock that goes back counts as standing still.
    pub(crate) fn advance(&mut self, now: Now) {
        let monotonic = self.now.monotonic.max(now.monotonic);
        self.now = Now { monotonic, wall_ms: now.wall_ms };
    }

    /// Compares the two clocks: they may drift apart by `bound` within a `span`.
    pub(crate) fn compare(&mut self, bound: Duration, span: Duration) {
        const MS: i128 = 1_000_000;
        assert!(self.compared_from.monotonic <= self.now.monotonic, "clocks are compared with an earlier reading");
        let monotonic = self.now.monotonic.saturating_sub(self.compared_from.monotonic);
        let wall_ns = (i128::from(self.now.wall_ms) - i128::from(self.compared_from.wall_ms)) * MS;
        let apart_ns = (wall_ns - nanoseconds(monotonic)).abs();
        // The wall clock is read in whole milliseconds.
        let is_jump = apart_ns > nanoseconds(bound) + MS;
        if is_jump {
            self.sound_from = self.now.monotonic;
        }
        if is_jump || monotonic >= span {
            self.compared_from = self.now;
        }
    }

    /// Whether the clocks have agreed since `at`.
    pub(crate) fn are_sound_since(&self, at: Duration) -> bool {
        at > self.sound_from
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for Clocks {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { now, compared_from, sound_from } = self;
        let wall = i128::from(compared_from.wall_ms) - i128::from(now.wall_ms);
        (wall, present.distance(compared_from.monotonic), present.distance(*sound_from)).hash(into);
    }
}
