//! Work for a thread, in order, taken all at once. Owns the wake-up; how much may wait is bounded by those who put it in:
//! by Raft's windows for the log, by the apply backlog for the store.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug)]
struct Waiting<T> {
    jobs: Vec<T>,
    parked: bool,
    closed: bool,
}

/// A thread's work.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    waiting: Mutex<Waiting<T>>,
    wake: Condvar,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting { jobs: Vec::new(), parked: false, closed: false }), wake: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Adds jobs in order and leaves `jobs` empty; wakes the thread at most once.
    pub(crate) fn append(&self, jobs: &mut Vec<T>) {
        if jobs.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        waiting.jobs.append(jobs);
        self.rouse(waiting);
    }

    /// Adds one job.
    pub(crate) fn push(&self, job: T) {
        let mut waiting = self.lock();
        waiting.jobs.push(job);
        self.rouse(waiting);
    }

    /// Nothing more will come: the thread ends when it has done what waits.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.rouse(waiting);
    }

    /// Sleeps until there is work, then takes all of it into `jobs`, which must be empty. `false`: closed, and all is done.
    pub(crate) fn take(&self, jobs: &mut Vec<T>) -> bool {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting.parked = true;
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.parked = false;
        }
        std::mem::swap(&mut waiting.jobs, jobs);
        true
    }

    /// Sleeps until there is work, it is closed, or `deadline` has passed, then adds all work to `jobs`. `false`: closed.
    pub(crate) fn take_before(&self, deadline: Instant, jobs: &mut Vec<T>) -> bool {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting.parked = true;
            waiting = self.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            waiting.parked = false;
        }
        jobs.append(&mut waiting.jobs);
        !waiting.closed
    }

    /// Takes what there is after what `jobs` holds, without waiting.
    pub(crate) fn take_now(&self, jobs: &mut Vec<T>) {
        jobs.append(&mut self.lock().jobs);
    }

    /// Whether work waits.
    pub(crate) fn has_work(&self) -> bool {
        let waiting = self.lock();
        waiting.closed || !waiting.jobs.is_empty()
    }

    fn rouse(&self, mut waiting: MutexGuard<'_, Waiting<T>>) {
        let wake = std::mem::take(&mut waiting.parked);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Every holder leaves the list whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
