//! Requests whose `:authority` is no host and port, such as an empty one or several addresses. gRPC's clients in C, and
//! some in Go, send them and etcd serves them, but `h2` resets their streams. Owns the change of such requests before
//! `h2` reads them. Does not own reading (`preface.rs`).
//!
//! Only the first request of a connection decides. If its authority is acceptable, all bytes of the connection pass
//! unchanged and without being looked at. Otherwise all header blocks of the connection are decoded, because the
//! compression of each depends on the former ones, and encoded again without the refused authority, which no call
//! needs. The new encoding is stateless.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use http::uri;
use loona_hpack::Decoder;

use super::hpack::{put_length, uncompressed};

/// Size of a frame's head, in bytes: length, kind, flags, stream (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// Maximum size of a frame's payload that `h2` accepts, in bytes.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Maximum size of a header block, encoded or decoded, in bytes. `h2` accepts half of it.
const BLOCK_BYTES_MAX: usize = 32 << 10;
/// Number of bytes for `h2` from which on no further frame is changed, until they were read.
const OUT_BYTES_MAX: usize = 16 << 10;
/// Size of the table that a client may use for the compression of headers, in bytes. `h2` announces no other one.
const TABLE_BYTES_MAX: usize = 4_096;
/// Number of bytes that a decoded field counts in addition to its name and value (RFC 9113 §6.5.2).
const FIELD_BYTES: usize = 32;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A header block that cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header block cannot be decoded")]
pub(super) struct Undecodable;

/// The received bytes of one HTTP/2 connection, after its preface.
pub(super) struct Authority {
    decoder: Decoder<'static>,
    /// What was received of the present frame: its head, and its payload if that is a part of a header block.
    frame: BytesMut,
    /// Number of bytes of the frame's payload that are still to pass.
    passing: usize,
    block: Option<Block>,
    /// Whether header blocks are changed.
    rewrites: bool,
    is_over: bool,
}

/// A header block that is being received.
struct Block {
    flags: u8,
    stream: [u8; 4],
    /// The frames of the block, as received.
    frames: BytesMut,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(TABLE_BYTES_MAX);
        Self { decoder, frame: BytesMut::new(), passing: 0, block: None, rewrites: false, is_over: false }
    }

    /// Returns whether all further bytes pass unchanged.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes received bytes, and appends to `out` those that `h2` is to read. Stops when `out` holds [`OUT_BYTES_MAX`],
    /// because a short block may name long fields of the table: the rest of `input` is to be given again.
    ///
    /// # Errors
    /// Returns an error if the connection must end.
    pub(super) fn pass(&mut self, input: &mut &[u8], out: &mut BytesMut) -> Result<(), Undecodable> {
        while !input.is_empty() && out.len() < OUT_BYTES_MAX {
            if self.is_over {
                out.extend_from_slice(std::mem::take(input));
                break;
            }
            if self.passing > 0 {
                let passed = take(input, self.passing);
                self.passing -= passed.len();
                out.extend_from_slice(passed);
                continue;
            }
            let missing = HEAD_BYTES.saturating_sub(self.frame.len());
            self.frame.extend_from_slice(take(input, missing));
            let Some(payload) = self.payload_bytes() else { continue };
            let missing = HEAD_BYTES + payload - self.frame.len();
            if !self.is_of_block(payload) {
                self.pass_frame(missing, out)?;
                continue;
            }
            self.frame.extend_from_slice(take(input, missing));
            if self.frame.len() == HEAD_BYTES + payload {
                self.end_frame(out)?;
            }
        }
        Ok(())
    }

    /// Size of the payload; `None` if the head is not complete.
    fn payload_bytes(&self) -> Option<usize> {
        self.frame.first_chunk().map(payload_bytes)
    }

    /// Returns whether the frame is a part of a header block that `h2` may accept.
    fn is_of_block(&self, payload: usize) -> bool {
        let (kind, stream) = (self.frame[3], &self.frame[5..HEAD_BYTES]);
        let fits = payload <= PAYLOAD_BYTES_MAX;
        match &self.block {
            None => kind == HEADERS && fits,
            Some(block) => {
                kind == CONTINUATION && fits && block.stream == stream && block.frames.len() <= BLOCK_BYTES_MAX
            }
        }
    }

    /// Passes a frame that is no part of a header block.
    fn pass_frame(&mut self, payload: usize, out: &mut BytesMut) -> Result<(), Undecodable> {
        if self.block.is_some() || self.frame[3] == HEADERS {
            // `h2` will refuse this frame.
            return self.give_up(out);
        }
        self.passing = payload;
        out.extend_from_slice(&self.frame.split());
        Ok(())
    }

    fn end_frame(&mut self, out: &mut BytesMut) -> Result<(), Undecodable> {
        let frame = std::mem::take(&mut self.frame);
        let flags = frame[4];
        let stream = [frame[5], frame[6], frame[7], frame[8]];
        let mut block = self.block.take().unwrap_or_else(|| Block { flags, stream, frames: BytesMut::new() });
        block.frames.unsplit(frame);
        if flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        let Ok(fields) = self.decode(&block) else {
            self.block = Some(block);
            return self.give_up(out);
        };
        if !self.rewrites && !fields.is_refused {
            self.is_over = true;
            out.extend_from_slice(&block.frames);
            return Ok(());
        }
        self.rewrites = true;
        write(&block, &fields.encoded, out);
        Ok(())
    }

    /// Lets `h2` refuse what was received, unless it has not seen the former header blocks.
    fn give_up(&mut self, out: &mut BytesMut) -> Result<(), Undecodable> {
        if self.rewrites {
            return Err(Undecodable);
        }
        self.is_over = true;
        out.extend_from_slice(&self.block.take().map(|block| block.frames).unwrap_or_default());
        out.extend_from_slice(&self.frame.split());
        Ok(())
    }

    fn decode(&mut self, block: &Block) -> Result<Fields, Undecodable> {
        let fragments = block.fragments().filter(|fragments| fragments.len() <= BLOCK_BYTES_MAX);
        let block = fragments.and_then(|fragments| uncompressed(&fragments)).ok_or(Undecodable)?;
        let mut fields = Fields::default();
        let decoded = self.decoder.decode_with_cb(&block, |name, value| fields.add(name, value));
        match decoded {
            Ok(()) if fields.bytes <= BLOCK_BYTES_MAX => Ok(fields),
            _ => Err(Undecodable),
        }
    }
}

impl Block {
    /// The fields, encoded as received; `None` if a frame is malformed.
    fn fragments(&self) -> Option<Vec<u8>> {
        let (mut fragments, mut frames) = (Vec::with_capacity(self.frames.len()), &self.frames[..]);
        while let Some((head, rest)) = frames.split_first_chunk::<HEAD_BYTES>() {
            let (payload, rest) = rest.split_at_checked(payload_bytes(head))?;
            fragments.extend_from_slice(if head[3] == HEADERS { fragment(head[4], payload)? } else { payload });
            frames = rest;
        }
        Some(fragments)
    }
}

/// The fields of a header block.
#[derive(Default)]
struct Fields {
    /// The fields without a refused authority, encoded again.
    encoded: BytesMut,
    bytes: usize,
    is_refused: bool,
}

impl Fields {
    fn add(&mut self, name: Cow<'_, [u8]>, value: Cow<'_, [u8]>) {
        self.bytes += name.len() + value.len() + FIELD_BYTES;
        if self.bytes > BLOCK_BYTES_MAX {
            return;
        }
        // `h2` asks the same function.
        if &*name == b":authority" && uri::Authority::try_from(&*value).is_err() {
            self.is_refused = true;
            return;
        }
        // A literal that is not indexed, with a new name (RFC 7541 §6.2.2).
        self.encoded.put_u8(0);
        for text in [name, value] {
            put_length(&mut self.encoded, text.len());
            self.encoded.put_slice(&text);
        }
    }
}

/// Appends the frames of a header block.
fn write(block: &Block, encoded: &[u8], out: &mut BytesMut) {
    let mut kind = HEADERS;
    let mut rest = encoded;
    loop {
        let payload = take(&mut rest, PAYLOAD_BYTES_MAX);
        let ends_stream = if kind == HEADERS { block.flags & END_STREAM } else { 0 };
        let ends_headers = if rest.is_empty() { END_HEADERS } else { 0 };
        out.put_uint(payload.len() as u64, 3);
        out.put_slice(&[kind, ends_stream | ends_headers]);
        out.put_slice(&block.stream);
        out.put_slice(payload);
        if rest.is_empty() {
            return;
        }
        kind = CONTINUATION;
    }
}

/// Size of the payload of a frame with this head.
fn payload_bytes(head: &[u8; HEAD_BYTES]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}

/// The part of a HEADERS frame that belongs to the header block; `None` if the frame is malformed.
fn fragment(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    let (padding, payload) = match flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(padding, rest)| (usize::from(*padding), rest))?,
    };
    let payload = if flags & PRIORITY == 0 { payload } else { payload.get(5..)? };
    payload.get(..payload.len().checked_sub(padding)?)
}

/// Takes at most `bytes` bytes.
fn take<'a>(input: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(bytes.min(input.len()));
    *input = rest;
    taken
}

#[cfg(test)]
impl Authority {
    /// A connection whose first request was refused.
    pub(super) fn that_changes() -> Self {
        Self { rewrites: true, ..Self::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What `h2` reads of frames that are received in pieces of a size, and whether further bytes pass unchanged.
    fn passed(authority: &mut Authority, received: &[u8], size: usize) -> Result<Vec<u8>, Undecodable> {
        let mut passed = BytesMut::new();
        for piece in received.chunks(size) {
            let mut piece = piece;
            while !piece.is_empty() {
                let mut out = BytesMut::new();
                authority.pass(&mut piece, &mut out)?;
                assert!(out.len() < 2 * (OUT_BYTES_MAX + PAYLOAD_BYTES_MAX), "{} bytes at once", out.len());
                passed.extend_from_slice(&out);
            }
        }
        Ok(passed.to_vec())
    }

    /// Fields as ordinary clients send them: an authority that is indexed and compressed, or none.
    const ORDINARY: [&[u8]; 3] = [b"\x41\x04demo\x83", b"\x83\x86", b"\x41\x82\x21\xff"];

    #[test]
    fn an_ordinary_connection_is_not_touched() {
        for fields in ORDINARY {
            let received = [
                frame(4, 0, &[0; 6]),
                frame(8, 0, &[0, 0, 1, 0]),
                frame(HEADERS, END_HEADERS, fields),
                frame(0, END_STREAM, b"data"),
                // Nothing is decoded any more: this is no header block.
                frame(HEADERS, END_HEADERS, &[0xff; 20]),
            ]
            .concat();
            for size in 1..received.len() {
                let mut authority = Authority::new();
                assert_eq!(passed(&mut authority, &received, size).unwrap(), received);
                assert!(authority.is_over());
            }
        }
    }

    #[test]
    fn bytes_pass_before_the_first_request() {
        let settings = [frame(4, 0, &[0; 6]), frame(6, 0, &[0; 8])].concat();
        let mut authority = Authority::new();
        assert_eq!(passed(&mut authority, &settings, 5).unwrap(), settings);
        assert!(!authority.is_over());
    }

    #[test]
    fn a_refused_authority_is_left_out_and_the_rest_is_written_anew() {
        let received =
            [frame(HEADERS, END_HEADERS | END_STREAM, b"\x83\x41\x03a#b\x86"), frame(0, 1, b"data")].concat();
        let fields = b"\0\x07:method\x04POST\0\x07:scheme\x04http";
        let expected = [frame(HEADERS, END_HEADERS | END_STREAM, fields), frame(0, 1, b"data")].concat();
        for size in 1..received.len() {
            let mut authority = Authority::new();
            assert_eq!(passed(&mut authority, &received, size).unwrap(), expected);
            assert!(!authority.is_over());
        }
    }

    #[test]
    fn what_h2_refuses_is_left_to_h2_while_nothing_was_changed() {
        let begun = || frame(HEADERS, 0, b"\x41\x00");
        for received in [
            // Another frame, or one of another stream, inside a header block.
            [begun(), frame(0, 0, b"data")].concat(),
            [
                begun(),
                frame(CONTINUATION, END_HEADERS, b"\x83")
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| byte ^ (u8::from(at == 8) * 2))
                    .collect(),
            ]
            .concat(),
            // Padding that is longer than the frame, and a frame that is too long.
            frame(HEADERS, END_HEADERS | PADDED, b"\x09\x83"),
            frame(HEADERS, END_HEADERS | PRIORITY, b"\x83"),
            frame(HEADERS, END_HEADERS, &[0x83; PAYLOAD_BYTES_MAX + 1]),
            // A table that is too large, and a field that is not in the table.
            frame(HEADERS, END_HEADERS, b"\x3f\xff\x7f\x83"),
            frame(HEADERS, END_HEADERS, b"\xff\x40"),
        ] {
            for size in [1, 7, received.len()] {
                let mut authority = Authority::new();
                assert_eq!(passed(&mut authority, &received, size).unwrap(), received);
                assert!(authority.is_over(), "{received:?}");
                assert_eq!(passed(&mut Authority::that_changes(), &received, size), Err(Undecodable), "{received:?}");
            }
        }
    }

    /// A block of few bytes can stand for many. They are not kept.
    #[test]
    fn a_block_that_decodes_to_too_much_is_refused() {
        let value = [0x40, 0x01, b'n', 0x7f, 0x81, 0x1e].into_iter().chain([b'v'; 4_000]).collect::<Vec<u8>>();
        let block = [&value[..], &[0x80 | 62; 8_000]].concat();
        let received = frame(HEADERS, END_HEADERS, &block);
        assert_eq!(passed(&mut Authority::that_changes(), &received, 1_000), Err(Undecodable));
        let endless = [frame(HEADERS, 0, b""), frame(CONTINUATION, 0, &[0x83; 16_000]).repeat(6)].concat();
        assert_eq!(passed(&mut Authority::that_changes(), &endless, 1_000), Err(Undecodable));
    }

    /// One field of the table, named in many short frames, stands for much more than what was received.
    #[test]
    fn few_frames_are_changed_before_they_are_read() {
        let value = [0x40, 0x01, b'n', 0x7f, 0x81, 0x1e].into_iter().chain([b'v'; 3_968]).collect::<Vec<u8>>();
        let mut authority = Authority::that_changes();
        passed(&mut authority, &frame(HEADERS, END_HEADERS, &value), 1_000).unwrap();
        let received = frame(HEADERS, END_HEADERS, &[0x83, 0x80 | 62, 0x80 | 62]).repeat(500);
        let (mut unseen, mut out) = (&received[..], BytesMut::new());
        authority.pass(&mut unseen, &mut out).unwrap();
        assert!(out.len() < OUT_BYTES_MAX + PAYLOAD_BYTES_MAX, "{} bytes", out.len());
        let rest = passed(&mut authority, unseen, unseen.len()).unwrap();
        assert!(out.len() + rest.len() > 3_500_000);
    }

    /// A block may hold thousands of short texts. A compressed one must not take much longer than another one, as it would if
    /// its decoding began with a table.
    #[test]
    fn a_block_of_very_many_compressed_texts_takes_little_time() {
        let blocks = [&[0x04, 0x01, b'a'], &[0x04, 0x81, 0x1f]];
        let blocks = blocks.map(|field| frame(HEADERS, END_HEADERS, &field.repeat(800)));
        let mut took = [std::time::Duration::ZERO; 2];
        for _ in 0..50 {
            for (block, took) in blocks.iter().zip(&mut took) {
                let began = std::time::Instant::now();
                let fields = passed(&mut Authority::that_changes(), block, block.len()).unwrap();
                *took += began.elapsed();
                assert!(fields.ends_with(b"\0\x05:path\x01a"));
            }
        }
        assert!(took[1] < took[0] * 8, "{took:?}");
    }

    #[test]
    fn a_long_block_is_written_in_several_frames() {
        let value = [b'v'; 300];
        let field = [&[0, 1, b'n', 0x7f, 0xad, 0x01], &value[..]].concat();
        let received = [
            frame(HEADERS, 0, &[&b"\x81"[..], &field.repeat(30)].concat()),
            frame(CONTINUATION, END_HEADERS, &field.repeat(30)),
        ]
        .concat();
        let written = passed(&mut Authority::new(), &received, 4_096).unwrap();
        let encoded = field.repeat(60);
        let expected = [
            frame(HEADERS, 0, &encoded[..PAYLOAD_BYTES_MAX]),
            frame(CONTINUATION, END_HEADERS, &encoded[PAYLOAD_BYTES_MAX..]),
        ];
        assert_eq!(written, expected.concat());
    }

    #[test]
    fn random_bytes_do_no_harm() {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as u8
        };
        for _ in 0..20_000 {
            let mut authority = Authority::that_changes();
            let mut passed = BytesMut::new();
            for _ in 0..1 + random() % 3 {
                let payload: Vec<u8> = (0..random()).map(|_| random()).collect();
                let kind = [HEADERS, HEADERS, CONTINUATION, 0][usize::from(random() % 4)];
                let received = frame(kind, random() | END_HEADERS, &payload);
                if authority.pass(&mut &received[..], &mut passed).is_err() {
                    break;
                }
                assert!(passed.len() < OUT_BYTES_MAX + 2 * BLOCK_BYTES_MAX);
            }
        }
    }
}
