//! Work that runs beside the steps of a test run at the lowest priority, on processors that the tests leave idle. Owns
//! the priority. Does not own the work, nor its thread (`test.rs`).

use anyhow::Result;

/// The lowest priority. A program with it gets about a seventieth of what a program with the usual priority gets.
const LOWEST: i32 = 19;

/// Lowers the priority of this thread for good, and does `work`. On Linux the priority belongs to the thread; threads and
/// programs that it starts inherit it.
///
/// # Errors
/// Returns the error of `work`, or an error if the priority cannot be changed.
pub(crate) fn at_the_lowest_priority<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    rustix::process::nice(LOWEST)?;
    work()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use dev_cluster::Run;

    use super::*;

    #[test]
    fn programs_get_the_lowest_priority_and_other_threads_keep_theirs() {
        let priority = || Command::new("nice").text();
        let usual = priority().unwrap();
        let beside = thread::spawn(move || at_the_lowest_priority(priority)).join().unwrap().unwrap();
        assert_eq!(beside.trim(), LOWEST.to_string());
        assert_eq!(priority().unwrap(), usual);
    }
}
