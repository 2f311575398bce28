//! Random numbers from the operating system. Owns the source; everything that decides is told its chance by number.

/// 64 random bits.
///
/// # Panics
/// If the system has no randomness to give: then nothing here would be safe.
#[must_use]
pub(crate) fn number() -> u64 {
    getrandom::u64().expect("the system gives randomness once it has started")
}

/// 64 random bits, not all of them zero.
#[must_use]
pub(crate) fn nonzero() -> u64 {
    loop {
        let number = number();
        if number != 0 {
            return number;
        }
    }
}
