//! Owns the return of outcomes to waiting callers. A lane is the queue of answers to one runtime. The answers of one
//! batch enter a lane together, so that they wake the runtime's thread once instead of once per caller. Does not own
//! which caller waits for which outcome (`propose::pending`, `read::barrier`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::{ProposeError, ReadError};
use crate::outcome::Committed;

/// Index into `ReplyLanes`, which identifies the runtime of a waiting caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLaneId(pub usize);

/// A caller that waits for one answer.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    /// Receives the answer.
    pub(crate) reply: oneshot::Sender<T>,
    /// Lane that carries the answer.
    pub(crate) lane: ReplyLaneId,
}

/// A caller that waits for a linearizable read to be confirmed.
pub(crate) type ReadWaiter = Waiter<Result<(), ReadError>>;

/// An answer and its receiver. An answer to a caller that no longer waits is dropped without an error.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Answer to a proposal.
    Proposed(oneshot::Sender<Result<Committed, ProposeError>>, Result<Committed, ProposeError>),
    /// Answer to a linearizable read.
    Read(oneshot::Sender<Result<(), ReadError>>, Result<(), ReadError>),
}

impl Answer {
    fn deliver(self) {
        match self {
            Self::Proposed(to, outcome) => drop(to.send(outcome)),
            Self::Read(to, outcome) => drop(to.send(outcome)),
        }
    }
}

/// Queue of answers to one runtime. The limit on waiting callers also limits the length of the queue.
#[derive(Debug, Default)]
struct ReplyLane {
    ready: Mutex<Vec<Answer>>,
    wake: Notify,
    /// True if a runtime polls [`ReplyLanes::deliver`]. Otherwise the thread that produces an answer also delivers it.
    has_runtime: AtomicBool,
}

/// The lanes to all runtimes.
#[derive(Debug)]
pub(crate) struct ReplyLanes {
    lanes: Box<[ReplyLane]>,
}

impl ReplyLanes {
    /// Creates `count` lanes, without runtimes yet.
    pub(crate) fn new(count: usize) -> Self {
        Self { lanes: (0..count.max(1)).map(|_| ReplyLane::default()).collect() }
    }

    /// Delivers the lane's answers on the runtime that polls this future, until the future is dropped.
    pub(crate) async fn deliver(&self, id: ReplyLaneId) {
        let lane = &self.lanes[id.0];
        lane.has_runtime.store(true, Ordering::Release);
        let mut batch = Vec::new();
        loop {
            lane.wake.notified().await;
            std::mem::swap(&mut batch, &mut *locked(&lane.ready));
            for answer in batch.drain(..) {
                answer.deliver();
            }
        }
    }
}

/// Answers collected during one step, to be sent together.
#[derive(Debug)]
pub(crate) struct Replies {
    by_lane: Vec<Vec<Answer>>,
}

impl Replies {
    /// Creates an empty collection.
    pub(crate) fn new(lanes: &ReplyLanes) -> Self {
        Self { by_lane: lanes.lanes.iter().map(|_| Vec::new()).collect() }
    }

    /// Adds the outcome of a proposal.
    pub(crate) fn proposed(
        &mut self,
        to: Waiter<Result<Committed, ProposeError>>,
        outcome: Result<Committed, ProposeError>,
    ) {
        self.by_lane[to.lane.0].push(Answer::Proposed(to.reply, outcome));
    }

    /// Adds the outcome of a linearizable read.
    pub(crate) fn read(&mut self, to: Waiter<Result<(), ReadError>>, outcome: Result<(), ReadError>) {
        self.by_lane[to.lane.0].push(Answer::Read(to.reply, outcome));
    }

    /// Sends all collected answers.
    pub(crate) fn flush(&mut self, lanes: &ReplyLanes) {
        for (lane, answers) in lanes.lanes.iter().zip(&mut self.by_lane) {
            if answers.is_empty() {
                continue;
            }
            if lane.has_runtime.load(Ordering::Acquire) {
                locked(&lane.ready).append(answers);
                lane.wake.notify_one();
            } else {
                answers.drain(..).for_each(Answer::deliver);
            }
        }
    }
}

/// Ignores poisoning: every holder of the lock only moves whole answers, so the list is consistent even after a panic.
fn locked(ready: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}
