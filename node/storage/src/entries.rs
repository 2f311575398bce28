//! Entries of a log as one run of bytes with a checksum, for a member that repairs its log. Owns this form. Does not own the encoding of
//! an entry (`codec.rs`).

use bytes::Bytes;
use raft::Entry;

use crate::checksum;
use crate::codec::{DecodeError, EncodeError, Reader, put_entry};

/// Number of bytes of an encoded entry without those of its payload.
pub const BYTES_BESIDE_PAYLOAD: u64 = 29;

/// Encodes entries, and returns the bytes and their CRC-32C.
///
/// # Errors
/// Returns an error if an entry is too large to be stored.
pub fn encode(entries: &[Entry]) -> Result<(Bytes, u32), EncodeError> {
    let mut bytes = Vec::new();
    for entry in entries {
        put_entry(&mut bytes, entry)?;
    }
    let crc32c = checksum::of(&bytes);
    Ok((bytes.into(), crc32c))
}

/// Decodes entries. Their payloads are slices of the bytes.
///
/// # Errors
/// Returns an error if the checksum is another one, or if an entry is malformed.
pub fn decode(bytes: Bytes, crc32c: u32) -> Result<Vec<Entry>, DecodeError> {
    if checksum::of(&bytes) != crc32c {
        return Err(DecodeError::Malformed("checksum of entries"));
    }
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while reader.remaining() > 0 {
        entries.push(reader.entry()?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use raft::{EntryId, Index, Payload, Term};

    use super::*;

    #[test]
    fn entries_arrive_as_they_were_sent_and_a_flipped_bit_does_not() {
        let entry = |index: u64| Entry {
            id: EntryId { term: Term(3), index: Index(index) },
            time_ms: index,
            payload: Payload::Normal(vec![index as u8; 20].into()),
        };
        let entries: Vec<Entry> = (1..5).map(entry).collect();
        let (bytes, crc32c) = encode(&entries).unwrap();
        assert_eq!(bytes.len() as u64, 4 * (BYTES_BESIDE_PAYLOAD + 20));
        assert_eq!(decode(bytes.clone(), crc32c).as_deref(), Ok(&entries[..]));
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            assert!(decode(flipped.into(), crc32c).is_err(), "byte {at}");
        }
        assert_eq!(decode(Bytes::new(), 0), Ok(Vec::new()));
    }
}
