//! Outcomes back to those who wait. Owns the lanes: answers of one batch cross to a runtime's thread together and wake it
//! once, instead of once per client. Does not own who waits for what (`propose::pending`, `read::barrier`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::{ProposeError, ReadError};
use crate::outcome::Committed;

/// Which runtime a waiting client lives on; an index into [`Lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneId(pub usize);

/// Somebody who waits for one answer.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<T>,
    /// By which way.
    pub(crate) lane: LaneId,
}

/// A caller who wants to read what is committed by now.
pub(crate) type ReadWaiter = Waiter<Result<(), ReadError>>;

/// An answer and where it goes. Whoever waited may be gone by then; that is no error.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To a proposal.
    Proposed(oneshot::Sender<Result<Committed, ProposeError>>, Result<Committed, ProposeError>),
    /// To a linearizable read.
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

/// The way back to one runtime. Its length is bounded by who may wait at all.
#[derive(Debug, Default)]
struct Lane {
    ready: Mutex<Vec<Answer>>,
    wake: Notify,
    /// Without somebody who attends, answers are delivered on the spot.
    attended: AtomicBool,
}

/// All ways back.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Box<[Lane]>,
}

impl Lanes {
    /// `count` lanes, none attended yet.
    pub(crate) fn new(count: usize) -> Self {
        Self { lanes: (0..count.max(1)).map(|_| Lane::default()).collect() }
    }

    /// Delivers what the lane carries, on the runtime that this is run on, until cancelled.
    pub(crate) async fn attend(&self, id: LaneId) {
        let lane = &self.lanes[id.0];
        lane.attended.store(true, Ordering::Release);
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

/// Answers collected during one step, to leave together.
#[derive(Debug)]
pub(crate) struct Replies {
    by_lane: Vec<Vec<Answer>>,
}

impl Replies {
    /// Nothing yet.
    pub(crate) fn new(lanes: &Lanes) -> Self {
        Self { by_lane: lanes.lanes.iter().map(|_| Vec::new()).collect() }
    }

    /// An outcome for a proposer.
    pub(crate) fn proposed(
        &mut self,
        to: Waiter<Result<Committed, ProposeError>>,
        outcome: Result<Committed, ProposeError>,
    ) {
        self.by_lane[to.lane.0].push(Answer::Proposed(to.reply, outcome));
    }

    /// The go-ahead, or not, for a reader.
    pub(crate) fn read(&mut self, to: Waiter<Result<(), ReadError>>, outcome: Result<(), ReadError>) {
        self.by_lane[to.lane.0].push(Answer::Read(to.reply, outcome));
    }

    /// Sends everything on its way.
    pub(crate) fn flush(&mut self, lanes: &Lanes) {
        for (lane, answers) in lanes.lanes.iter().zip(&mut self.by_lane) {
            if answers.is_empty() {
                continue;
            }
            if lane.attended.load(Ordering::Acquire) {
                locked(&lane.ready).append(answers);
                lane.wake.notify_one();
            } else {
                answers.drain(..).for_each(Answer::deliver);
            }
        }
    }
}

/// Every holder only moves whole answers, so a panic elsewhere leaves the list whole.
fn locked(ready: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}
