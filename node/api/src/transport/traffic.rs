//! What moves on one connection. Owns the counts of received, queued and written bytes, and the rule by which a
//! connection that does not move ends. Does not own the pace of one answer (`answers.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use h2::{Ping, PingPong};

use super::connections::OpenCall;
use super::memory::HeldMemory;
use crate::framed::Held;
use crate::timeout;

/// Time between two looks at a connection.
pub(super) const LOOK: Duration = timeout::STEP_TIME;
/// Number of looks without received bytes after which the client is asked whether it lives.
const SILENT_LOOKS: u32 = 3;
/// Number of looks without received bytes after which the connection ends.
const DEAD_LOOKS: u32 = 5;

/// Bytes of one connection, since its begin.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    /// Bytes of answers that were given to `h2`. Their windows are open.
    queued: AtomicU64,
    /// Bytes of answers that `h2` has written or given up.
    written: AtomicU64,
}

impl Traffic {
    /// Notes that bytes were received.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What an answer keeps until all of it was written. Otherwise a client that opens its windows and reads nothing would let
/// `h2` hold bytes that count nowhere.
#[derive(Default)]
#[allow(dead_code, reason = "the values are held only for their drop")]
pub(super) struct Kept {
    pub(super) call: Option<OpenCall>,
    pub(super) memory: Option<HeldMemory>,
    /// Memory of an answer that refers to stored versions.
    pub(super) pinned: Option<Held>,
}

/// A part of an answer.
pub(super) struct Piece {
    bytes: Bytes,
    length: u64,
    traffic: Arc<Traffic>,
    /// Of the last part only.
    kept: Option<Box<Kept>>,
}

impl Piece {
    pub(super) fn new(bytes: Bytes, traffic: &Arc<Traffic>) -> Self {
        let length = bytes.len() as u64;
        traffic.queued.fetch_add(length, Ordering::Relaxed);
        Self { bytes, length, traffic: Arc::clone(traffic), kept: None }
    }

    /// Keeps this until the piece was written or given up.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept = Some(Box::new(kept));
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.traffic.written.fetch_add(self.length, Ordering::Relaxed);
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }
}

/// Looks at a connection from time to time.
pub(super) struct Looks {
    traffic: Arc<Traffic>,
    pings: Option<PingPong>,
    received: u64,
    queued: u64,
    written: u64,
    silent: u32,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndReason {
    /// The client has not answered a ping.
    #[error("the client does not answer a ping")]
    Dead,
    /// The client does not read its answers.
    #[error("the client does not read its answers")]
    Unread,
}

impl Looks {
    pub(super) fn new(traffic: Arc<Traffic>, pings: Option<PingPong>) -> Self {
        Self { traffic, pings, received: 0, queued: 0, written: 0, silent: 0 }
    }

    /// Looks at the connection, once in [`LOOK`]. Asks a silent client whether it lives, because the connection of a
    /// client that has vanished would otherwise stay open.
    ///
    /// # Errors
    /// Returns an error if the connection is to end.
    pub(super) fn look(&mut self) -> Result<(), EndReason> {
        let written = self.traffic.written.load(Ordering::Relaxed);
        // What was queued at the last look had its time. The pace of a large answer is checked while it waits to be
        // queued; this is about what is queued.
        let moved = written - std::mem::replace(&mut self.written, written);
        if written < self.queued && moved < timeout::STEP as u64 {
            return Err(EndReason::Unread);
        }
        self.queued = self.traffic.queued.load(Ordering::Relaxed);
        let received = self.traffic.received.load(Ordering::Relaxed);
        self.silent = if received == self.received { self.silent + 1 } else { 0 };
        self.received = received;
        if self.silent >= DEAD_LOOKS {
            return Err(EndReason::Dead);
        }
        if self.silent >= SILENT_LOOKS
            && let Some(pings) = &mut self.pings
        {
            // Takes the answer to an earlier ping, without which no other can be sent.
            let _ = std::future::poll_fn(|cx| pings.poll_pong(cx)).now_or_never();
            let _ = pings.send_ping(Ping::opaque());
        }
        Ok(())
    }
}
