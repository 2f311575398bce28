//! One algorithm (CRC32C), one rule for seeds: a checksum that continues another is seeded with it. Owns nothing else.

/// Of bytes that stand alone.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Of bytes that follow those summed up in `previous`.
pub(crate) fn chained(previous: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(previous, bytes)
}
