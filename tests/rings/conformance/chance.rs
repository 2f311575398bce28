//! Random choices in the types of requests, on the generator that every harness uses. Owns no meaning of what is chosen.

use world::seed::{Random, Seed};

/// Choices that follow from one seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Random);

impl Chance {
    /// Equal seeds give equal choices.
    pub(crate) fn of(seed: u64) -> Chance {
        Chance(Random::new(Seed(seed)))
    }

    /// One of `0..below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.0.below(below)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.0.percent(percent)
    }

    /// One of `from..=to`.
    pub(crate) fn between(&mut self, from: i64, to: i64) -> i64 {
        let span = u64::try_from(to - from).expect("from is not above to") + 1;
        from + i64::try_from(self.below(span)).expect("the span fits")
    }

    /// One of `choices`, which are not empty.
    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        self.0.pick(choices)
    }
}
