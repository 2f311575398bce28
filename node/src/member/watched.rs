//! A connection of a member or of the operator. Owns the limit on the time until its first accepted call, and its end for a
//! newcomer. Does not own the number of connections ([`api::Connections`]), nor clients, whose transport is `api`'s.
//!
//! Anyone may open a connection, so it counts for nothing until a greeting or a token was accepted on it. Otherwise a few idle
//! connections would keep all members and the operator out.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

use crate::peer::Accepted;

/// Time within which a first call must be accepted.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection with its place.
pub(super) struct Watched {
    stream: TcpStream,
    accepted: Accepted,
    /// Ready when the connection must end.
    ends: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Watched {
    /// A new connection.
    pub(super) fn new(stream: TcpStream, place: Place) -> Self {
        let place = Arc::new(place);
        let waiting = Arc::clone(&place);
        let ends = async move {
            let is_late = async {
                tokio::time::sleep(ACCEPT_TIMEOUT).await;
                if waiting.has_begun() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = waiting.is_to_close() => {}
                () = is_late => {}
            }
        };
        Self { stream, accepted: Accepted::new(place), ends: Some(Box::pin(ends)) }
    }
}

impl Connected for Watched {
    type ConnectInfo = Accepted;

    fn connect_info(&self) -> Accepted {
        self.accepted.clone()
    }
}

impl Watched {
    /// Fails once the connection must end. Reading and writing ask this both: while the peer does not read, HTTP/2 waits
    /// to write and reads nothing.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<()> {
        if self.ends.as_mut().is_none_or(|ends| ends.as_mut().poll(cx).is_ready()) {
            self.ends = None;
            return Err(Error::new(ErrorKind::TimedOut, "no call was accepted, or the connection was idle"));
        }
        Ok(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_end(cx)?;
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
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// HTTP/2 reads nothing while it waits to write, so a peer that does not read must be met at writing.
    #[tokio::test]
    async fn a_connection_that_must_end_neither_reads_nor_writes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connections = api::Connections::new(1, 0);
        let mut watched = Watched::new(stream, connections.admit().unwrap());
        watched.write_all(b"before").await.unwrap();
        let _newcomer = connections.admit().expect("a connection without an accepted call ends");
        for _ in 0..2 {
            assert_eq!(watched.write_all(b"after").await.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(watched.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
        }
    }
}
