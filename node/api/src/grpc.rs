//! Owns gRPC's framing. A call receives one message, sends one message or a stream of messages, and ends with a
//! status. Does not own the meaning of messages.
//!
//! etcd's calls use this module instead of generated servers for three reasons: a small request costs two allocations
//! and is not copied, a response is written directly from the store's encoding, and the texts of errors equal those of
//! etcd.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::Stream;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status};

use crate::timeout::Arrival;

/// Size of a frame's header, in bytes: compression flag and length.
const FRAME_HEADER_BYTES: usize = 5;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Encoded messages, each with its frame header. An error ends the stream, and the status of the error is sent.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Body of every answer on the client port.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    /// A body of plain HTTP, without gRPC's framing.
    Plain(Bytes),
    One(Bytes),
    Many(Messages),
    Status(HeaderMap),
}

impl Body {
    /// Creates a body without gRPC's framing.
    #[must_use]
    pub fn plain(bytes: Bytes) -> Body {
        Body(Kind::Plain(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match &mut self.0 {
            Kind::Empty => return Poll::Ready(None),
            Kind::Plain(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Frame::data(bytes)
            }
            Kind::One(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Status(trailers(None));
                Frame::data(bytes)
            }
            Kind::Many(messages) => match ready!(messages.as_mut().poll_next(context)) {
                Some(Ok(bytes)) => Frame::data(bytes),
                Some(Err(status)) => {
                    self.0 = Kind::Empty;
                    Frame::trailers(trailers(Some(&status)))
                }
                None => {
                    self.0 = Kind::Empty;
                    Frame::trailers(trailers(None))
                }
            },
            Kind::Status(trailers) => {
                let trailers = std::mem::take(trailers);
                self.0 = Kind::Empty;
                Frame::trailers(trailers)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Plain(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::One(_) | Kind::Many(_) | Kind::Status(_) => SizeHint::default(),
        }
    }
}

fn trailers(failure: Option<&Status>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    match failure {
        None => {
            trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        }
        Some(status) => {
            // Adding the status fails only if its text is not a valid header value. All texts in the table in
            // `status.rs` are valid. If adding failed, only the gRPC code would be sent.
            if status.add_header(&mut trailers).is_err() {
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
            }
        }
    }
    trailers
}

/// Builds an answer with one message.
#[must_use]
pub(super) fn one(framed: Bytes) -> Response<Body> {
    respond(Kind::One(framed))
}

/// Builds an answer with any number of messages.
#[must_use]
pub(super) fn many(messages: Messages) -> Response<Body> {
    respond(Kind::Many(messages))
}

fn respond(kind: Kind) -> Response<Body> {
    let mut response = Response::new(Body(kind));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// Builds an answer with a status and no message.
#[must_use]
pub(super) fn refuse(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.headers_mut() = trailers(Some(status));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// Frames one message. `write` appends the message, and `size` is its expected length in bytes.
///
/// # Errors
/// Returns an error if the message is longer than a frame can contain.
pub(super) fn frame(size: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Bytes, Status> {
    let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + size);
    out.put_bytes(0, FRAME_HEADER_BYTES);
    write(&mut out);
    let length = out.len() - FRAME_HEADER_BYTES;
    // etcd has the same limit for sending: the largest signed 32-bit number.
    let Some(length) = i32::try_from(length).ok() else {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: trying to send message larger than max ({length} vs. {})", i32::MAX),
        ));
    };
    out[1..FRAME_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

/// Frames one generated message.
///
/// # Errors
/// Returns an error if the message is longer than a frame can contain.
pub(super) fn frame_message(message: &impl prost::Message) -> Result<Bytes, Status> {
    frame(message.encoded_len(), |out| message.encode_raw(out))
}

/// Receives the only message of a call, with at most `bytes_max` bytes. A message that arrives in one piece is not
/// copied.
///
/// # Errors
/// Returns an error if the message is too large, compressed, incomplete or too slow, or if the call sends a second
/// message.
pub(super) async fn receive<B>(headers: &HeaderMap, mut body: B, bytes_max: usize) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut arrival = Arrival::begin();
    let Some(mut received) = arrival.wait(next_data(&mut body)).await?? else {
        return Err(Status::internal("the request has no message"));
    };
    let size = loop {
        if let Some(length) = message_length(headers, &received, bytes_max)?
            && received.len() >= FRAME_HEADER_BYTES + length
        {
            break FRAME_HEADER_BYTES + length;
        }
        arrival.received(received.len());
        received = gather(&mut body, received, bytes_max, &mut arrival).await?;
    };
    if received.len() > size || (!body.is_end_stream() && arrival.wait(next_data(&mut body)).await??.is_some()) {
        return Err(Status::internal("the request has more than one message"));
    }
    received.advance(FRAME_HEADER_BYTES);
    Ok(received)
}

/// Receives further pieces until the message is complete. Memory grows with the received bytes instead of the
/// announced length, because a client can announce any length.
async fn gather<B>(body: &mut B, first: Bytes, bytes_max: usize, arrival: &mut Arrival) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut gathered = BytesMut::from(first);
    loop {
        let Some(next) = arrival.wait(next_data(body)).await?? else {
            return Err(Status::internal("the request ended inside its message"));
        };
        arrival.received(next.len());
        gathered.extend_from_slice(&next);
        let complete = announced(&gathered)
            .is_some_and(|length| length > bytes_max || gathered.len() >= FRAME_HEADER_BYTES + length);
        if complete {
            return Ok(gathered.freeze());
        }
    }
}

fn announced(received: &[u8]) -> Option<usize> {
    let header = received.get(..FRAME_HEADER_BYTES)?;
    Some(u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize)
}

fn message_length(headers: &HeaderMap, received: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    let Some(length) = announced(received) else { return Ok(None) };
    match received[0] {
        0 => {}
        1 => return Err(compressed(headers)),
        other => return Err(Status::internal(format!("the message has an unknown compression flag: {other}"))),
    }
    if length > bytes_max {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message larger than max ({length} vs. {bytes_max})"),
        ));
    }
    Ok(Some(length))
}

fn compressed(headers: &HeaderMap) -> Status {
    match headers.get("grpc-encoding").and_then(|encoding| encoding.to_str().ok()) {
        None | Some("identity") => Status::internal("grpc: compressed flag set with identity or empty encoding"),
        Some(encoding) => {
            Status::unimplemented(format!("grpc: Decompressor is not installed for grpc-encoding \"{encoding}\""))
        }
    }
}

async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => return Ok(None),
            },
            // The client has disconnected and receives no answer.
            Some(Err(_)) => return Err(Status::cancelled("the client disconnected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::executor::block_on;
    use http_body_util::BodyExt;

    use super::*;

    /// A request body that arrives in the given pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Pieces {
        fn of(pieces: &[&[u8]]) -> Pieces {
            Pieces(pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect())
        }
    }

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn received(pieces: &[&[u8]]) -> Result<Bytes, Status> {
        block_on(receive(&HeaderMap::new(), Pieces::of(pieces), 10))
    }

    #[test]
    fn a_message_is_received_in_any_pieces() {
        let whole = b"\0\0\0\0\x03abc";
        assert_eq!(received(&[whole]).unwrap(), "abc");
        for cut in 1..whole.len() {
            assert_eq!(received(&[&whole[..cut], &whole[cut..]]).unwrap(), "abc", "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.iter().map(std::slice::from_ref).collect();
        assert_eq!(received(&bytes).unwrap(), "abc");
        assert_eq!(received(&[b"\0\0\0\0\0"]).unwrap(), "");
    }

    /// The expected text is that of grpc-go.
    #[test]
    fn a_message_above_the_limit_is_refused_before_it_is_complete() {
        for pieces in [&[&b"\0\0\0\0\x0b"[..]][..], &[b"\0\0\0", b"\0\x0babcde"]] {
            let status = received(pieces).unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(status.message(), "grpc: received message larger than max (11 vs. 10)");
        }
        assert_eq!(received(&[b"\0\0\0\0\x0a0123456789"]).unwrap(), "0123456789");
    }

    #[test]
    fn a_request_that_is_not_one_complete_message_is_refused() {
        for (pieces, code) in [
            (&[][..], Code::Internal),
            (&[&b"\0\0\0"[..]][..], Code::Internal),
            (&[b"\0\0\0\0\x03ab"], Code::Internal),
            (&[b"\0\0\0\0\x01a\0"], Code::Internal),
            (&[b"\0\0\0\0\x01a", b"\0\0\0\0\x01a"], Code::Internal),
            (&[b"\x01\0\0\0\x01a"], Code::Internal),
            (&[b"\x02\0\0\0\x01a"], Code::Internal),
        ] {
            assert_eq!(received(pieces).unwrap_err().code(), code, "{pieces:?}");
        }
    }

    #[test]
    fn the_refusal_of_a_compressed_message_names_the_encoding() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        let status = block_on(receive(&headers, Pieces::of(&[b"\x01\0\0\0\x01a"]), 10)).unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.message(), "grpc: Decompressor is not installed for grpc-encoding \"gzip\"");
    }

    #[test]
    fn an_answer_is_a_message_and_then_a_status() {
        let framed = frame(0, |out| out.put_slice(b"abc")).unwrap();
        let response = block_on(one(framed).into_body().collect()).unwrap();
        assert_eq!(response.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(response.to_bytes(), &b"\0\0\0\0\x03abc"[..]);
    }

    #[test]
    fn a_stream_ends_with_the_status_of_its_error() {
        let messages = [Ok(Bytes::from_static(b"x")), Err(Status::out_of_range("gone: ü"))];
        let body = many(Box::pin(futures::stream::iter(messages))).into_body();
        let collected = block_on(body.collect()).unwrap();
        let trailers = collected.trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "11");
        assert_eq!(trailers["grpc-message"], "gone:%20%C3%BC");
        assert_eq!(collected.to_bytes(), "x");
    }

    #[test]
    fn a_refusal_consists_of_headers_only() {
        let response = refuse(&Status::unavailable("no"));
        assert_eq!(response.status(), http::StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no");
        assert!(response.body().is_end_stream());
    }
}
