//! The first bytes of a connection. Owns which version of HTTP they belong to, and the connection as it is read from
//! then on. Does not own the time within which the first bytes must arrive (`transport.rs`).

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::authority::Authority;
use super::connections::Place;
use super::traffic::Traffic;

/// The first bytes of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Reads until it is clear which version of HTTP the client speaks.
///
/// # Errors
/// Returns an error if the connection ends before.
pub(super) async fn read<S: AsyncRead + Unpin>(mut stream: S, place: &Place) -> Result<(Version, Begun<S>)> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    let version = loop {
        if (&mut stream).take((PREFACE.len() - first.len()) as u64).read_buf(&mut first).await? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended before it began"));
        }
        if first == PREFACE {
            break Version::Http2;
        }
        if !PREFACE.starts_with(&first) {
            break Version::Http1;
        }
    };
    place.begin();
    let changes = (version == Version::Http2).then(|| Box::new(Authority::new()));
    Ok((version, Begun { ready: first, unseen: BytesMut::new(), stream, changes, traffic: Arc::default() }))
}

/// A connection whose first bytes were read. It is read from the beginning again, and the received bytes are counted.
pub(super) struct Begun<S> {
    /// Bytes that are to be read first.
    ready: BytesMut,
    /// Bytes that were received and not looked at yet.
    unseen: BytesMut,
    stream: S,
    /// What changes the bytes that are received; `None` if they pass unchanged.
    changes: Option<Box<Authority>>,
    pub(super) traffic: Arc<Traffic>,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        self.traffic.received(into.filled().len() - before);
        Poll::Ready(Ok(()))
    }

    /// Makes received bytes ready to be read, as far as their changes do not take much memory.
    fn pass(&mut self) -> Result<()> {
        let Some(changes) = &mut self.changes else {
            self.ready = std::mem::take(&mut self.unseen);
            return Ok(());
        };
        let mut unseen = &self.unseen[..];
        let passed = changes.pass(&mut unseen, &mut self.ready);
        passed.map_err(|reason| Error::new(ErrorKind::InvalidData, reason))?;
        let seen = self.unseen.len() - unseen.len();
        self.unseen.advance(seen);
        if self.unseen.is_empty() {
            self.unseen = BytesMut::new();
        }
        self.changes.take_if(|changes| changes.is_over());
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        while self.ready.is_empty() {
            if self.changes.is_none() && self.unseen.is_empty() {
                return self.poll_receive(cx, into);
            }
            if self.unseen.is_empty() {
                let mut received = [MaybeUninit::uninit(); 8 << 10];
                let mut received = ReadBuf::uninit(&mut received);
                ready!(self.poll_receive(cx, &mut received))?;
                if received.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.unseen.extend_from_slice(received.filled());
            }
            self.pass()?;
        }
        let bytes = self.ready.len().min(into.remaining());
        into.put_slice(&self.ready[..bytes]);
        self.ready.advance(bytes);
        if self.ready.is_empty() {
            // Gives the memory back, because the connection may last long.
            self.ready = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::super::connections::Connections;
    use super::*;

    /// The version that is found in pieces of a connection, and whether the pieces are read again from the beginning.
    async fn found(pieces: &[&[u8]]) -> Result<Version> {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let place = Connections::new(1, 0).admit().expect("a place");
        let (found, ()) = tokio::join!(read(server, &place), async {
            for piece in pieces {
                // An error means that the version was found before.
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            drop(client);
        });
        let (version, mut begun) = found?;
        let mut again = Vec::new();
        begun.read_to_end(&mut again).await?;
        assert_eq!(again, pieces.concat());
        Ok(version)
    }

    #[tokio::test]
    async fn the_version_is_found_in_any_pieces() {
        let settings = b"\0\0\0\x04\0\0\0\0\0";
        let whole = [PREFACE, settings].concat();
        assert_eq!(found(&[&whole]).await.unwrap(), Version::Http2);
        for cut in 1..whole.len() {
            assert_eq!(found(&[&whole[..cut], &whole[cut..]]).await.unwrap(), Version::Http2, "cut at {cut}");
        }
        for text in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"POST / HTTP/1.1", b"PRI / HTTP/1.1", b"\0"] {
            assert_eq!(found(&[text]).await.unwrap(), Version::Http1);
            assert_eq!(found(&[&text[..1], &text[1..]]).await.unwrap(), Version::Http1);
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_its_version_is_known_fails() {
        for pieces in [&[][..], &[&PREFACE[..23]]] {
            assert_eq!(found(pieces).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    }
}
