//! What a run prints and finds. Owns the list of violations, and the folder in which their evidence is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Violations so far.
#[derive(Debug)]
pub(crate) struct Findings {
    began: Instant,
    folder: PathBuf,
    violations: Mutex<Vec<String>>,
}

impl Findings {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { began: Instant::now(), folder: folder.to_owned(), violations: Mutex::default() }
    }

    /// Time since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Prints a line with the time.
    pub(crate) fn say(&self, line: &str) {
        println!("[{:7.1}] {line}", self.elapsed().as_secs_f64());
    }

    /// Records and prints a violation.
    pub(crate) fn violation(&self, what: &str) {
        self.say(&format!("VIOLATION: {what}"));
        self.lock().push(format!("{:.1} s: {what}", self.elapsed().as_secs_f64()));
    }

    /// Writes evidence of a violation to a file of the run's folder.
    pub(crate) fn keep(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        match fs::write(&path, text) {
            Ok(()) => self.say(&format!("evidence: {}", path.display())),
            Err(reason) => self.say(&format!("{} was not written: {reason}", path.display())),
        }
    }

    /// All violations, in order.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // The list changes by one `push` at a time, so it is consistent even if another thread panicked.
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
