//! A connection of a member or of the operator. Owns the limits on the time and on the bytes until its first accepted call, and
//! its end for a newcomer. Does not own the number of connections ([`api::Connections`]), nor clients, whose transport is
//! `api`'s.
//!
//! Anyone may open a connection, so it counts for nothing until a greeting or a token was accepted on it. Otherwise a few idle
//! connections would keep all members and the operator out, and what strangers send would use up the memory.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use api::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

use crate::admin;
use crate::peer::Accepted;

/// Time within which a first call must be accepted.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of bytes that are read before a call was accepted. All of them may be held at once: in the windows of HTTP/2, in the
/// messages that they begin, and in headers. What a sender sends on after its greeting waits in the socket meanwhile.
///
/// The first call of an operator is larger than a greeting and fits, too ([`admin::REQUEST_BYTES_MAX`]). All connections
/// together ([`crate::descriptors::PEERS_MAX`], and those that are ending) hold no more than 10 MiB.
const UNACCEPTED_BYTES_MAX: usize = 128 << 10;

const _: () =
    assert!(2 * admin::REQUEST_BYTES_MAX <= UNACCEPTED_BYTES_MAX, "a first call of an operator can be accepted");

/// A connection with its place.
pub(super) struct Watched {
    stream: TcpStream,
    accepted: Accepted,
    /// Number of bytes read while no call was accepted.
    unaccepted_bytes: usize,
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
        Self { stream, accepted: Accepted::new(place), unaccepted_bytes: 0, ends: Some(Box::pin(ends)) }
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

    /// Reads at most `left` bytes, and counts them.
    fn poll_unaccepted(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>, left: usize) -> Poll<Result<()>> {
        let bytes = into.remaining().min(left);
        let mut part = ReadBuf::new(into.initialize_unfilled_to(bytes));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let bytes = part.filled().len();
        into.advance(bytes);
        self.unaccepted_bytes += bytes;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.poll_end(cx)?;
        if !self.accepted.is_accepted() {
            let left = UNACCEPTED_BYTES_MAX - self.unaccepted_bytes;
            if left > 0 {
                return self.poll_unaccepted(cx, into, left);
            }
            ready!(self.accepted.poll_accepted(cx.waker()));
        }
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
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A connection without an accepted call, and its peer.
    async fn connected() -> (Arc<api::Connections>, Watched, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connections = api::Connections::new(1, 0);
        let watched = Watched::new(stream, connections.admit().unwrap());
        (connections, watched, peer)
    }

    /// A member may send a greeting, and at once all that its window allows.
    #[tokio::test]
    async fn few_bytes_are_read_before_a_call_is_accepted_and_all_after_it() {
        const SENT: usize = UNACCEPTED_BYTES_MAX + 1_000;
        let (_connections, mut watched, mut peer) = connected().await;
        let sends = tokio::spawn(async move { peer.write_all(&[7; SENT]).await.map(|()| peer) });
        let mut read = vec![0; SENT];
        watched.read_exact(&mut read[..UNACCEPTED_BYTES_MAX]).await.unwrap();
        let accepted = watched.accepted.clone();
        let mut rest = Box::pin(watched.read_exact(&mut read[UNACCEPTED_BYTES_MAX..]));
        assert!((&mut rest).now_or_never().is_none(), "no call is accepted");
        let reads = async { tokio::time::timeout(Duration::from_secs(5), rest).await.expect("it is woken") };
        let accepts = async {
            tokio::task::yield_now().await;
            accepted.call()
        };
        let (rest, _call) = tokio::join!(reads, accepts);
        rest.unwrap();
        assert!(read.iter().all(|byte| *byte == 7));
        drop(sends.await.unwrap().unwrap());
        assert_eq!(watched.read(&mut [0]).await.unwrap(), 0);
    }

    /// HTTP/2 reads nothing while it waits to write, so a peer that does not read must be met at writing.
    #[tokio::test]
    async fn a_connection_that_must_end_neither_reads_nor_writes() {
        let (connections, mut watched, _peer) = connected().await;
        watched.write_all(b"before").await.unwrap();
        let _newcomer = connections.admit().expect("a connection without an accepted call ends");
        for _ in 0..2 {
            assert_eq!(watched.write_all(b"after").await.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(watched.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
        }
    }
}
