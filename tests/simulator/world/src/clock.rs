//! A member's clocks: a monotonic clock that runs too fast or too slow, and a wall clock that jumps. Owns the
//! conversion between true time and the time that a member sees.

use std::time::Duration;

use raft::Now;

/// Rate of a clock without drift: the number of microseconds by which the clock advances in each true second.
pub const TRUE_RATE: u32 = 1_000_000;
/// Reading of every wall clock at true time zero, in milliseconds since the Unix epoch.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Clocks of one member.
#[derive(Clone, Debug)]
pub struct Clock {
    /// True time and monotonic reading when the rate last changed.
    anchor: (Duration, Duration),
    /// Number of microseconds by which this clock advances in each true second.
    rate: u32,
    wall_offset_ms: i64,
}

impl Clock {
    /// A clock that reads `origin` at true time `now`.
    #[must_use]
    pub fn started(now: Duration, origin: Duration, rate: u32) -> Self {
        Self { anchor: (now, origin), rate, wall_offset_ms: 0 }
    }

    /// Readings of both clocks at true time `now`.
    #[must_use]
    pub fn read(&self, now: Duration) -> Now {
        let wall_ms = EPOCH_MS + now.as_millis() as i64 + self.wall_offset_ms;
        Now { monotonic: self.monotonic(now), wall_ms: wall_ms.max(0) as u64 }
    }

    fn monotonic(&self, now: Duration) -> Duration {
        let (then, reading) = self.anchor;
        let passed = now.saturating_sub(then).as_nanos() * u128::from(self.rate) / u128::from(TRUE_RATE);
        reading + Duration::from_nanos(passed as u64)
    }

    /// Earliest true time at which the monotonic clock reads `monotonic` or more; `None` if it is too far in the
    /// future.
    #[must_use]
    pub fn when(&self, monotonic: Duration) -> Option<Duration> {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let (then, reading) = self.anchor;
        let wait = monotonic.saturating_sub(reading);
        if wait > FAR {
            return None;
        }
        let wait = (wait.as_nanos() * u128::from(TRUE_RATE)).div_ceil(u128::from(self.rate));
        Some(then + Duration::from_nanos(wait as u64))
    }

    /// Changes the rate of the monotonic clock from `now` on, without a jump of its reading.
    pub fn set_rate(&mut self, now: Duration, rate: u32) {
        self.anchor = (now, self.monotonic(now));
        self.rate = rate;
    }

    /// Makes the wall clock jump. The monotonic clock stays unchanged.
    pub fn jump_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// Resets the wall clock to true time.
    pub fn correct_wall(&mut self) {
        self.wall_offset_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_exactly_when_the_member_sees_it() {
        let second = Duration::from_secs(1);
        let mut clock = Clock::started(second, second * 40, TRUE_RATE + 70_001);
        clock.set_rate(second * 2, TRUE_RATE - 12_345);
        let deadline = second * 44;
        let when = clock.when(deadline).expect("the deadline is near");
        assert!(clock.read(when).monotonic >= deadline);
        assert!(clock.read(when - Duration::from_nanos(2)).monotonic < deadline);
        assert_eq!(clock.when(Duration::MAX), None);
    }
}
