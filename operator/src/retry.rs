//! How long to wait before trying an object again. Owns the arithmetic and the count per object; what is tried is decided
//! elsewhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Consecutive failures, by object.
#[derive(Debug, Default)]
pub struct Retries {
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Retries {
    /// How long to wait after one more failure of this object: twice as long each time, up to half a minute.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_insert(0);
        let wait = wait(*count);
        *count = count.saturating_add(1);
        wait
    }

    /// The object was reconciled without a failure.
    pub fn succeeded(&self, object: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

fn wait(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_success() {
        let retries = Retries::default();
        let waits: Vec<_> = (0..9).map(|_| retries.failed("a").as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(retries.failed("b"), FIRST, "another object has its own count");
        retries.succeeded("a");
        assert_eq!(retries.failed("a"), FIRST);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
