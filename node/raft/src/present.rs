//! Digests that depend only on distances in time, not on absolute times. Owns how times and write numbers enter a
//! digest. Does not own which fields enter it: each type of `state` hashes its own fields.

pub(crate) use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::ids::IoId;

/// Origins of the distances in a digest: times are relative to the current time, and write numbers are relative to the
/// latest durable write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    now: Duration,
    /// Length of the election timeout. No rule distinguishes between events that are further in the past than this.
    span: Duration,
    /// The latest durable write.
    durable: IoId,
}

impl Present {
    pub(crate) fn new(now: Duration, span: Duration, durable: IoId) -> Self {
        Self { now, span, durable }
    }

    /// Returns the distance from now to `at` in nanoseconds; negative for the past, but never further back than `span`.
    pub(crate) fn distance(self, at: Duration) -> i128 {
        let signed = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        (signed(at) - signed(self.now)).max(-signed(self.span))
    }

    /// Returns the distance from now to a deadline in nanoseconds; 0 for every deadline that has passed.
    pub(crate) fn wait(self, until: Duration) -> i128 {
        self.distance(until).max(0)
    }

    /// Returns the number of writes after the latest durable write, up to and including `io`; 0 if `io` is durable.
    pub(crate) fn writes_to(self, io: IoId) -> u64 {
        io.0.saturating_sub(self.durable.0)
    }
}

/// A part of a core's state that influences how the core behaves from now on.
pub(crate) trait Fingerprint {
    /// Adds to `into` everything in this value that influences the core's behaviour.
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
