//! Settings of a test run from environment variables. Owns the variables, which are the same for every harness:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `SEED=n` | run only seed n |
//! | `SEEDS=n` | run the first n seeds |
//! | `TRACE=1` | a failing run prints its whole trace, not only the end |
//! | `UPDATE=1` | write expected output instead of comparing it |
//! | `BUG=name` | plant only this bug (`tests/planted`) |

use std::env;
use std::ops::Range;

/// Returns the seeds to run: those that the environment selects, otherwise the first `usual` seeds.
///
/// # Panics
/// Panics if `SEED` or `SEEDS` is not a number.
#[must_use]
pub fn seeds(usual: u64) -> Range<u64> {
    chosen(number("SEED"), number("SEEDS"), usual)
}

fn chosen(seed: Option<u64>, seeds: Option<u64>, usual: u64) -> Range<u64> {
    match seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..seeds.unwrap_or(usual),
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Returns whether a failing run prints its whole trace.
#[must_use]
pub fn traces() -> bool {
    is_set("TRACE")
}

/// Number of trace lines that a failing run prints: all lines if `TRACE` is set, otherwise the last `usual` lines.
#[must_use]
pub fn trace_lines(usual: usize) -> usize {
    if traces() { usize::MAX } else { usual }
}

/// Returns whether expected output is written instead of compared.
#[must_use]
pub fn updates() -> bool {
    is_set("UPDATE")
}

/// Names of the bugs to plant, separated by commas; `None`: every bug is planted in turn.
#[must_use]
pub fn bugs() -> Option<String> {
    env::var("BUG").ok()
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn one_seed_goes_before_a_number_of_seeds() {
        assert_eq!(chosen(Some(7), Some(5), 100), 7..8);
        assert_eq!(chosen(None, Some(5), 100), 0..5);
        assert_eq!(chosen(None, None, 100), 0..100);
    }
}
