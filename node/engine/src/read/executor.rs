//! Heavy reads, off the threads of clients. Owns the threads that run them, who is next, and how many may wait. Does not
//! own which reads are heavy, nor the memory of their answers (the services).
//!
//! A heavy read occupies a processor for as long as it runs. On the thread of a client, all connections of that thread
//! would wait. The threads here have a lower priority, so that clients, the log and the core come first even if there
//! are no more processors than these threads.
//!
//! A read takes a [`Turn`] for each piece of its work. The turns are given in the order in which the reads asked for them.
//! A read that waits for something else has no turn, so that those after it go on.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// Number of threads. With one, a hash of a large store would hold up every other heavy read.
pub(crate) const THREADS: usize = 2;
/// Maximum number of heavy reads that have a turn. One runs on each thread, and the others are next.
const TURNS: usize = 16;
/// Maximum number of heavy reads that wait for a turn.
const WAITING_MAX: usize = 1_024;
/// Priority of the threads as `nice` counts it: a thread of a client gets nine times as much time.
const NICENESS: i32 = 10;

/// Why a heavy read did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeavyError {
    /// Too many heavy reads wait already.
    #[error("too many heavy reads are waiting")]
    Overloaded,
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopping,
}

/// Whether a piece of work is to go on. Long work looks at it from time to time.
#[derive(Clone, Debug)]
pub struct Going {
    abandoned: Arc<AtomicBool>,
    executor: Arc<Executor>,
}

impl Going {
    /// Returns whether the caller waits for the result. If not, the work is to end.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.abandoned.load(Ordering::Relaxed) && !self.executor.is_closed.load(Ordering::Relaxed)
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// Runs heavy reads. Their threads are part of a running member.
pub struct Executor {
    turns: Semaphore,
    waiting: AtomicUsize,
    is_closed: AtomicBool,
    /// At most one piece of work for each turn, and what is only dropped.
    work: Mutex<VecDeque<Work>>,
    wake: Condvar,
}

impl Default for Executor {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(TURNS),
            waiting: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            work: Mutex::default(),
            wake: Condvar::new(),
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Executor {
    /// Waits for a turn. A caller that drops the future gives up its place.
    ///
    /// # Errors
    /// Returns why there will be none. Nothing was run.
    pub async fn turn(self: &Arc<Self>) -> Result<Turn<'_>, HeavyError> {
        let permit = match self.turns.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::begin(&self.waiting).ok_or(HeavyError::Overloaded)?;
                self.turns.acquire().await.map_err(|_| HeavyError::Stopping)?
            }
        };
        Ok(Turn { executor: self, _permit: permit })
    }

    /// Drops a value on one of the threads, because dropping millions of versions takes a while. There are never more
    /// such values than answers.
    pub fn dispose(&self, value: impl Send + 'static) {
        self.push(Box::new(move || drop(value)));
    }

    /// Ends the threads. Work that waits does not run.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.turns.close();
        let left = std::mem::take(&mut *self.lock());
        self.wake.notify_all();
        drop(left);
    }

    /// Runs work on the present thread until the executor is closed.
    pub fn run(&self) {
        // The priority is one of the thread, not of the process. A kernel that refuses it changes only who waits.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        while let Some(work) = self.take() {
            work();
        }
    }

    fn take(&self) -> Option<Work> {
        let mut work = self.lock();
        loop {
            if self.is_closed.load(Ordering::Relaxed) {
                return None;
            }
            match work.pop_front() {
                Some(next) => return Some(next),
                None => work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn push(&self, one: Work) {
        let mut work = self.lock();
        // Without a thread, the work is dropped at once.
        if !self.is_closed.load(Ordering::Relaxed) {
            work.push_back(one);
            drop(work);
            self.wake.notify_one();
        }
    }

    /// Ignores poisoning, because every holder of the lock leaves the queue consistent.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait for a turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(count);
        (before < WAITING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The turn of one heavy read, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    executor: &'a Arc<Executor>,
    _permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    /// Runs a piece of work on a thread of the executor. If the caller drops the future, work that has not begun does
    /// not begin, and other work sees that its caller has gone.
    ///
    /// # Errors
    /// Returns an error if the member stops. The work may not have run.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Going) -> T + Send + 'static,
    ) -> Result<T, HeavyError> {
        let going = Going { abandoned: Arc::default(), executor: Arc::clone(self.executor) };
        let _abandons = Abandons(Arc::clone(&going.abandoned));
        let (reply, answer) = oneshot::channel();
        self.executor.push(Box::new(move || {
            if going.goes_on() {
                // Fails only if the caller no longer waits. The result is then dropped here.
                let _ = reply.send(work(&going));
            }
        }));
        answer.await.map_err(|_| HeavyError::Stopping)
    }
}

/// Notes that a caller no longer waits.
struct Abandons(Arc<AtomicBool>);

impl Drop for Abandons {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread, ThreadId};

    use super::*;

    /// Wakes a thread that waits for a future.
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => thread::park(),
            }
        }
    }

    fn is_pending<T>(future: impl Future<Output = T>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    struct Started {
        executor: Arc<Executor>,
        threads: Vec<thread::JoinHandle<()>>,
    }

    impl Started {
        fn new(threads: usize) -> Self {
            let executor = Arc::new(Executor::default());
            let start = |executor: &Arc<Executor>| {
                let executor = Arc::clone(executor);
                thread::spawn(move || executor.run())
            };
            Self { threads: (0..threads).map(|_| start(&executor)).collect(), executor }
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            self.executor.close();
            self.threads.drain(..).for_each(|thread| thread.join().expect("it ends"));
        }
    }

    fn where_it_runs(executor: &Arc<Executor>) -> ThreadId {
        wait(async { executor.turn().await?.run(|_| thread::current().id()).await }).expect("it runs")
    }

    #[test]
    fn work_runs_on_the_executors_threads_and_never_on_its_callers() {
        let started = Started::new(2);
        let own: Vec<ThreadId> = started.threads.iter().map(|thread| thread.thread().id()).collect();
        for _ in 0..100 {
            assert!(own.contains(&where_it_runs(&started.executor)));
        }
        let (sender, dropped) = mpsc::channel();
        struct Says(mpsc::Sender<ThreadId>);
        impl Drop for Says {
            fn drop(&mut self) {
                let _ = self.0.send(thread::current().id());
            }
        }
        started.executor.dispose(Says(sender));
        assert!(own.contains(&dropped.recv().expect("it is dropped")));
    }

    #[test]
    fn the_threads_have_a_lower_priority_than_their_callers() {
        let started = Started::new(1);
        let niceness = |_: &Going| rustix::process::getpriority_process(None).expect("the kernel knows it");
        let before = niceness(&Going { abandoned: Arc::default(), executor: Arc::clone(&started.executor) });
        let theirs = wait(async { started.executor.turn().await?.run(niceness).await }).expect("it runs");
        assert_eq!(theirs, NICENESS.max(before));
        assert_eq!(rustix::process::getpriority_process(None).expect("the kernel knows it"), before);
    }

    #[test]
    fn reads_wait_in_order_and_further_ones_are_refused() {
        let executor = Arc::new(Executor::default());
        let mut turns: Vec<_> = (0..TURNS).map(|_| wait(executor.turn()).expect("there is a turn")).collect();
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(executor.turn())).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().poll(&mut context).is_pending()));
        assert_eq!(wait(executor.turn()).err(), Some(HeavyError::Overloaded));

        turns.pop();
        assert!(waiting[1].as_mut().poll(&mut context).is_pending(), "the first one is first");
        let Poll::Ready(Ok(first)) = waiting[0].as_mut().poll(&mut context) else { panic!("it has the free turn") };
        drop(waiting);
        assert!(is_pending(executor.turn()), "those that wait no longer have given up their places");
        drop(first);
        assert!(wait(executor.turn()).is_ok());
    }

    #[test]
    fn work_of_a_caller_that_has_gone_does_not_begin_or_sees_it() {
        let started = Started::new(1);
        let executor = &started.executor;
        let (begun, first) = mpsc::channel();
        let (seen, ended) = mpsc::channel();
        let turn = wait(executor.turn()).expect("there is a turn");
        let mut long = Box::pin(turn.run(move |going| {
            begun.send(()).expect("the test waits");
            while going.goes_on() {
                thread::yield_now();
            }
            seen.send(()).expect("the test waits");
        }));
        assert!(long.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        first.recv().expect("it begins");
        let (ran, never) = mpsc::channel();
        let mut next = Box::pin(turn.run(move |_| ran.send(())));
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(next);
        drop(long);
        ended.recv().expect("it sees that its caller has gone");
        where_it_runs(executor);
        assert!(never.recv().is_err(), "it did not run, and was dropped");
    }

    #[test]
    fn nothing_runs_when_the_member_stops() {
        let executor = Arc::new(Executor::default());
        let turn = wait(executor.turn()).expect("there is a turn");
        let mut waits = Box::pin(turn.run(|_| ()));
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        executor.close();
        assert_eq!(wait(waits), Err(HeavyError::Stopping));
        assert_eq!(wait(turn.run(|_| ())), Err(HeavyError::Stopping));
        executor.run();
        drop(turn);
        assert_eq!(wait(executor.turn()).err(), Some(HeavyError::Stopping));
    }
}
