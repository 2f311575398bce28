//! The limit on the first message of a call between members. Owns its size. Does not own the messages after it, which may be as
//! large as a frame (`listen.rs`), nor the bytes of a connection (`member/watched.rs`).
//!
//! The first message says who calls, and its caller was not accepted yet. The decoder of messages reserves memory for a message
//! as soon as its length is announced, so that a stranger could make a member reserve a frame for each call.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

/// Maximum size of the first message of a call, in bytes. A greeting has less than 3 KiB; the offer of a snapshot names all
/// members, and eight bytes for each removed one.
const FIRST_BYTES_MAX: usize = 128 << 10;
/// Size of a message's header, in bytes: a flag and the length.
const HEADER_BYTES: usize = 5;

/// A service whose calls begin with a small message.
#[derive(Clone, Debug)]
pub(crate) struct FirstMessages<S>(pub(crate) S);

impl<S: NamedService> NamedService for FirstMessages<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for FirstMessages<S>
where
    S: Service<http::Request<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        self.0.call(request.map(|body| Body::new(Checked { body, header: [0; HEADER_BYTES], received: 0 })))
    }
}

/// The bytes of a call, which end with an error if its first message is announced to be too large.
struct Checked {
    body: Body,
    header: [u8; HEADER_BYTES],
    /// Number of bytes of the header that were received.
    received: usize,
}

impl Checked {
    fn check(&mut self, data: &[u8]) -> Result<(), Status> {
        let missing = &mut self.header[self.received..];
        if missing.is_empty() {
            return Ok(());
        }
        let bytes = missing.len().min(data.len());
        missing[..bytes].copy_from_slice(&data[..bytes]);
        self.received += bytes;
        let [_, a, b, c, d] = self.header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.received == HEADER_BYTES && length > FIRST_BYTES_MAX {
            let reason = format!("the first message has {length} bytes, more than {FIRST_BYTES_MAX}");
            return Err(Status::resource_exhausted(reason));
        }
        Ok(())
    }
}

impl HttpBody for Checked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refusal) = self.check(data)
        {
            return Poll::Ready(Some(Err(refusal)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// What a service receives of a call whose bytes arrive in these pieces.
    fn received(pieces: &[&[u8]]) -> Result<Vec<u8>, Status> {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let body = Body::new(StreamBody::new(futures::stream::iter(pieces)));
        let checked = Checked { body, header: [0; HEADER_BYTES], received: 0 };
        let whole = checked.collect().now_or_never().expect("everything has arrived")?;
        Ok(whole.to_bytes().to_vec())
    }

    fn message(length: usize) -> Vec<u8> {
        [&[0][..], &(length as u32).to_be_bytes(), &vec![7; length]].concat()
    }

    #[test]
    fn a_first_message_is_refused_by_its_length_alone() {
        let announced = message(FIRST_BYTES_MAX + 1);
        for cut in 0..=HEADER_BYTES {
            let pieces = [&announced[..cut], &announced[cut..HEADER_BYTES]];
            assert_eq!(received(&pieces).unwrap_err().code(), tonic::Code::ResourceExhausted, "cut at {cut}");
        }
    }

    #[test]
    fn later_messages_may_be_larger() {
        let sent = [message(FIRST_BYTES_MAX), message(FIRST_BYTES_MAX + 1), message(0)].concat();
        for size in [1, 3, 5, 8, 1_000, sent.len()] {
            let pieces: Vec<&[u8]> = sent.chunks(size).collect();
            assert_eq!(received(&pieces).unwrap(), sent, "{size} bytes at a time");
        }
        assert!(received(&[]).unwrap().is_empty());
    }
}
