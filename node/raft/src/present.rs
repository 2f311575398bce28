//! Digests of state that do not depend on when something happens. Owns how times and writes enter a digest. Does not
//! own which fields do: each type of `state` hashes its own.

pub(crate) use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::ids::IoId;

/// The present that times and writes are measured from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    now: Duration,
    /// The election timeout: no rule distinguishes between events that are further in the past.
    span: Duration,
    /// The latest durable write.
    durable: IoId,
}

impl Present {
    pub(crate) fn new(now: Duration, span: Duration, durable: IoId) -> Self {
        Self { now, span, durable }
    }

    /// Distance from now to `at` in nanoseconds; negative for the past, at most `span` back.
    pub(crate) fn distance(self, at: Duration) -> i128 {
        let signed = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        (signed(at) - signed(self.now)).max(-signed(self.span))
    }

    /// Distance from now to a deadline in nanoseconds; 0 for every deadline that has passed.
    pub(crate) fn wait(self, until: Duration) -> i128 {
        self.distance(until).max(0)
    }

    /// Number of writes from the latest durable one to `io`; 0 for a durable one.
    pub(crate) fn writes_to(self, io: IoId) -> u64 {
        io.0.saturating_sub(self.durable.0)
    }
}

/// A value that decides how its core behaves from now on.
pub(crate) trait Fingerprint {
    /// Adds everything that decides the behaviour to the digest.
    fn fingerprint(&self, present: Present, into: &mut impl Hasher);
}

impl<T: Fingerprint> Fingerprint for Option<T> {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        self.is_some().hash(into);
        if let Some(value) = self {
            value.fingerprint(present, into);
        }
    }
}
