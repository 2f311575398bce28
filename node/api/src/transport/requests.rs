//! The messages of one call from its client. Owns how a message is received: its memory is reserved as soon as its
//! length is known, and messages that are too large, compressed or too slow are refused. Does not own their meaning.
//!
//! The framing is our own instead of that of `tonic` with a raw codec. That one opens a stream's window when it polls the
//! body and copies each message into a buffer that grows with the announced length, so a message could neither wait for
//! memory nor have a pace of its own while its stream has none.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderValue;
use tonic::{Code, Status};

use super::capacity::Reserved;
use super::connections::OpenCall;
use super::memory::HeldMemory;
use crate::grpc::FRAME_HEADER_BYTES;
use crate::timeout::Pace;

/// Where the bytes of a call come from.
pub(crate) trait Source {
    /// The next bytes; `None` if the client has sent everything.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>>;
    /// Lets the client send as many bytes again.
    fn release(&mut self, bytes: usize);
    /// Returns whether it is known that the client has sent everything.
    fn is_over(&self) -> bool;
}

impl Source for RecvStream {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        self.poll_data(cx)
    }

    fn release(&mut self, bytes: usize) {
        // Fails only if more is released than was received.
        let _ = self.flow_control().release_capacity(bytes);
    }

    fn is_over(&self) -> bool {
        self.is_end_stream()
    }
}

/// A message of a call.
pub(crate) struct Received {
    /// The message, without its frame.
    pub(crate) message: Bytes,
    pub(crate) memory: MessageMemory,
}

/// The memory that a call holds for its message, and the way to more of it.
#[derive(Debug)]
pub(crate) struct MessageMemory {
    call: OpenCall,
    _message: HeldMemory,
}

impl MessageMemory {
    /// Reserves memory for the decoded operations of the message.
    ///
    /// # Errors
    /// Returns an error if there is none for some time.
    pub(crate) async fn reserve_operations(&self, bytes: usize) -> Result<Reserved, Status> {
        self.call.memory().reserve_operations(self.call.connection(), bytes).await
    }

    /// Reserves memory for an answer that keeps stored versions alive; `None` if there is none for some time.
    pub(crate) async fn reserve_answer(&self, bytes: usize) -> Option<Reserved> {
        self.call.memory().reserve_answer(self.call.connection(), bytes).await
    }

    /// The memory of a call of its own port, which has so much for answers.
    #[cfg(test)]
    pub(crate) fn of_port(answers: usize) -> Self {
        let connections = super::connections::Connections::new(1, answers);
        let call = connections.admit().expect("there is a place").call();
        let counted = call.memory().count_request(0).expect("there is memory");
        Self { call, _message: counted }
    }

    /// Maximum size of an answer, in bytes.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        self.call.memory().answer_bytes_max()
    }
}

/// The messages of one call from its client. A stream of messages holds at most one that is under way or not yet asked for,
/// apart from what its window lets the client send ahead.
pub(crate) struct Requests<S = RecvStream> {
    source: S,
    call: OpenCall,
    /// What arrived together with the end of the last message.
    ahead: Bytes,
}

impl<S: Source> Requests<S> {
    pub(super) fn new(source: S, call: OpenCall) -> Self {
        Self { source, call, ahead: Bytes::new() }
    }

    /// Receives the only message of a call, with at most `bytes_max` bytes. A message that arrives in one piece is not
    /// copied. `encoding` is what the client says about compressed messages.
    ///
    /// # Errors
    /// Returns an error if the message is too large, compressed, incomplete or too slow, if there is no memory for it,
    /// or if the call sends a second message.
    pub(crate) async fn only(mut self, encoding: Option<&HeaderValue>, bytes_max: usize) -> Result<Received, Status> {
        let mut pace = Pace::begin();
        let Some(first) = self.next(&pace).await? else {
            return Err(Status::internal("the request has no message"));
        };
        let (message, held) = self.message(first, encoding, bytes_max, &mut pace).await?;
        if !self.ahead.is_empty() || (!self.source.is_over() && self.next(&pace).await?.is_some()) {
            return Err(Status::internal("the request has more than one message"));
        }
        Ok(Received { message, memory: MessageMemory { call: self.call, _message: held } })
    }

    /// Receives the next message of a stream, as [`Requests::only`] does; `None` if the client has sent everything. The client
    /// may be silent before a message for as long as it likes, but not in the middle of one.
    ///
    /// # Errors
    /// Returns an error if the message is too large, compressed, incomplete or too slow, or if there is no memory for it. The
    /// stream cannot go on then.
    #[cfg_attr(not(test), expect(dead_code, reason = "no call that is served yet has a stream of requests"))]
    pub(crate) async fn following(
        &mut self,
        encoding: Option<&HeaderValue>,
        bytes_max: usize,
    ) -> Result<Option<Received>, Status> {
        let first = match std::mem::take(&mut self.ahead) {
            ahead if !ahead.is_empty() => ahead,
            _ => match self.silently_next().await? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        let (message, held) = self.message(first, encoding, bytes_max, &mut Pace::begin()).await?;
        Ok(Some(Received { message, memory: MessageMemory { call: self.call.again(), _message: held } }))
    }

    /// Receives the rest of a message that begins with `first`, and reserves memory for all of it.
    async fn message(
        &mut self,
        mut first: Bytes,
        encoding: Option<&HeaderValue>,
        bytes_max: usize,
        pace: &mut Pace,
    ) -> Result<(Bytes, HeldMemory), Status> {
        while first.len() < FRAME_HEADER_BYTES {
            let Some(next) = self.next(pace).await? else { return Err(incomplete()) };
            first = [first, next].concat().into();
        }
        let length = message_length(encoding, &first, bytes_max)?;
        let held = self.call.memory().reserve_request(self.call.connection(), length).await?;
        let size = FRAME_HEADER_BYTES + length;
        // While the message waited for memory, its client waited as well.
        *pace = Pace::begin();
        let mut message = if first.len() < size { self.rest(first, size, pace).await? } else { first };
        self.ahead = message.split_off(size);
        message.advance(FRAME_HEADER_BYTES);
        Ok((message, held))
    }

    /// Receives further pieces until a message of this size is complete.
    async fn rest(&mut self, first: Bytes, size: usize, pace: &mut Pace) -> Result<Bytes, Status> {
        let mut message = BytesMut::with_capacity(size);
        message.extend_from_slice(&first);
        while message.len() < size {
            let Some(next) = self.next(pace).await? else { return Err(incomplete()) };
            pace.moved(next.len());
            message.extend_from_slice(&next);
        }
        Ok(message.freeze())
    }

    /// The next bytes; `None` if the client has sent everything.
    async fn next(&mut self, pace: &Pace) -> Result<Option<Bytes>, Status> {
        let next = pace.wait(self.silently_next()).await;
        next.map_err(|_| Status::deadline_exceeded("raft-node: the request did not arrive in time"))?
    }

    /// The next bytes, however long the client is silent; `None` if it has sent everything.
    async fn silently_next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            match poll_fn(|cx| self.source.poll_bytes(cx)).await {
                None => return Ok(None),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.source.release(bytes.len());
                    return Ok(Some(bytes));
                }
                // The client has disconnected and receives no answer.
                Some(Err(_)) => return Err(Status::cancelled("the client disconnected")),
            }
        }
    }
}

fn incomplete() -> Status {
    Status::internal("the request ended inside its message")
}

/// Length of the message with this header.
fn message_length(encoding: Option<&HeaderValue>, header: &[u8], bytes_max: usize) -> Result<usize, Status> {
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    match header[0] {
        0 => {}
        1 => return Err(compressed(encoding)),
        other => return Err(Status::internal(format!("the message has an unknown compression flag: {other}"))),
    }
    if length > bytes_max {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message larger than max ({length} vs. {bytes_max})"),
        ));
    }
    Ok(length)
}

fn compressed(encoding: Option<&HeaderValue>) -> Status {
    match encoding.and_then(|encoding| encoding.to_str().ok()) {
        None | Some("identity") => Status::internal("grpc: compressed flag set with identity or empty encoding"),
        Some(encoding) => {
            Status::unimplemented(format!("grpc: Decompressor is not installed for grpc-encoding \"{encoding}\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::connections::Connections;
    use super::*;

    /// A call that arrives in the given pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Source for Pieces {
        fn poll_bytes(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn release(&mut self, _: usize) {}

        fn is_over(&self) -> bool {
            self.0.is_empty()
        }
    }

    async fn received_as(encoding: Option<&'static str>, pieces: &[&[u8]]) -> Result<Bytes, Status> {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let encoding = encoding.map(HeaderValue::from_static);
        let requests = Requests::new(Pieces(pieces), Connections::new(1, 0).admit().expect("a place").call());
        requests.only(encoding.as_ref(), 10).await.map(|received| received.message)
    }

    async fn received(pieces: &[&[u8]]) -> Result<Bytes, Status> {
        received_as(None, pieces).await
    }

    #[tokio::test]
    async fn a_message_is_received_in_any_pieces() {
        let whole = b"\0\0\0\0\x03abc";
        assert_eq!(received(&[whole]).await.unwrap(), "abc");
        for cut in 1..whole.len() {
            assert_eq!(received(&[&whole[..cut], &whole[cut..]]).await.unwrap(), "abc", "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.iter().map(std::slice::from_ref).collect();
        assert_eq!(received(&bytes).await.unwrap(), "abc");
        assert_eq!(received(&[b"\0\0\0\0\0"]).await.unwrap(), "");
    }

    /// The expected text is that of grpc-go.
    #[tokio::test]
    async fn a_message_above_the_limit_is_refused_before_it_is_complete() {
        for pieces in [&[&b"\0\0\0\0\x0b"[..]][..], &[b"\0\0\0", b"\0\x0babcde"]] {
            let status = received(pieces).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(status.message(), "grpc: received message larger than max (11 vs. 10)");
        }
        assert_eq!(received(&[b"\0\0\0\0\x0a0123456789"]).await.unwrap(), "0123456789");
    }

    #[tokio::test]
    async fn a_request_that_is_not_one_complete_message_is_refused() {
        for pieces in [
            &[][..],
            &[&b"\0\0\0"[..]][..],
            &[b"\0\0\0\0\x03ab"],
            &[b"\0\0\0\0\x01a\0"],
            &[b"\0\0\0\0\x01a", b"\0\0\0\0\x01a"],
            &[b"\x01\0\0\0\x01a"],
            &[b"\x02\0\0\0\x01a"],
        ] {
            assert_eq!(received(pieces).await.unwrap_err().code(), Code::Internal, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn the_messages_of_a_stream_are_received_in_any_pieces() {
        let whole = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01d";
        for length in 1..=whole.len() {
            let pieces = whole.chunks(length).map(Bytes::copy_from_slice).collect();
            let connections = Connections::new(1, 0);
            let mut requests = Requests::new(Pieces(pieces), connections.admit().expect("a place").call());
            for expected in [Some("abc"), Some(""), Some("d"), None] {
                let received =
                    requests.following(None, 10).await.expect("it is whole").map(|received| received.message);
                assert_eq!(received.as_deref(), expected.map(str::as_bytes), "in pieces of {length} bytes");
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_message_is_refused() {
        for pieces in [&[&b"\0\0\0\0\x01a\0"[..]][..], &[b"\0\0\0\0\x01a", b"\0\0\0\0\x02b"]] {
            let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
            let mut requests = Requests::new(Pieces(pieces), Connections::new(1, 0).admit().expect("a place").call());
            assert_eq!(requests.following(None, 10).await.expect("it is whole").expect("a message").message, "a");
            assert_eq!(requests.following(None, 10).await.err().expect("it is cut off").code(), Code::Internal);
        }
    }

    #[tokio::test]
    async fn the_refusal_of_a_compressed_message_names_the_encoding() {
        let status = received_as(Some("gzip"), &[b"\x01\0\0\0\x01a"]).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.message(), "grpc: Decompressor is not installed for grpc-encoding \"gzip\"");
    }
}
