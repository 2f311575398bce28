//! When a silence is too long. Owns the random time-out, drawn anew for every wait so that two members that once collided
//! do not collide again (Raft thesis §3.4), and the little generator behind it.

use std::time::Duration;

/// A wait for a leader, or for the end of a ballot.
#[derive(Debug)]
pub(crate) struct Timeout {
    base: Duration,
    due: Duration,
    random: Random,
}

impl Timeout {
    pub(crate) fn new(base: Duration, seed: u64, now: Duration) -> Self {
        let mut timeout = Self { base, due: now, random: Random(seed) };
        timeout.redraw(now);
        timeout
    }

    /// Waits from now for a time drawn from [1×, 2×) of the base.
    pub(crate) fn redraw(&mut self, now: Duration) {
        let base = u64::try_from(self.base.as_nanos()).unwrap_or(u64::MAX);
        let wait = self.base.saturating_add(Duration::from_nanos(self.random.below(base)));
        self.due = now.saturating_add(wait);
    }

    /// Waits no longer.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.due = now;
    }

    pub(crate) fn due(&self) -> Duration {
        self.due
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough to tell members' time-outs apart, and nothing more.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        (wide >> 64) as u64
    }
}
