//! Pages over HTTP/1.1. Owns the limits on time and bytes of such a connection. Does not own the pages (`crate::pages`).

use std::convert::Infallible;
use std::pin::Pin;

use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Calls;
use super::connections::Place;
use super::preface::Begun;
use crate::timeout::STEP_TIME;

/// Maximum size of the head of a request, in bytes. Any number of connections may send one, and a request for a page has some
/// hundred bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Serves one connection. It ends when it has been silent for a while: clients of pages open a connection again.
///
/// # Errors
/// Returns an error if the connection did not end regularly.
pub(super) async fn serve<S, C>(
    stream: Begun<S>,
    calls: C,
    place: &Place,
    stopping: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Calls,
{
    let page = service_fn(|request: Request<Incoming>| {
        let (calls, call) = (calls.clone(), place.call());
        async move {
            let page = calls.page(&request.into_parts().0).await;
            drop(call);
            Ok::<_, Infallible>(page.map(Full::new))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(STEP_TIME).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), page));
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = place.is_to_close() => return Ok(()),
        () = stopping => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
