//! The two clocks of a member: their latest readings, and whether the clocks agree. Owns the rule that time in the core
//! never decreases, and the detection of clock jumps. Does not own leases (`read/leader_lease.rs`).

use std::time::Duration;

use crate::ids::Now;
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// Readings of the monotonic clock and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// Readings at the latest input; the monotonic time never decreases.
    now: Now,
    /// Readings with which later readings are compared.
    compared_from: Now,
    /// Monotonic time at which the latest clock jump was noticed. A round that began at or before this time proves no
    /// lease.
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

    /// Stores the driver's readings. If the driver's monotonic time is earlier than the stored one, the stored one is
    /// kept.
    pub(crate) fn advance(&mut self, now: Now) {
        let monotonic = self.now.monotonic.max(now.monotonic);
        self.now = Now { monotonic, wall_ms: now.wall_ms };
    }

    /// Compares the two clocks. A drift of more than `bound` within `span` counts as a clock jump.
    pub(crate) fn compare(&mut self, bound: Duration, span: Duration) {
        const MS: i128 = 1_000_000;
        assert!(self.compared_from.monotonic <= self.now.monotonic, "clocks are compared with an earlier reading");
        let monotonic = self.now.monotonic.saturating_sub(self.compared_from.monotonic);
        let wall_ns = (i128::from(self.now.wall_ms) - i128::from(self.compared_from.wall_ms)) * MS;
        let apart_ns = (wall_ns - nanoseconds(monotonic)).abs();
        // Tolerates another millisecond, because the wall clock is read in whole milliseconds.
        let is_jump = apart_ns > nanoseconds(bound) + MS;
        if is_jump {
            self.sound_from = self.now.monotonic;
        }
        if is_jump || monotonic >= span {
            self.compared_from = self.now;
        }
    }

    /// Returns whether the clocks have agreed since `at`.
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
