//! The client port's connections: HTTP/2 with gRPC, and pages over HTTP/1.1. Owns everything between a socket and a
//! call: limits on time and bytes, and the end of connections. Does not own what calls mean (`service.rs`), nor
//! listening, which is the program's.
//!
//! HTTP/2 is served by `h2` directly instead of `hyper`. `hyper` opens a stream's window when the body is polled, and
//! gives up an answer's stream when its last frame is queued. The transport could then neither hold back a request nor
//! end an answer that its client does not read.

mod answers;
mod authority;
mod capacity;
mod connection;
pub(super) mod connections;
mod hpack;
mod huffman;
pub(crate) mod memory;
mod pages;
mod preface;
mod requests;
mod traffic;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use self::connections::Place;
use self::preface::Version;
use crate::timeout;

pub(super) use answers::{Answer, Claim};
pub(super) use capacity::Reserved;
pub(super) use requests::{MessageMemory, Received, Requests};

/// What a connection serves. A clone serves the same.
pub(super) trait Calls: Clone + Send + Sync + 'static {
    /// Answers one gRPC call. The future is dropped when the client cancels the call. It should not keep `head`, which
    /// may be long.
    fn call(&self, head: Parts, requests: Requests) -> impl Future<Output = Result<Answer, Status>> + Send;

    /// Answers one request that is not gRPC.
    fn page(&self, request: &Parts) -> impl Future<Output = Response<Bytes>> + Send;
}

/// Serves one connection until it ends, or until `stopping` is ready and the calls in progress have ended.
pub(super) async fn serve<S, C>(stream: S, calls: C, place: Place, stopping: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Calls,
{
    let mut stopping = std::pin::pin!(stopping);
    let begun = tokio::select! {
        begun = tokio::time::timeout(timeout::STEP_TIME, preface::read(stream, &place)) => begun,
        () = place.is_to_close() => return,
        () = &mut stopping => return,
    };
    let ended = match begun {
        Ok(Ok((Version::Http2, stream))) => connection::serve(stream, calls, &place, stopping).await,
        Ok(Ok((Version::Http1, stream))) => pages::serve(stream, calls, &place, stopping).await,
        Ok(Err(reason)) => Err(reason.into()),
        Err(_) => Err("the connection did not begin in time".into()),
    };
    if let Err(reason) = ended {
        tracing::debug!(%reason, "a client's connection failed");
    }
}
