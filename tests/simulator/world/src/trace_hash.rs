//! A hash over all events of a run, in order. Two builds that print the same hash for the same seeds behave alike. An
//! unchanged hash therefore proves that a move or a rename changed no behaviour.
//!
//! The hash covers times, member numbers, the number of each kind of event, the position of each enum variant, and
//! fields in the order of their declaration. It covers no names: renaming a type, a variant or a field keeps the hash;
//! reordering variants or fields changes it. Owns the hash function, with fixed keys.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// The multiplier: an odd number without a pattern (2^64 divided by the golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of the events of a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHash(u64);

impl TraceHash {
    /// Adds an event `what` that happens at time `when`. `kind` distinguishes events that happen for different reasons.
    pub fn add(&mut self, when: Duration, kind: u64, what: &impl Hash) {
        self.write_u64(when.as_nanos() as u64);
        self.write_u64(kind);
        what.hash(self);
    }

    /// Returns this run's summand of the hash of many runs. The sum does not depend on the order in which runs end.
    #[must_use]
    pub fn of_seed(mut self, seed: u64) -> u64 {
        self.write_u64(seed);
        self.0
    }
}

impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(29) ^ number).wrapping_mul(FACTOR);
        self.0 ^= self.0 >> 32;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: &[(u64, &str)]) -> u64 {
        let mut hash = TraceHash::default();
        for (kind, what) in steps {
            hash.add(Duration::ZERO, *kind, what);
        }
        hash.of_seed(0)
    }

    #[test]
    fn order_kind_and_content_count() {
        let hashes =
            [of(&[(1, "a"), (2, "b")]), of(&[(2, "b"), (1, "a")]), of(&[(2, "a"), (2, "b")]), of(&[(1, "ab")])];
        let different: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert_eq!(of(&[(1, "a")]), 0x2f24_474d_2d94_51e4, "the hash is the same in every build and on every machine");
    }
}
