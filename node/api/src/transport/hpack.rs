//! Header blocks of HTTP/2 as bytes (RFC 7541). Owns what is needed of them besides a decoder: the count of a block's texts
//! before it is decoded, and the length of a text that is written. Does not own the tables (`loona-hpack`).

use bytes::{BufMut, BytesMut};

/// Number of texts in a header block, without decoding them; `None` if the block is malformed (RFC 7541 §6).
pub(super) fn texts(mut block: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some(&first) = block.first() {
        // An indexed field, a literal that is indexed, a new size of the table, a literal that is not indexed.
        let (prefix, is_literal) = match first.leading_zeros() {
            0 => (7, false),
            1 => (6, true),
            2 => (5, false),
            _ => (4, true),
        };
        let index = integer(&mut block, prefix)?;
        let of_field = if !is_literal {
            0
        } else if index == 0 {
            2
        } else {
            1
        };
        for _ in 0..of_field {
            let length = integer(&mut block, 7)?;
            block = block.get(length..)?;
        }
        count += of_field;
    }
    Some(count)
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
    fn texts_are_counted_without_being_decoded() {
        for (block, count) in [
            (&b"\x83\x86\x44\x01/"[..], Some(1)),
            (b"\0\x01n\x01v\x10\x01n\x81\x1f", Some(4)),
            (b"\x3f\xe1\x1f\x83", Some(0)),
            (b"\x0f\x02\x03abc", Some(1)),
            (b"\x44\x02/", None),
            (b"\xff\xff\xff\xff\xff\xff", None),
            (b"\xff", None),
        ] {
            assert_eq!(texts(block), count, "{block:?}");
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
