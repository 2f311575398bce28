//! 128 bits that tell states apart, and a table of those seen. Owns both; two states are taken for one with a probability of
//! about n²/2¹²⁹ for n states.
//!
//! What goes in decides whether a search is right, and whether it ends. Everything that what follows, or its judgement, may
//! depend on must be in it, or a state is passed over that is not the one it is taken for:
//!
//! - of each core, its own `fingerprint`: what it will do;
//! - of each disk, all of it, the snapshot with its state included: a crash brings it back. The steps of writes under way, in
//!   order, as a crash may come between any two; what was captured and is not durable; how far the state machine is and
//!   what it holds; lanes whose end is still to be reported, and whether their bytes arrived;
//! - the messages on their way, each snapshot with the state that it carries: two of one meta could differ if a driver erred;
//! - in worlds with leases, how long ago each member heard a leader, up to an election timeout: that is when a silence may end;
//! - the past by which the future is judged (leaders, votes, what was decided, what open reads must see), and how much of what
//!   is bounded is spent. How often clocks may still part is one of these: it stands for how far they did.
//!
//! Everything that makes no difference must stay out, otherwise equal states are searched repeatedly, some of them
//! without end:
//!
//! - times as such. Only ages and waits count, each no further than anything asks: what is longer ago than an election timeout
//!   is just over. So a world may let time go on without end, and is explored whole all the same;
//! - in worlds without leases, the clocks altogether, except for what the cores' fingerprints hold;
//! - names of writes, which follow each other, and what a timeout's chance will draw, as a silence may end at any draw;
//! - reads that were answered or failed, captures that no bound lets become durable, and what a report counts.

use std::hash::{Hash, Hasher};

/// Folded multiplication, in two lanes.
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

/// The states that were visited: open addressing, at most half full.
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

    /// True if it was not there.
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
