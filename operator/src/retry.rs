//! Delays before an object is reconciled again, after failures and while nothing changes. Owns the arithmetic. Does
//! not own the minimum and the maximum delay of an idle object (`plan`).

use std::time::Duration;

/// Delay after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// Maximum delay after a failure.
const LONGEST: Duration = Duration::from_secs(30);

/// Consecutive failures of one object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    count: u32,
}

impl Failures {
    /// Counts a failure, and returns the delay. The delay doubles with each failure, up to 30 s.
    pub fn one_more(&mut self) -> Duration {
        let wait = wait(self.count);
        self.count = self.count.saturating_add(1);
        wait
    }
}

/// Consecutive passes over one object that changed nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdleBackoff {
    passes: u32,
}

/// Result of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOutcome {
    /// An action changed something, or the observation differs from the previous one.
    Changed,
    /// No action changed anything, and the observation equals the previous one.
    Unchanged,
}

impl PassOutcome {
    /// Returns the outcome of a pass. `changed` is true if the pass changed something.
    #[must_use]
    pub fn of(changed: bool) -> Self {
        if changed { Self::Changed } else { Self::Unchanged }
    }
}

impl IdleBackoff {
    /// Counts a pass, and returns the delay before the next pass. The delay is `soonest` after a change, and doubles
    /// with each pass without a change, up to `slowest`.
    pub fn after(&mut self, outcome: PassOutcome, soonest: Duration, slowest: Duration) -> Duration {
        self.passes = match outcome {
            PassOutcome::Changed => 0,
            PassOutcome::Unchanged => self.passes.saturating_add(1),
        };
        soonest.saturating_mul(2_u32.saturating_pow(self.passes.min(16))).min(slowest.max(soonest))
    }
}

/// Delay after a failure that follows this many earlier failures.
fn wait(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_while_nothing_changes() {
        let (soonest, slowest) = (Duration::from_millis(300), Duration::from_secs(5));
        let mut idle = IdleBackoff::default();
        let mut after = |outcome| idle.after(outcome, soonest, slowest).as_millis();
        assert_eq!(after(PassOutcome::Changed), 300);
        let waits: Vec<_> = (0..6).map(|_| after(PassOutcome::Unchanged)).collect();
        assert_eq!(waits, [600, 1200, 2400, 4800, 5000, 5000]);
        assert_eq!(after(PassOutcome::Changed), 300);
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut failures = Failures::default();
        let waits: Vec<_> = (0..9).map(|_| failures.one_more().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
