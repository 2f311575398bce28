//! Owns waiting for a condition, and limits on time. These tests sleep only here.

use std::time::Duration;

use dev_cluster::PATIENCE;
use tokio::time::Instant;

/// Waits for `time`, in which an event must not happen.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Polls until `poll` returns a value, and returns that value. Panics if `poll` returns no value within [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = poll().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs three rounds, each with its number, and prints the time of each. Panics unless the median stays within `limit`.
/// A single round is not enough, because other work on the machine can delay one. The best of three would hide that two
/// are slow.
pub(crate) async fn median_stays_within(limit: Duration, what: &str, mut round: impl AsyncFnMut(usize) -> Duration) {
    let mut times = [round(1).await, round(2).await, round(3).await];
    println!("{what}: rounds of {times:?}");
    times.sort_unstable();
    assert!(times[1] <= limit, "{what}: the median of {times:?} is above {limit:?}");
}

/// Returns the result of `work`. Panics if `work` takes longer than [`PATIENCE`].
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
