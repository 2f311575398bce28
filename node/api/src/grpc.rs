//! Owns gRPC's framing of messages and its statuses as HTTP/2 headers. Does not own how messages are received and sent
//! (`transport`), nor their meaning.
//!
//! etcd's calls use this module instead of generated servers for three reasons: a small request costs two allocations
//! and is not copied, a response is written directly from the store's encoding, and the texts of errors equal those of
//! etcd.

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

use crate::framed::Framed;

/// Size of a frame's header, in bytes: compression flag and length.
pub(super) const FRAME_HEADER_BYTES: usize = 5;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Encoded messages, each with its frame header. An error ends the stream, and the status of the error is sent.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<Framed, Status>> + Send>>;

/// Returns whether the headers of a request announce gRPC.
#[must_use]
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    let Some(rest) = kind.as_bytes().strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// The headers of an answer with messages.
#[must_use]
pub(super) fn headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, GRPC)])
}

/// The headers of an answer that is a status and has no message.
#[must_use]
pub(super) fn refusal(status: &Status) -> HeaderMap {
    let mut headers = trailers(Some(status));
    headers.insert(CONTENT_TYPE, GRPC);
    headers
}

/// The headers at the end of an answer.
#[must_use]
pub(super) fn trailers(failure: Option<&Status>) -> HeaderMap {
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

/// Frames one message. `write` appends the message, and `size` is its expected length in bytes.
///
/// # Errors
/// Returns an error if the message is longer than a frame can contain.
pub(super) fn frame(size: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Bytes, Status> {
    let header = header(size)?;
    let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + size);
    out.put_slice(&header);
    write(&mut out);
    debug_assert_eq!(out.len(), FRAME_HEADER_BYTES + size, "the message was measured");
    Ok(out.freeze())
}

/// The header of a message of this size.
///
/// # Errors
/// Returns an error if the message is longer than a frame can contain.
pub(super) fn header(size: usize) -> Result<[u8; FRAME_HEADER_BYTES], Status> {
    // etcd has the same limit for sending: the largest signed 32-bit number.
    let Ok(length) = i32::try_from(size) else {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: trying to send message larger than max ({size} vs. {})", i32::MAX),
        ));
    };
    let [a, b, c, d] = length.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// Frames one generated message.
///
/// # Errors
/// Returns an error if the message is longer than a frame can contain.
pub(super) fn frame_message(message: &impl prost::Message) -> Result<Framed, Status> {
    frame(message.encoded_len(), |out| message.encode_raw(out)).map(Framed::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_recognized_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_message_has_its_length_in_front() {
        assert_eq!(frame(3, |out| out.put_slice(b"abc")).unwrap(), &b"\0\0\0\0\x03abc"[..]);
    }

    /// The expected text is that of grpc-go.
    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_written() {
        let refused = frame(1 << 31, |_| panic!("it was written")).unwrap_err();
        assert_eq!(refused.message(), "grpc: trying to send message larger than max (2147483648 vs. 2147483647)");
    }

    #[test]
    fn a_status_is_encoded_as_headers() {
        assert_eq!(trailers(None)["grpc-status"], "0");
        let trailers = trailers(Some(&Status::out_of_range("gone: ü")));
        assert_eq!(trailers["grpc-status"], "11");
        assert_eq!(trailers["grpc-message"], "gone:%20%C3%BC");
        let refusal = refusal(&Status::unavailable("no"));
        assert_eq!(refusal["grpc-status"], "14");
        assert_eq!(refusal["content-type"], "application/grpc");
    }
}
