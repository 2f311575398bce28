//! One algorithm, CRC32C, and one rule for seeds: a checksum that continues another one is seeded with it. Owns nothing
//! else.

/// Checksum of bytes that stand alone.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Checksum of bytes that follow those covered by `previous`.
pub(crate) fn chained(previous: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(previous, bytes)
}
