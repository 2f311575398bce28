//! Random choices of the values in requests, from the generator that every simulator uses. Does not own the requests
//! (`generate.rs`).

use world::seed::{Random, Seed};

/// Random choices that are determined by one seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Random);

impl Chance {
    /// Creates the random choices of a seed.
    pub(crate) fn of(seed: u64) -> Chance {
        Chance(Random::new(Seed(seed)))
    }

    /// Returns a number in `0..below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.0.below(below)
    }

    /// Returns true with a probability of `percent` percent.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.0.percent(percent)
    }

    /// Returns a number in `from..=to`.
    pub(crate) fn between(&mut self, from: i64, to: i64) -> i64 {
        let span = u64::try_from(to - from).expect("from is not above to") + 1;
        from + i64::try_from(self.below(span)).expect("the span fits")
    }

    /// Returns one of `choices`, which must not be empty.
    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        let choice: &&'a T = self.0.pick(choices);
        choice
    }
}
