//! What waits for one member, in lanes that never queue behind each other. Owns the bounds: what does not fit is lost, which
//! Raft tolerates. Does not own connections (`dial`).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::task::AtomicWaker;
use proto::peer::{Frame, Greeting, frame::Kind};
use raft::{Body, Message};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::peer::compression::Compression;

/// Payload bytes that may wait in one lane; above Raft's own window, so that only forwarded commands can hit it.
const BYTES_MAX: usize = 32 << 20;
/// Messages that may wait in one lane.
const MESSAGES_MAX: usize = 8_192;
/// A frame is closed when it holds so many bytes.
const FRAME_BYTES: usize = 2 << 20;

/// Which lane a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKind {
    /// Votes, heartbeats, acknowledgements, reads: small and urgent.
    Control,
    /// Entries and forwarded commands: in bulk.
    Bulk,
}

impl LaneKind {
    /// Appends keep one order among themselves, with or without entries.
    pub(crate) fn of(message: &Message) -> Self {
        match message.body {
            Body::Append(_) | Body::Propose { .. } => Self::Bulk,
            _ => Self::Control,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Message>,
    bytes: usize,
}

/// What waits for one member in one lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    waiting: Mutex<Waiting>,
    /// Wakes the stream that sends.
    stream: AtomicWaker,
    /// Wakes who opens a connection, while there is none.
    pub(crate) idle: Notify,
    /// Number of the connection that sends; 0: none.
    connection: AtomicU64,
    /// Number of the newest connection.
    connections: AtomicU64,
    used: AtomicBool,
}

impl Lane {
    /// Adds messages, as far as they fit, and leaves `messages` empty. Answers how many were lost.
    pub(crate) fn put(&self, messages: &mut Vec<Message>) -> usize {
        let mut waiting = self.lock();
        let mut lost = 0;
        for message in messages.drain(..) {
            let bytes = bytes_of(&message);
            if waiting.messages.len() >= MESSAGES_MAX || waiting.bytes + bytes > BYTES_MAX {
                lost += 1;
                continue;
            }
            waiting.bytes += bytes;
            waiting.messages.push(message);
        }
        drop(waiting);
        self.used.store(true, Ordering::Relaxed);
        if self.connection.load(Ordering::Acquire) != 0 {
            self.stream.wake();
        } else {
            self.idle.notify_one();
        }
        lost
    }

    /// Forgets what waits: it is too old to be of use.
    pub(crate) fn clear(&self) {
        *self.lock() = Waiting::default();
    }

    /// Whether anything waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Whether anything was put since the last call.
    pub(crate) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn take(&self) -> Vec<Message> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        std::mem::take(&mut waiting.messages)
    }

    /// Every holder leaves the list whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(message: &Message) -> usize {
    match &message.body {
        Body::Append(append) => append.entries.iter().map(|entry| entry.payload.len()).sum(),
        Body::Propose { proposals } => proposals.iter().map(|(_, payload)| payload.len()).sum(),
        _ => 0,
    }
}

/// The frames of one connection: a greeting, then whatever waits, as much as there is each time the connection has room.
pub(crate) struct Frames {
    lane: Arc<Lane>,
    connection: u64,
    greeting: Option<Greeting>,
    compression: Compression,
    /// Taken from the lane, not sent yet; in reverse, the next one last.
    taken: Vec<Message>,
    metrics: Metrics,
}

impl Frames {
    /// From now on the lane wakes this stream.
    pub(crate) fn new(lane: Arc<Lane>, greeting: Greeting, metrics: Metrics) -> Self {
        let connection = lane.connections.fetch_add(1, Ordering::Relaxed) + 1;
        lane.connection.store(connection, Ordering::Release);
        let (greeting, compression) = (Some(greeting), Compression::default());
        Self { lane, connection, greeting, compression, taken: Vec::new(), metrics }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if self.taken.is_empty() {
            self.taken = self.lane.take();
            self.taken.reverse();
        }
        let mut frame = Vec::with_capacity(self.taken.iter().map(|message| 128 + bytes_of(message)).sum());
        while frame.len() < FRAME_BYTES
            && let Some(message) = self.taken.pop()
        {
            if let Err(reason) = wire::put_message(&mut frame, &message) {
                tracing::error!(%reason, "a message was not sent");
            }
        }
        if frame.is_empty() {
            return None;
        }
        let kind = match self.compression.compress(&frame) {
            Some(compressed) => Kind::Compressed(compressed),
            None => Kind::Messages(Bytes::from(frame)),
        };
        if let Kind::Compressed(bytes) | Kind::Messages(bytes) = &kind {
            self.metrics.peer_sent(bytes.len());
        }
        Some(Frame { kind: Some(kind) })
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // A newer connection may send already.
        let _ = self.lane.connection.compare_exchange(self.connection, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(Frame { kind: Some(Kind::Greeting(greeting)) }));
        }
        if let Some(frame) = self.next_frame() {
            return Poll::Ready(Some(frame));
        }
        self.lane.stream.register(context.waker());
        // Something may have come between the look and the registration.
        self.next_frame().map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)))
    }
}
