//! The compression of texts in header blocks of HTTP/2 (RFC 7541 §5.2 and Appendix B). Owns the decoding of one text. Does not
//! own where texts stand in a block (`hpack.rs`).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and shorter codes come
//! first. The lengths alone therefore define it, and a symbol is found by comparing the next bits with the end of each length.

/// Number of symbols: all bytes, and the end of the text.
const SYMBOLS: usize = 257;
/// The symbol that ends a text. Its code stands only in the padding, and never as a whole.
const END: u16 = 256;
const LENGTH_MIN: usize = 5;
const LENGTH_MAX: usize = 30;

/// Length of the code of each symbol, in bits.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    /// First number above these codes, moved to the front of 32 bits.
    end: u64,
    /// Number of the first code.
    first: u32,
    /// Position of its symbol in the order of codes.
    position: usize,
}

/// The symbols in the order of their codes, and the codes of each length.
static CODE: ([u16; SYMBOLS], [Codes; LENGTH_MAX + 1]) = code();

const fn code() -> ([u16; SYMBOLS], [Codes; LENGTH_MAX + 1]) {
    let mut symbols = [0; SYMBOLS];
    let mut codes = [Codes { end: 0, first: 0, position: 0 }; LENGTH_MAX + 1];
    let (mut next, mut position, mut length) = (0, 0, 1);
    while length <= LENGTH_MAX {
        next <<= 1;
        let first = next;
        codes[length].position = position;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                symbols[position] = symbol as u16;
                position += 1;
                next += 1;
            }
            symbol += 1;
        }
        codes[length].first = first;
        codes[length].end = (next as u64) << (32 - length);
        length += 1;
    }
    assert!(position == SYMBOLS && codes[LENGTH_MAX].end == 1 << 32, "the code is complete");
    (symbols, codes)
}

/// Decodes a text; `None` if it is malformed. The time is linear in the number of bytes. A text has at most 8/5 as many bytes
/// as its compressed form.
pub(super) fn decode(compressed: &[u8]) -> Option<Vec<u8>> {
    let (symbols, codes) = &CODE;
    let mut text = Vec::with_capacity(compressed.len() * 8 / LENGTH_MIN);
    let mut rest = compressed.iter();
    // The next bits, from the highest one on, and how many there are. The others are 0.
    let (mut bits, mut count) = (0_u64, 0);
    loop {
        while count <= 32
            && let Some(byte) = rest.next()
        {
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        // The padding: less than a byte of the highest bits of the end's code, which are all 1.
        if count < 8 && bits.leading_ones() >= count {
            return Some(text);
        }
        let next = bits >> 32;
        let length = (LENGTH_MIN..=LENGTH_MAX).find(|length| next < codes[*length].end)?;
        if length as u32 > count {
            return None;
        }
        let Codes { first, position, .. } = codes[length];
        let number = (next >> (32 - length)) as usize - first as usize;
        match symbols[position + number] {
            END => return None,
            byte => text.push(byte as u8),
        }
        bits <<= length;
        count -= length as u32;
    }
}

#[cfg(test)]
mod tests {
    use loona_hpack::huffman::HuffmanDecoder;

    use super::*;

    /// Examples of RFC 7541, Appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        for (compressed, text) in [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ] {
            assert_eq!(decode(compressed).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for malformed in [
            // A whole byte of padding, padding with a 0, a part of a code, and the end.
            &[0xff][..],
            &[0x64, 0x02, 0xff],
            &[0x1e],
            &[0xff, 0xff, 0xfa],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc, 0x1f],
        ] {
            assert_eq!(decode(malformed), None, "{malformed:?}");
        }
    }

    /// The other decoder is slow, and independent of this one.
    #[test]
    fn another_decoder_finds_the_same() {
        let mut other = HuffmanDecoder::new();
        let mut seed = 5_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as u8
        };
        let mut decoded = 0;
        for round in 0..40_000 {
            // Bytes of many 1s reach the long codes, and the padding.
            let ones = round % 4;
            let text: Vec<u8> =
                (0..random() % 12).map(|_| (0..ones).fold(random(), |byte, _| byte | random())).collect();
            let expected = other.decode(&text).ok();
            decoded += usize::from(expected.is_some());
            assert_eq!(decode(&text), expected, "{text:?}");
        }
        assert!(decoded > 4_000, "{decoded} are no malformed ones");
    }
}
