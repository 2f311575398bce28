//! Digests of 128 bits that identify states, and the table of visited states. Owns both. The probability that two of n
//! states share a digest is about n²/2¹²⁹. Does not own what each type adds to its digest.
//!
//! A digest must contain everything that can affect later events or their checks. Otherwise the search skips states
//! that it has not visited. A digest contains:
//!
//! - of each core, its `fingerprint`;
//! - each disk with its snapshot and the snapshot's state, because a crash returns to it; the steps of pending writes,
//!   in order, because a crash may happen between any two; a captured snapshot that is not durable; applied index and
//!   state of the state machine; snapshot transfers whose end is not reported, and whether their bytes arrived;
//! - reads of the log that are not answered, with what the disk held when they were requested; in worlds with forged
//!   notices, whether a removal is being verified and whether the latest verification reached a voter;
//! - the messages in flight, each snapshot with its state, because a faulty driver could send two different states with
//!   equal metadata;
//! - in worlds with leases, the time since each member's last contact with a leader, because this time decides when the
//!   election timeout may pass. A time longer than an election timeout counts as one election timeout;
//! - the history that later checks need (leaders, votes, committed entries, entries that pending reads must see), and
//!   how much of each bound is spent. How far the clocks have drifted apart is not added separately, because it affects
//!   later events only through times that the digest already contains (times since past events, and remaining waits)
//!   and through the number of drift steps that are left.
//!
//! A digest must not contain anything that has no effect. Otherwise equal states are searched repeatedly, some of them
//! without end. A digest leaves out:
//!
//! - absolute times. A digest contains only times since past events and remaining waits, each limited to an election
//!   timeout, because longer times have the same effect. A world without a limit on time therefore has a finite number
//!   of states;
//! - in worlds without leases, the clocks, except for what the cores' fingerprints contain;
//! - IDs of writes, because they increase by one each time, and the next random election timeout, because the search
//!   may end a wait at any value that can be drawn;
//! - reads that were answered or failed, captures that cannot become durable within the bounds, and coverage.

use std::hash::{Hash, Hasher};

/// A hasher with a digest of 128 bits. The digest has two independent halves, each mixed by folded multiplication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u64, u64);

impl Digest {
    pub(crate) fn of(value: impl Hash) -> u128 {
        let mut digest = Self::default();
        value.hash(&mut digest);
        digest.value()
    }

    pub(crate) fn value(self) -> u128 {
        (u128::from(fold(self.0, 0x9E37_79B9_7F4A_7C15)) << 64) | u128::from(fold(self.1, 0xD6E8_FEB8_6659_FD93))
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self(0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344)
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 61));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xA076_1D64_78BD_642F).rotate_left(17) ^ word;
        self.1 = fold(self.1 ^ word, 0xE703_7ED1_A0B4_28DB).rotate_left(31).wrapping_add(word);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

fn fold(one: u64, two: u64) -> u64 {
    let product = u128::from(one) * u128::from(two);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Set of visited states' digests: a hash table with open addressing, at most half full.
#[derive(Debug)]
pub(crate) struct Visited {
    slots: Vec<u128>,
    count: usize,
}

impl Visited {
    pub(crate) fn new() -> Self {
        Self { slots: vec![0; 1 << 16], count: 0 }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a digest. Returns whether the set lacked the digest.
    pub(crate) fn insert(&mut self, digest: u128) -> bool {
        let digest = digest.max(1);
        if self.count * 2 >= self.slots.len() {
            let larger = vec![0; self.slots.len() * 2];
            for old in std::mem::replace(&mut self.slots, larger).into_iter().filter(|slot| *slot != 0) {
                let place = self.place(old);
                self.slots[place] = old;
            }
        }
        let place = self.place(digest);
        let is_new = self.slots[place] == 0;
        self.slots[place] = digest;
        self.count += usize::from(is_new);
        is_new
    }

    fn place(&self, digest: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = digest as usize & mask;
        while self.slots[place] != 0 && self.slots[place] != digest {
            place = (place + 1) & mask;
        }
        place
    }
}
