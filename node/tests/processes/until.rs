//! Waiting for a condition. Owns the one place where a test sleeps.

use std::time::Duration;

use tokio::time::Instant;

/// What is not so by then never will be; generous, as tests share their machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Lets time pass in which something must not happen.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
