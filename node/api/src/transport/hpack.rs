//! Header blocks of HTTP/2 as bytes (RFC 7541). Owns what is needed of them besides a decoder of fields: the texts of a block
//! without their compression, and the length of a text that is written. Does not own the tables (`loona-hpack`), nor the
//! compression of a text (`huffman.rs`).

use bytes::{BufMut, BytesMut};

use super::huffman;

/// Returns a header block with the same fields whose texts are not compressed; `None` if the block is malformed (RFC 7541 §6).
/// It is at most 8/5 as long.
///
/// The decoder of fields would build a table for each compressed text, so that a client could occupy a processor with short
/// frames.
pub(super) fn uncompressed(mut block: &[u8]) -> Option<BytesMut> {
    let mut out = BytesMut::with_capacity(block.len() * 2);
    while let Some(&first) = block.first() {
        // An indexed field, a literal that is indexed, a new size of the table, a literal that is not indexed.
        let (prefix, is_literal) = match first.leading_zeros() {
            0 => (7, false),
            1 => (6, true),
            2 => (5, false),
            _ => (4, true),
        };
        let whole = block;
        let index = integer(&mut block, prefix)?;
        out.put_slice(&whole[..whole.len() - block.len()]);
        let texts = match (is_literal, index) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        };
        for _ in 0..texts {
            put_uncompressed(&mut block, &mut out)?;
        }
    }
    Some(out)
}

/// Reads a text and appends it without its compression (RFC 7541 §5.2).
fn put_uncompressed(block: &mut &[u8], out: &mut BytesMut) -> Option<()> {
    const COMPRESSED: u8 = 128;
    let is_compressed = block.first()? & COMPRESSED != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    let decoded = if is_compressed { Some(huffman::decode(text)?) } else { None };
    let text = decoded.as_deref().unwrap_or(text);
    put_length(out, text.len());
    out.put_slice(text);
    Some(())
}

/// Reads an integer whose first byte has a prefix of this many bits (RFC 7541 §5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, mut rest) = block.split_first()?;
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(first & mask);
    if first & mask == mask {
        for shift in (0..28).step_by(7) {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            value += usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                *block = rest;
                return Some(value);
            }
        }
        return None;
    }
    *block = rest;
    Some(value)
}

/// Appends the length of a text that is not compressed (RFC 7541 §5.1, with a prefix of seven bits).
pub(super) fn put_length(out: &mut BytesMut, length: usize) {
    const PREFIX_MAX: usize = 127;
    let Some(mut rest) = length.checked_sub(PREFIX_MAX) else {
        out.put_u8(length as u8);
        return;
    };
    out.put_u8(PREFIX_MAX as u8);
    while rest >= 128 {
        out.put_u8(rest as u8 | 128);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_compressed_texts_change() {
        for (block, uncompressed_block) in [
            (&b"\x83\x86\x44\x01/"[..], Some(&b"\x83\x86\x44\x01/"[..])),
            (b"\0\x01n\x01v\x10\x01n\x81\x1f\x83", Some(b"\0\x01n\x01v\x10\x01n\x01a\x83")),
            (b"\x3f\xe1\x1f\x83", Some(b"\x3f\xe1\x1f\x83")),
            (b"\x0f\x02\x82\x64\x02", Some(b"\x0f\x02\x03302")),
            (b"\x0f\x02\x80", Some(b"\x0f\x02\0")),
            (b"\x44\x02/", None),
            (b"\x44\x81\xff", None),
            (b"\xff\xff\xff\xff\xff\xff", None),
            (b"\xff", None),
            (b"\x44", None),
        ] {
            assert_eq!(uncompressed(block).as_deref(), uncompressed_block, "{block:?}");
        }
    }

    #[test]
    fn a_length_is_read_as_it_was_written() {
        for length in [0, 1, 126, 127, 128, 254, 255, 300, 16_383, 16_384, 65_536, 2_000_000] {
            let mut written = BytesMut::new();
            put_length(&mut written, length);
            let mut rest = &written[..];
            assert_eq!((integer(&mut rest, 7), rest), (Some(length), &[][..]));
        }
    }
}
