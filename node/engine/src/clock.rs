//! The only clock of the core: monotonic time since the member's start, and the wall clock for stamps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft::Now;

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// What the clocks say.
    #[must_use]
    pub fn now(&self) -> Now {
        // A wall clock before 1970 stamps 0; the core never lets a stamp go back.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.origin.elapsed(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// When the monotonic clock will show `at`.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        // Far deadlines mean "never"; a day is as good.
        const NEVER: Duration = Duration::from_secs(86_400);
        self.origin.checked_add(at).unwrap_or_else(|| Instant::now() + NEVER)
    }
}
