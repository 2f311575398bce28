//! When a silence is too long. Owns the random time-out, drawn anew for every wait so that two members that once collided
//! do not collide again (Raft thesis §3.4), and the little generator behind it.

use std::time::Duration;

/// Which part of the interval a wait is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// The first half.
    First,
    /// The second half.
    Second,
}

/// A wait for a leader, or for the end of a ballot.
#[derive(Clone, Debug)]
pub(crate) struct Timeout {
    base: Duration,
    due: Duration,
    /// Campaigns since a leader was heard or a vote given.
    campaigns: u32,
    random: Random,
}

impl Timeout {
    pub(crate) fn new(base: Duration, seed: u64, now: Duration) -> Self {
        let mut timeout = Self { base, due: now, campaigns: 0, random: Random(seed) };
        timeout.redraw(now, Part::Whole);
        timeout
    }

    /// Waits for a leader, from now for a time drawn from [1×, 2×) of the base, or from half of that.
    pub(crate) fn redraw(&mut self, now: Duration, part: Part) {
        self.campaigns = 0;
        self.wait(now, self.base, part);
    }

    /// A campaign begins.
    pub(crate) fn begin_campaign(&mut self, now: Duration) {
        self.campaigns = self.campaigns.saturating_add(1);
        self.redraw_ballot(now);
    }

    /// Waits for the end of a ballot. The first may take only [½×, 1×) of the base: nobody hears a
    /// leader any more, so that only a split vote is waited for. Later ones take as long as a wait for a leader, or a
    /// cluster whose disks take longer than half the base would never elect.
    pub(crate) fn redraw_ballot(&mut self, now: Duration) {
        self.wait(now, if self.campaigns <= 1 { self.base / 2 } else { self.base }, Part::Whole);
    }

    /// For a time drawn from [1×, 2×) of `least`, or from half of that.
    fn wait(&mut self, now: Duration, least: Duration, part: Part) {
        let spread = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
        let (from, width) = match part {
            Part::Whole => (0, spread),
            Part::First => (0, spread.div_ceil(2)),
            Part::Second => (spread / 2, spread.div_ceil(2)),
        };
        let wait = least.saturating_add(Duration::from_nanos(from + self.random.below(width)));
        assert!(wait >= least, "nobody waits for less than what was promised");
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
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 below 0.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        (wide >> 64) as u64
    }
}
