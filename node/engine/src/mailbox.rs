//! Owns a queue of jobs for one thread, and the wake-up of that thread, which takes all waiting jobs together, in
//! order. Does not own a limit on the jobs, because the core limits them in bytes, on a leader and on a follower: the
//! entries that are not durable and the reads under way bound the jobs of the log thread, and the entries that are not
//! applied bound those of the apply thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug)]
struct Waiting<T> {
    jobs: Vec<T>,
    parked: bool,
    closed: bool,
}

/// Queue of jobs for one thread.
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
    /// Adds jobs in order and leaves `jobs` empty. Wakes the thread at most once.
    pub(crate) fn append(&self, jobs: &mut Vec<T>) {
        if jobs.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        waiting.jobs.append(jobs);
        self.wake_if_sleeping(waiting);
    }

    /// Adds one job.
    pub(crate) fn push(&self, job: T) {
        let mut waiting = self.lock();
        waiting.jobs.push(job);
        self.wake_if_sleeping(waiting);
    }

    /// Closes the queue. The thread ends once it has executed the jobs that still wait.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.wake_if_sleeping(waiting);
    }

    /// Sleeps until a job waits, then moves all jobs into `jobs`, which must be empty. Returns `false` once the queue is
    /// closed and empty.
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

    /// Sleeps until a job waits, the queue is closed or `deadline` has passed, then adds all jobs to `jobs`. Returns `false` if
    /// the queue is closed.
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

    /// Adds all jobs to the end of `jobs` without waiting.
    pub(crate) fn take_now(&self, jobs: &mut Vec<T>) {
        jobs.append(&mut self.lock().jobs);
    }

    /// Returns whether a job waits, or the queue is closed.
    pub(crate) fn has_work(&self) -> bool {
        let waiting = self.lock();
        waiting.closed || !waiting.jobs.is_empty()
    }

    fn wake_if_sleeping(&self, mut waiting: MutexGuard<'_, Waiting<T>>) {
        let wake = std::mem::take(&mut waiting.parked);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Ignores poisoning: every holder of the lock leaves the list consistent, even if it panics.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
