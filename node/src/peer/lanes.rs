//! Messages that wait for one member, in lanes that never delay each other. Owns the limits of the lanes: messages
//! above a limit are dropped, which Raft tolerates. Does not own connections (`dial.rs`).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::task::AtomicWaker;
use proto::peer::{Frame, Greeting, frame::Kind};
use raft::{Body, Message, ProposalId};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::peer::compression::Compression;

/// Maximum weight of the messages that wait in a lane of small messages, in bytes.
pub(crate) const CONTROL_BYTES_MAX: usize = 2 << 20;
/// Size of a frame in bytes; once a frame has this size, no further message is added to it.
const FRAME_BYTES: usize = 2 << 20;

/// The lane that a message uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKind {
    /// Votes, heartbeats, acknowledgements and reads, which are small and urgent.
    Control,
    /// Entries and forwarded commands, which may be large.
    Bulk,
}

impl LaneKind {
    /// Returns the lane of a message. All appends use the same lane, with or without entries, so that their order is
    /// preserved.
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

/// Messages that wait for one member in one lane.
#[derive(Debug)]
pub(crate) struct Lane {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    /// Wakes the stream of the open connection.
    stream: AtomicWaker,
    /// Wakes the dialer when a message is added while the lane is disconnected.
    pub(crate) messages_wait: Notify,
    /// Number of the connection that sends this lane's messages; 0 if the lane is disconnected.
    connection: AtomicU64,
    /// Number of the newest connection.
    connections: AtomicU64,
    /// Whether messages were added since the last check for idleness.
    used: AtomicBool,
}

impl Lane {
    /// A lane without messages or connection, in which messages of this weight in bytes may wait.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            waiting: Mutex::default(),
            stream: AtomicWaker::new(),
            messages_wait: Notify::new(),
            connection: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            used: AtomicBool::new(false),
        }
    }

    /// Adds the messages that fit and leaves `messages` empty. Into an empty lane every message fits, because it would
    /// otherwise never be sent. Returns the messages that do not fit.
    pub(crate) fn put(&self, messages: &mut Vec<Message>) -> Vec<Message> {
        let mut waiting = self.lock();
        let mut dropped = Vec::new();
        for message in messages.drain(..) {
            let bytes = message.weight();
            if waiting.bytes > 0 && waiting.bytes + bytes > self.bytes_max {
                dropped.push(message);
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
            self.messages_wait.notify_one();
        }
        dropped
    }

    /// Takes the waiting messages out, none of which was sent. They are outdated after a connection has broken.
    pub(crate) fn clear(&self) -> Vec<Message> {
        self.take()
    }

    /// Tests whether no message waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Returns whether messages were added since the last call of this method.
    pub(crate) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn take(&self) -> Vec<Message> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        std::mem::take(&mut waiting.messages)
    }

    /// Ignores poisoning, because every holder of the lock leaves the list consistent.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proposals among messages that were not sent.
pub(crate) fn proposals_of(messages: &[Message]) -> Vec<ProposalId> {
    let proposals = messages.iter().filter_map(|message| match &message.body {
        Body::Propose { proposals } => Some(proposals.iter().map(|(id, _)| *id)),
        _ => None,
    });
    proposals.flatten().collect()
}

/// Frames of one connection: first a greeting, then frames of waiting messages. Whenever the connection can send, one
/// frame takes as many waiting messages as fit.
pub(crate) struct Frames {
    lane: Arc<Lane>,
    connection: u64,
    greeting: Option<Greeting>,
    compression: Compression,
    /// Messages that were removed from the lane but are not sent yet, in reverse order: the message to be sent next is
    /// the last element.
    unsent: Vec<Message>,
    metrics: Metrics,
}

impl Frames {
    /// Creates the stream of frames. From now on the lane wakes this stream when messages are added.
    pub(crate) fn new(lane: Arc<Lane>, greeting: Greeting, metrics: Metrics) -> Self {
        let connection = lane.connections.fetch_add(1, Ordering::Relaxed) + 1;
        lane.connection.store(connection, Ordering::Release);
        let (greeting, compression) = (Some(greeting), Compression::default());
        Self { lane, connection, greeting, compression, unsent: Vec::new(), metrics }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if self.unsent.is_empty() {
            self.unsent = self.lane.take();
            self.unsent.reverse();
        }
        let mut frame = Vec::with_capacity(self.unsent.iter().map(|message| 64 + message.weight()).sum());
        while frame.len() < FRAME_BYTES
            && let Some(message) = self.unsent.pop()
        {
            if let Err(reason) = wire::put_message(&mut frame, &message) {
                tracing::error!(%reason, "a message cannot be encoded and was not sent");
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
        // Marks the lane as disconnected, unless a newer connection already sends its messages.
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
        // A message may have been added after the check above, but before the waker was registered.
        self.next_frame().map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)))
    }
}

#[cfg(test)]
mod tests {
    use raft::{Payload, Term};

    use super::*;

    fn message(body: Body) -> Message {
        Message { term: Term(1), body }
    }

    #[test]
    fn messages_without_content_fill_a_lane_too() {
        let lane = Lane::new(CONTROL_BYTES_MAX);
        let mut replies = vec![message(Body::HeartbeatReply { round: 0 }); CONTROL_BYTES_MAX];
        let dropped = lane.put(&mut replies).len();
        assert!(dropped > 0 && lane.lock().bytes <= CONTROL_BYTES_MAX);
        assert_eq!(lane.clear().len() + dropped, CONTROL_BYTES_MAX);
        assert!(lane.is_empty() && lane.put(&mut vec![message(Body::HeartbeatReply { round: 0 })]).is_empty());
    }

    /// Raft sends it again and again, so it would hold up all later entries.
    #[test]
    fn a_message_above_the_limit_is_sent_alone() {
        let lane = Lane::new(100);
        let propose = |bytes| {
            let payload = Payload::Normal(vec![0; bytes].into());
            message(Body::Propose { proposals: vec![(ProposalId(1), payload)] })
        };
        assert_eq!(lane.put(&mut vec![propose(200), propose(1)]).len(), 1);
        assert_eq!(lane.clear().len(), 1);
        assert_eq!(lane.put(&mut vec![propose(1), propose(200)]).len(), 1);
    }

    #[test]
    fn proposals_that_do_not_fit_are_named() {
        const BULK_BYTES: usize = 1 << 20;
        let lane = Lane::new(BULK_BYTES);
        let propose = |number, bytes| {
            let payload = Payload::Normal(vec![0; bytes].into());
            message(Body::Propose { proposals: vec![(ProposalId(number), payload)] })
        };
        let mut messages = vec![propose(1, BULK_BYTES / 2), propose(2, BULK_BYTES / 2), propose(3, 10)];
        assert_eq!(proposals_of(&lane.put(&mut messages)), [ProposalId(2)]);
        assert_eq!(proposals_of(&lane.clear()), [ProposalId(1), ProposalId(3)]);
    }
}
