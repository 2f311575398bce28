//! How long to wait before trying an object again, and before looking again at one that does not change. Owns the arithmetic;
//! what is tried is decided elsewhere.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Consecutive failures of one object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    count: u32,
}

impl Failures {
    /// How long to wait after one more failure: twice as long each time, up to half a minute.
    pub fn one_more(&mut self) -> Duration {
        let wait = wait(self.count);
        self.count = self.count.saturating_add(1);
        wait
    }
}

/// Consecutive looks at one object that led to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fruitless {
    looks: u32,
}

/// What a look led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Something was done, or is not as it was.
    Fruitful,
    /// All is as it was.
    Fruitless,
}

impl Fruitless {
    /// How long to wait after one more look: as soon as is asked for after a fruitful one, twice as long after each
    /// fruitless one, up to the slowest pace.
    pub fn after(&mut self, look: Look, soonest: Duration, slowest: Duration) -> Duration {
        self.looks = match look {
            Look::Fruitful => 0,
            Look::Fruitless => self.looks.saturating_add(1),
        };
        soonest.saturating_mul(2_u32.saturating_pow(self.looks.min(16))).min(slowest.max(soonest))
    }
}

fn wait(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fruitless_looks_grow_apart_until_one_bears_fruit() {
        let (soonest, slowest) = (Duration::from_millis(300), Duration::from_secs(5));
        let mut fruitless = Fruitless::default();
        let mut after = |look| fruitless.after(look, soonest, slowest).as_millis();
        assert_eq!(after(Look::Fruitful), 300);
        let waits: Vec<_> = (0..6).map(|_| after(Look::Fruitless)).collect();
        assert_eq!(waits, [600, 1200, 2400, 4800, 5000, 5000]);
        assert_eq!(after(Look::Fruitful), 300);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut failures = Failures::default();
        let waits: Vec<_> = (0..9).map(|_| failures.one_more().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
