//! A short, stable digest of a serializable value. Owns the digest function, which distinguishes versions of one
//! object and is not cryptographic.

use serde::Serialize;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, 64 bits, over the JSON, as 16 hexadecimal digits. The result is the same on every machine and in every
/// version.
pub(crate) fn digest<T: Serialize>(value: &T) -> String {
    // `Value` sorts its keys, therefore the order of a type's fields does not change the digest.
    let json = serde_json::to_value(value).expect("API objects always serialize").to_string();
    let hash = json.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let digest = format!("{hash:016x}");
    debug_assert_eq!(digest.len(), 16, "digests have one length");
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Live objects carry digests, therefore another digest function would restart every member.
    #[test]
    fn the_digest_never_changes() {
        assert_eq!(digest(&""), "07cc7607b4949e25");
        assert_eq!(
            digest(&serde_json::json!({ "b": 1, "a": [true] })),
            digest(&serde_json::json!({ "a": [true], "b": 1 }))
        );
    }
}
