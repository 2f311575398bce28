//! Random numbers of a run, all derived from one seed. Owns the generator. There is no other source of randomness, so
//! that a run can be repeated.

use std::fmt;
use std::time::Duration;

/// The number that determines a run completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A pseudorandom generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        // The seed is mixed once, so that neighbouring seeds do not begin with similar numbers.
        let mut random = Self(seed.0 ^ 0x5851_f42d_4c95_7f2d);
        random.0 = random.number();
        random
    }

    /// Returns 64 random bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`, which must not be zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below zero");
        ((u128::from(self.number()) * u128::from(limit)) >> 64) as u64
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range: {low} to {high}");
        low + self.below(high - low + 1)
    }

    /// Returns true with a probability of `per_million` in a million.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// Returns true with a probability of `percent` in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns true with a probability of 1/2.
    pub fn coin(&mut self) -> bool {
        self.number() & 1 == 1
    }

    /// Returns a duration from `low` to `high`, in whole microseconds.
    pub fn time(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.between(low.as_micros() as u64, high.as_micros() as u64))
    }

    /// Returns a duration whose order of magnitude is random: usually near `low`, sometimes near `high`.
    pub fn long_tailed(&mut self, low: Duration, high: Duration) -> Duration {
        let span = (high.as_micros() as u64).saturating_sub(low.as_micros() as u64);
        let bits = u64::from(64 - span.leading_zeros());
        let cut = self.between(0, bits);
        let ceiling = if cut >= 64 { span } else { span.min((1 << cut) - 1) };
        low + Duration::from_micros(self.between(0, ceiling))
    }

    /// Returns a random element of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// Shuffles `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_seeds_give_different_sequences() {
        let draw = |seed| {
            let mut random = Random::new(Seed(seed));
            (0..32).map(|_| random.number()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn ranges_are_kept_and_reached() {
        let mut random = Random::new(Seed(1));
        let drawn: std::collections::BTreeSet<u64> = (0..1_000).map(|_| random.between(3, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        let (low, high) = (Duration::from_micros(10), Duration::from_millis(9));
        assert!((0..1_000).map(|_| random.long_tailed(low, high)).all(|time| time >= low && time <= high));
    }
}
