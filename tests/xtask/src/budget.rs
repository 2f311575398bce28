//! The time budget of the steps of `cargo xtask test`, which keeps a run short enough that a developer can wait for it.
//! Owns the comparison of a run with `budget.toml`. Does not own the figures in that file, nor the steps.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The committed budget file: minutes for each step.
const FILE: &str = include_str!("../budget.toml");
/// Path of the budget file, for messages.
const PLACE: &str = "tests/xtask/budget.toml";
/// Name of the line of the budget file that holds the budget of a whole run.
const WHOLE: &str = "whole";

/// State of the cache of earlier runs (the dev cluster's programs, tools and images) when a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// The cache held everything.
    Warm,
    /// Something was missing, and this run builds it.
    Cold,
}

/// Minutes that each step may take.
pub(crate) struct Budget {
    shares: BTreeMap<String, Share>,
}

/// Budget of one step, in minutes on a machine with two cores.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    warm: f64,
    cold: f64,
}

impl Budget {
    /// Reads the committed budget.
    ///
    /// # Errors
    /// Returns an error if the file does not hold `STEP = { warm = MINUTES, cold = MINUTES }` for each step.
    pub(crate) fn read() -> Result<Self> {
        Self::parse(FILE)
    }

    fn parse(text: &str) -> Result<Self> {
        let shares = toml::from_str(text)
            .with_context(|| format!("{PLACE} must hold STEP = {{ warm = MINUTES, cold = MINUTES }} for each step"))?;
        Ok(Self { shares })
    }

    /// Returns a table with the duration and the budget of each step, and one line for each step that exceeded its
    /// budget. `whole` is the duration of the run; `None` if the run left steps out.
    pub(crate) fn compare(
        &self,
        steps: &[(&str, Duration)],
        whole: Option<Duration>,
        cache: Cache,
    ) -> (String, Vec<String>) {
        let kind = if cache == Cache::Warm { "warm" } else { "cold" };
        let mut table = format!("\n  minutes   budget  step ({kind} cache)");
        let mut over = Vec::new();
        for (name, took) in steps.iter().copied().chain(whole.map(|took| (WHOLE, took))) {
            let minutes = took.as_secs_f64() / 60.0;
            let Some(share) = self.shares.get(name) else {
                over.push(format!("{name} has no line in {PLACE}"));
                continue;
            };
            let limit = if cache == Cache::Warm { share.warm } else { share.cold };
            let mark = if minutes > limit { "  OVER" } else { "" };
            table.push_str(&format!("\n  {minutes:>7.1}  {limit:>7.1}  {name}{mark}"));
            if minutes > limit {
                over.push(format!(
                    "{name} took {minutes:.1} minutes, its budget is {limit}: make it cheaper, or move its depth behind \
                     --thorough and keep a bounded sample; {PLACE} holds the figures"
                ));
            }
        }
        (table, over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_over_its_budget_is_reported() {
        let budget =
            Budget::parse("# two cores\nlint = { warm = 2, cold = 4.5 }\nwhole = { warm = 3, cold = 6 }").unwrap();
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let (table, over) = budget.compare(&[("lint", minutes(3))], Some(minutes(3)), Cache::Warm);
        assert!(table.contains("3.0      2.0  lint  OVER"), "{table}");
        assert_eq!(over.len(), 1);
        assert!(over[0].starts_with("lint took 3.0 minutes, its budget is 2:"), "{over:?}");
        assert!(budget.compare(&[("lint", minutes(3))], None, Cache::Cold).1.is_empty());
        assert_eq!(budget.compare(&[("other", minutes(0))], None, Cache::Warm).1.len(), 1);
    }

    #[test]
    fn a_damaged_line_is_refused() {
        for line in [
            "lint",
            "lint = 3",
            "lint = { warm = 2 }",
            "lint = { warm = x, cold = 3 }",
            "lint = { warm = 1, cold = 2, hot = 3 }",
        ] {
            assert!(Budget::parse(line).is_err(), "{line}");
        }
    }

    /// Each step's budget includes a margin for a machine that is busy. The sum of these budgets may therefore exceed
    /// the budget of the whole run by the factor `MARGIN`.
    #[test]
    fn the_shares_fit_into_the_whole() {
        const MARGIN: f64 = 1.25;
        let budget = Budget::read().unwrap();
        let whole = budget.shares[WHOLE];
        let steps = budget.shares.iter().filter(|(name, _)| *name != WHOLE);
        let sum = steps.fold(Share { warm: 0.0, cold: 0.0 }, |sum, (_, share)| Share {
            warm: sum.warm + share.warm,
            cold: sum.cold + share.cold,
        });
        assert!(sum.warm <= whole.warm * MARGIN && sum.cold <= whole.cold * MARGIN, "{sum:?} {whole:?}");
        assert!(budget.shares.values().all(|share| share.warm <= share.cold));
    }
}
