//! Choices that faults and tests make, drawn from a seed. Owns the generator. Does not own what is chosen.

/// SplitMix64 (Steele, Lea, Flood 2014). It is good enough for choices in tests, and gives the same numbers on every platform.
#[derive(Clone, Copy, Debug)]
pub struct Choice(pub u64);

impl Choice {
    /// The next number, of 64 bits.
    #[expect(clippy::should_implement_trait, reason = "a generator of numbers has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
