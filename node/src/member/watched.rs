//! A connection of a member or of the operator, whose begin is watched. Owns the limit on the time until the first bytes.
//! Does not own the number of connections ([`api::Connections`]), nor clients, whose transport is `api`'s.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::{OpenCall, Place};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

/// Time within which a connection must begin. HTTP/2 has no such limit: its pings start after the first bytes.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection with its place.
pub(super) struct Watched {
    stream: TcpStream,
    place: Arc<Place>,
    /// Ready when the connection must end, unless it has begun.
    gives_up: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Held from the begin on, so that the connection counts as in use.
    call: Option<OpenCall>,
}

impl Watched {
    /// A new connection. Once it has begun, it does not end for a newcomer.
    pub(super) fn new(stream: TcpStream, place: Place) -> Self {
        let place = Arc::new(place);
        let waiting = Arc::clone(&place);
        let gives_up = Box::pin(async move {
            tokio::select! {
                () = waiting.is_to_close() => {}
                () = tokio::time::sleep(BEGIN_TIMEOUT) => {}
            }
        });
        Self { stream, place, gives_up, call: None }
    }
}

impl Connected for Watched {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if !self.place.has_begun() && self.gives_up.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the connection did not begin in time")));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        self.place.received(into.filled().len() - before);
        if self.call.is_none() && self.place.has_begun() {
            self.call = Some(self.place.call());
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
