//! Owns waiting for a condition. These tests sleep only here.

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

/// Returns the result of `work`. Panics if `work` takes longer than [`PATIENCE`].
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
