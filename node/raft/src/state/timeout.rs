//! The random election timeout. Owns the deadline and the random generator. A new timeout is drawn for every wait. Two
//! members that campaigned at the same moment therefore campaign at different times afterwards (Raft thesis §3.4).

use std::time::Duration;

/// The part of the interval from which a timeout is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeoutRange {
    /// The whole interval.
    Whole,
    /// The first half.
    First,
    /// The second half.
    Second,
}

/// The timer of a wait for a leader, or of a wait for the end of an election.
#[derive(Clone, Debug)]
pub(crate) struct ElectionTimer {
    base: Duration,
    due: Duration,
    /// Number of campaigns since this member last received a message from a leader or granted its vote, those included
    /// that it left to other members.
    campaigns: u32,
    random: SplitMix,
}

impl ElectionTimer {
    pub(crate) fn new(base: Duration, seed: u64, now: Duration) -> Self {
        let mut timer = Self { base, due: now, campaigns: 0, random: SplitMix(seed) };
        timer.redraw(now, TimeoutRange::Whole);
        timer
    }

    /// Starts to wait for a leader at `now`. The timeout is drawn from [1×, 2×) of the base, or from one half of that
    /// interval.
    pub(crate) fn redraw(&mut self, now: Duration, range: TimeoutRange) {
        self.campaigns = 0;
        self.wait(now, self.base, range);
    }

    /// Counts a campaign and starts to wait for its end.
    pub(crate) fn begin_campaign(&mut self, now: Duration) {
        self.campaigns = self.campaigns.saturating_add(1);
        self.redraw_ballot(now);
    }

    /// Starts to wait for the end of an election. The timeout of the first election is only [½×, 1×) of the base,
    /// because no leader is left and only a split vote can delay the election. Timeouts of later elections are as long
    /// as a wait for a leader. Otherwise a cluster whose disks need longer than half the base would never elect a
    /// leader.
    pub(crate) fn redraw_ballot(&mut self, now: Duration) {
        self.wait(now, if self.campaigns <= 1 { self.base / 2 } else { self.base }, TimeoutRange::Whole);
    }

    /// Waits for a time drawn from [1×, 2×) of `least`, or from one half of that interval.
    fn wait(&mut self, now: Duration, least: Duration, range: TimeoutRange) {
        let spread = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
        let (from, width) = match range {
            TimeoutRange::Whole => (0, spread),
            TimeoutRange::First => (0, spread.div_ceil(2)),
            TimeoutRange::Second => (spread / 2, spread.div_ceil(2)),
        };
        let wait = least.saturating_add(Duration::from_nanos(from + self.random.below(width)));
        assert!(wait >= least, "no wait is shorter than the least one, which leases rely on");
        self.due = now.saturating_add(wait);
    }

    /// Ends the wait immediately.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.due = now;
    }

    /// Number of waits that ended since this member last received a message from a leader or granted its vote.
    pub(crate) fn campaigns(&self) -> u32 {
        self.campaigns
    }

    pub(crate) fn due(&self) -> Duration {
        self.due
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014). The generator needs no other quality than to make the timeouts of members
/// differ.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a random number below `bound`; 0 if `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        (wide >> 64) as u64
    }
}
