//! Owns the clock whose time the driver passes to the core: monotonic time since the member's start, and wall-clock time for the
//! time stamps of entries. Does not own deadlines (the core and the driver).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft::Now;

/// Reads the monotonic clock and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Creates a clock whose monotonic time starts at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The current time on both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        // A wall clock before 1970 is reported as 0. The core never lets time stamps decrease.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.origin.elapsed(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The instant at which the monotonic clock will show `at`.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        // A deadline that overflows means "never". Waking once a day is harmless in this case.
        const NEVER: Duration = Duration::from_secs(86_400);
        self.origin.checked_add(at).unwrap_or_else(|| Instant::now() + NEVER)
    }
}
