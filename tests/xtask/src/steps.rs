//! A run of numbered steps, printed for a person: each step with the time since the start of the run and its own
//! duration, and a summary at the end. Does not own the work of the steps.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// A run of numbered steps. Other threads may print lines between the lines of the steps. Each line is printed as a
/// whole.
pub(crate) struct Steps {
    start: Instant,
    total: usize,
    done: Mutex<Vec<Done>>,
}

/// A step that has ended.
struct Done {
    name: String,
    took: Duration,
    outcome: Outcome,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Held,
    Failed,
    Skipped,
}

impl Steps {
    /// Starts a run of `total` steps.
    pub(crate) fn new(total: usize) -> Steps {
        Steps { start: Instant::now(), total, done: Mutex::new(Vec::new()) }
    }

    /// Runs one step, and prints its number, the time and its outcome.
    ///
    /// # Errors
    /// Returns the error of `work`, which is already printed.
    pub(crate) fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.done().len() + 1;
        say(&head(number, self.total, self.start.elapsed(), &format!("{name} ...")));
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        let ended = match &result {
            Ok(_) => format!("{name} ok {}", seconds(took)),
            Err(error) => format!("{name} FAILED {}: {error:#}", seconds(took)),
        };
        say(&head(number, self.total, self.start.elapsed(), &ended));
        let outcome = if result.is_ok() { Outcome::Held } else { Outcome::Failed };
        self.done().push(Done { name: name.into(), took, outcome });
        result
    }

    /// Counts a skipped step, and prints the reason why it is skipped.
    pub(crate) fn skip(&self, name: &str, why: &str) {
        let number = self.done().len() + 1;
        say(&head(number, self.total, self.start.elapsed(), &format!("{name} skipped: {why}")));
        self.done().push(Done { name: name.into(), took: Duration::ZERO, outcome: Outcome::Skipped });
    }

    /// Prints a line that belongs to the running step.
    pub(crate) fn note(&self, line: &str) {
        say(&format!("    {line}"));
    }

    /// Returns a summary: every step with its duration, then the numbers of steps that passed, failed or were skipped.
    pub(crate) fn summary(&self) -> String {
        let done = self.done();
        let mut lines = vec![String::new()];
        for step in done.iter() {
            let (word, took) = match step.outcome {
                Outcome::Held => ("ok", seconds(step.took)),
                Outcome::Failed => ("FAILED", seconds(step.took)),
                Outcome::Skipped => ("skipped", String::new()),
            };
            lines.push(format!("  {word:<8} {took:>9}  {}", step.name));
        }
        lines.push(format!("  {:<8} {:>9}", "total", seconds(self.start.elapsed())));
        let count = |outcome| done.iter().filter(|step| step.outcome == outcome).count();
        let (held, failed, skipped) = (count(Outcome::Held), count(Outcome::Failed), count(Outcome::Skipped));
        lines.push(format!("steps: {held} passed, {failed} failed, {skipped} skipped"));
        lines.join("\n")
    }

    /// Name and duration of each step that has ended.
    pub(crate) fn times(&self) -> Vec<(String, Duration)> {
        self.done().iter().map(|step| (step.name.clone(), step.took)).collect()
    }

    /// Time since the run started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns whether no step failed.
    pub(crate) fn all_held(&self) -> bool {
        self.done().iter().all(|step| step.outcome != Outcome::Failed)
    }

    fn done(&self) -> MutexGuard<'_, Vec<Done>> {
        // Ignores poisoning, because the list changes by one `push` at a time. It is therefore consistent even if
        // another thread panicked.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints one whole line. An error is ignored, because a closed pipe must not end the run.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Formats a line such as `[ 3/14  01:12 ] helm install ...`.
fn head(number: usize, total: usize, since: Duration, line: &str) -> String {
    let width = total.to_string().len();
    let seconds = since.as_secs();
    format!("[ {number:>width$}/{total}  {:02}:{:02} ] {line}", seconds / 60, seconds % 60)
}

/// Formats a duration in seconds with one decimal digit.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn heads_line_up() {
        assert_eq!(head(3, 14, Duration::from_secs(72), "helm install ..."), "[  3/14  01:12 ] helm install ...");
        assert_eq!(head(14, 14, Duration::from_secs(6000), "x"), "[ 14/14  100:00 ] x");
        assert_eq!(head(3, 9, Duration::ZERO, "x"), "[ 3/9  00:00 ] x");
    }

    #[test]
    fn a_failed_step_shows_in_the_summary_and_in_the_verdict() {
        let steps = Steps::new(3);
        steps.step("one", || Ok(())).unwrap();
        assert!(steps.all_held());
        steps.step::<()>("two", || bail!("no")).unwrap_err();
        steps.skip("three", "not chosen");
        assert!(!steps.all_held());
        let summary = steps.summary();
        assert!(summary.ends_with("steps: 1 passed, 1 failed, 1 skipped"), "{summary}");
        assert!(summary.contains("FAILED"), "{summary}");
    }
}
