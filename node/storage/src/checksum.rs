//! Owns the algorithm of all checksums, CRC32C, and the rule for seeds: a checksum that continues another checksum
//! takes the other one as its seed.

/// Checksum of `bytes` alone, which does not depend on any other checksum.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Continues the checksum `previous` with `bytes`.
pub(crate) fn chained(previous: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(previous, bytes)
}
