//! Frames of HTTP/2, written out (RFC 9113 §4.1), so that tests can send what no client's library sends. Owns their
//! encoding. Does not own which frames are sent.

use tokio::io::{AsyncRead, AsyncReadExt};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// A received frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, and settings with this window for each stream.
pub(super) fn begin(window: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..], &window_update(0, 1 << 30)].concat()
}

pub(super) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A field of a header block that is neither compressed nor indexed.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let (name_length, value_length) = (name.len() as u8, value.len() as u8);
    [&[0, name_length], name.as_bytes(), &[value_length], value.as_bytes()].concat()
}

/// The fields of a call without an authority.
pub(super) fn fields(path: &str) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A frame with the only message of a call.
pub(super) fn message(stream: u32, message: &[u8]) -> Vec<u8> {
    let message = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    frame(DATA, END_STREAM, stream, &message)
}

/// A call with one message, in two frames.
pub(super) fn call(stream: u32, path: &str, content: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, &fields(path)), message(stream, content)].concat()
}

/// The next frame; `None` if the connection has ended.
pub(super) async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], stream: number, payload })
}
