//! Random numbers from the operating system. Owns the only source of randomness in this crate. The core and the engine
//! receive their seeds as numbers, so that a simulation can repeat a run.

/// 64 random bits.
///
/// # Panics
/// Panics if the system has no source of randomness, because member IDs would no longer be unique.
#[must_use]
pub(crate) fn number() -> u64 {
    getrandom::u64().expect("the system provides randomness once it has booted")
}

/// 64 random bits, never all zero.
#[must_use]
pub(crate) fn nonzero() -> u64 {
    loop {
        let number = number();
        if number != 0 {
            return number;
        }
    }
}
