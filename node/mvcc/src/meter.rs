//! The meter of one read. Owns what the read has visited, the size of its answer, and when it stops: its answer is too
//! large, it is heavier than its thread allows, or its caller no longer waits. Does not own what is read (`range`,
//! `txn`, `hash`), nor which limits a caller sets.

use crate::key_value::KeyValue;
use crate::outcome::CommandError;

/// Number of keys or versions that a read visits before it looks whether its caller still waits. It takes about a
/// tenth of a millisecond.
const SLICE: u64 = 1_024;
/// Bytes of a version in an answer, besides its encoding: tag and length, and what refers to the version.
const VERSION_OVERHEAD_BYTES: u64 = 64;

/// Why a read has no result. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// The store refuses the read.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The answer would be larger than [`ReadLimits::answer_bytes`].
    #[error("the answer takes {bytes} bytes or more")]
    TooLarge {
        /// Size of the answer when it passed the limit, in bytes.
        bytes: u64,
    },
    /// The read visits or copies more than its limits allow.
    #[error("the read visits or copies too much")]
    TooHeavy,
    /// The caller no longer waits.
    #[error("the caller no longer waits")]
    Abandoned,
}

/// Limits of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Maximum size of the answer, in bytes.
    pub answer_bytes: u64,
    /// Maximum number of keys or versions that are visited.
    pub visits: u64,
    /// Maximum number of bytes that are copied out of the store, which are those of keys without their values.
    pub copied_bytes: u64,
}

impl ReadLimits {
    /// No limits.
    pub const NONE: ReadLimits = ReadLimits { answer_bytes: u64::MAX, visits: u64::MAX, copied_bytes: u64::MAX };
}

/// What a read has visited and will answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Size of the answer, in bytes.
    pub bytes: u64,
    /// Number of versions that are collected at a time, with those that a limit cuts off after sorting.
    pub versions: u64,
    /// Bytes that are copied out of the store.
    pub copied_bytes: u64,
}

impl Measured {
    /// Memory that the answer needs until it was sent, in bytes. Versions count although the store usually holds them
    /// as well.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.bytes.max(self.copied_bytes).saturating_add(self.versions.saturating_mul(VERSION_OVERHEAD_BYTES))
    }

    /// The larger of two, in each figure.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            versions: self.versions.max(other.versions),
            copied_bytes: self.copied_bytes.max(other.copied_bytes),
        }
    }
}

/// Measures one read and stops it at its limits.
pub struct Meter<'a> {
    limits: ReadLimits,
    goes_on: &'a dyn Fn() -> bool,
    visited: u64,
    /// Number of visits at which the read stops or looks whether its caller still waits.
    stop_at: u64,
    measured: Measured,
}

impl<'a> Meter<'a> {
    /// A meter for one read. The read looks at `goes_on` after each slice of its work, and ends if it is false.
    #[must_use]
    pub fn new(limits: ReadLimits, goes_on: &'a dyn Fn() -> bool) -> Self {
        let stop_at = SLICE.min(limits.visits.saturating_add(1));
        Self { limits, goes_on, visited: 0, stop_at, measured: Measured::default() }
    }

    /// A meter that never stops a read.
    #[must_use]
    pub fn unlimited() -> Meter<'static> {
        Meter::new(ReadLimits::NONE, &|| true)
    }

    /// What the read answers.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.measured
    }

    /// Size of the answer so far, in bytes.
    pub(crate) fn answer_bytes(&self) -> u64 {
        self.measured.bytes
    }

    pub(crate) fn set_measured(&mut self, measured: Measured) {
        self.measured = measured;
    }

    /// Counts a key or a version that is visited.
    #[inline]
    pub(crate) fn visit(&mut self) -> Result<(), ReadFailure> {
        self.visited += 1;
        if self.visited < self.stop_at { Ok(()) } else { self.stop() }
    }

    #[cold]
    fn stop(&mut self) -> Result<(), ReadFailure> {
        if self.visited > self.limits.visits {
            return Err(ReadFailure::TooHeavy);
        }
        self.stop_at = self.visited.saturating_add(SLICE).min(self.limits.visits.saturating_add(1));
        if (self.goes_on)() { Ok(()) } else { Err(ReadFailure::Abandoned) }
    }

    /// Counts a version that is collected.
    pub(crate) fn collect(&mut self) {
        self.measured.versions += 1;
    }

    /// Counts bytes of the answer: those of an encoded version.
    pub(crate) fn answer(&mut self, bytes: usize) -> Result<(), ReadFailure> {
        self.measured.bytes = self.measured.bytes.saturating_add(bytes as u64);
        let bytes = self.measured.bytes;
        if bytes > self.limits.answer_bytes { Err(ReadFailure::TooLarge { bytes }) } else { Ok(()) }
    }

    /// Counts so many versions that are collected, with so many bytes of the answer together, unless the answer would be too
    /// large. Returns whether they were counted.
    pub(crate) fn answer_together(&mut self, versions: usize, bytes: u64) -> bool {
        let together = self.measured.bytes.saturating_add(bytes);
        let fits = together <= self.limits.answer_bytes;
        if fits {
            self.measured.bytes = together;
            self.measured.versions += versions as u64;
        }
        fits
    }

    /// Counts the versions of an answer.
    pub(crate) fn answer_all(&mut self, versions: &[KeyValue]) -> Result<(), ReadFailure> {
        versions.iter().try_for_each(|version| self.answer(version.encoded().len()))
    }

    /// Counts bytes that are copied out of the store.
    pub(crate) fn copy(&mut self, bytes: usize) -> Result<(), ReadFailure> {
        self.measured.copied_bytes = self.measured.copied_bytes.saturating_add(bytes as u64);
        if self.measured.copied_bytes > self.limits.copied_bytes { Err(ReadFailure::TooHeavy) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_read_looks_once_in_a_slice_whether_its_caller_waits() {
        let looks = Cell::new(0);
        let goes_on = || {
            looks.set(looks.get() + 1);
            looks.get() < 3
        };
        let mut meter = Meter::new(ReadLimits::NONE, &goes_on);
        let visited = (1..).find(|_| meter.visit().is_err()).expect("it ends");
        assert_eq!((visited, looks.get()), (3 * SLICE, 3));
    }

    #[test]
    fn each_limit_stops_a_read_when_it_is_passed() {
        let limits = ReadLimits { answer_bytes: 10, visits: 2, copied_bytes: 5 };
        let mut meter = Meter::new(limits, &|| true);
        assert_eq!((meter.visit(), meter.visit(), meter.visit()), (Ok(()), Ok(()), Err(ReadFailure::TooHeavy)));
        assert_eq!((meter.answer(10), meter.answer(2)), (Ok(()), Err(ReadFailure::TooLarge { bytes: 12 })));
        assert_eq!((meter.copy(5), meter.copy(1)), (Ok(()), Err(ReadFailure::TooHeavy)));
    }
}
