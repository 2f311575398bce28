//! The open connections of a port. Owns how many there are, and which one ends for a newcomer: one that has not begun
//! yet, or that has been idle for the longest time. A connection with nothing but streams that yield is idle, and ends after
//! those without any stream. Does not own what is served on a connection (`connection.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::capacity::ConnectionNumber;
use super::memory::{Memory, MemoryLimits};

/// Time for which a connection without a call is kept, even if there is a newcomer. Clients open a connection again
/// when it ends. Without this time, two clients that take turns would do so without a pause.
const IDLE_MIN: Duration = Duration::from_secs(30);
/// Number of connections above the limit that may still be ending, because newcomers have their places.
const LEAVING_MAX: usize = 16;
/// Number of the first bytes of HTTP/2. A connection begins with them.
const PREFACE_BYTES: u64 = 24;

/// Maximum number of calls in progress on all connections of a port together. A call that is admitted may take some
/// kilobytes until its request has arrived.
pub(super) const CALLS_MAX: usize = 16_384;

/// All connections of a port, on all of its threads.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    /// Number of calls in progress that were admitted by [`Place::admit_call`].
    calls: Arc<AtomicUsize>,
    started: Instant,
    open: Mutex<Open>,
    memory: Arc<Memory>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    entries: BTreeMap<u64, Arc<Entry>>,
    /// Number of connections that were asked to end and have not ended yet.
    leaving: usize,
}

/// What is known of one connection.
#[derive(Debug)]
struct Entry {
    number: ConnectionNumber,
    memory: Arc<Memory>,
    started: Instant,
    /// Number of bytes received, as far as it matters for the begin.
    received: AtomicU64,
    /// Number of calls in progress, except those that yield.
    calls: AtomicU32,
    /// Number of calls in progress that yield to a newcomer.
    yielding: AtomicU32,
    /// Time of the last end of a call, of the last begin of one that yields, or of the connection's begin, in milliseconds
    /// since the member started.
    used_ms: AtomicU64,
    closes: Notify,
}

impl Entry {
    fn new(number: ConnectionNumber, connections: &Connections) -> Arc<Self> {
        let entry = Self {
            number,
            memory: Arc::clone(&connections.memory),
            started: connections.started,
            received: AtomicU64::new(0),
            calls: AtomicU32::new(0),
            yielding: AtomicU32::new(0),
            used_ms: AtomicU64::new(0),
            closes: Notify::new(),
        };
        entry.is_used();
        Arc::new(entry)
    }

    fn is_used(&self) {
        self.used_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn has_begun(&self) -> bool {
        self.received.load(Ordering::Relaxed) >= PREFACE_BYTES
    }

    fn has_calls(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    fn is_yielding(&self) -> bool {
        self.yielding.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the connection may end for a newcomer.
    fn is_idle(&self) -> bool {
        let idle_ms = || self.now_ms().saturating_sub(self.used_ms.load(Ordering::Relaxed));
        !self.has_calls() && (!self.has_begun() || u128::from(idle_ms()) >= IDLE_MIN.as_millis())
    }
}

impl Connections {
    /// A port with at most `max` connections, whose answers may keep `pinned` bytes of stored versions alive.
    #[must_use]
    pub fn new(max: usize, pinned: usize) -> Arc<Self> {
        Self::with_memory(max, MemoryLimits { pinned, ..MemoryLimits::default() })
    }

    /// A port with at most `max` connections and this memory for their messages.
    #[must_use]
    pub fn with_memory(max: usize, limits: MemoryLimits) -> Arc<Self> {
        let (calls, memory) = (Arc::default(), Arc::new(Memory::new(limits)));
        Arc::new(Self { max, calls, started: Instant::now(), open: Mutex::default(), memory })
    }

    /// Gives a new connection its place. If all places are taken, a connection is asked to end: one that has not begun,
    /// or the one that has been idle for the longest time, preferably one without any stream. Returns `None` if all others are in use, or if too many are
    /// still ending.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.entries.len() + open.leaving >= self.max + LEAVING_MAX {
            return None;
        }
        if open.entries.len() >= self.max {
            let idle = open.entries.iter().filter(|(_, entry)| entry.is_idle());
            let order = |entry: &Entry| (entry.has_begun(), entry.is_yielding(), entry.used_ms.load(Ordering::Relaxed));
            let oldest = idle.min_by_key(|(_, entry)| order(entry)).map(|(number, _)| *number);
            let ended = open.entries.remove(&oldest?)?;
            open.leaving += 1;
            ended.closes.notify_one();
        }
        open.next += 1;
        let entry = Entry::new(open.next, self);
        open.entries.insert(entry.number, Arc::clone(&entry));
        drop(open);
        Some(Place { entry, connections: Arc::clone(self) })
    }

    /// Ignores poisoning, because every holder of the lock leaves the map consistent.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, which becomes free when this value is dropped.
#[derive(Debug)]
pub struct Place {
    entry: Arc<Entry>,
    connections: Arc<Connections>,
}

impl Place {
    /// Notes that a call begins. It ends when the returned value is dropped.
    #[must_use]
    pub fn call(&self) -> OpenCall {
        self.entry.calls.fetch_add(1, Ordering::Relaxed);
        OpenCall { entry: Arc::clone(&self.entry), counted: None, is_yielding: false }
    }

    /// Notes that a call begins, unless as many are in progress on all connections as may be.
    #[must_use]
    pub(super) fn admit_call(&self) -> Option<OpenCall> {
        let counted = Counted::take(&self.connections.calls)?;
        self.entry.calls.fetch_add(1, Ordering::Relaxed);
        Some(OpenCall { entry: Arc::clone(&self.entry), counted: Some(counted), is_yielding: false })
    }

    /// Notes that bytes were received.
    pub fn received(&self, bytes: usize) {
        if !self.entry.has_begun() {
            self.entry.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Notes that the connection has begun.
    pub fn begin(&self) {
        self.entry.received.store(PREFACE_BYTES, Ordering::Relaxed);
    }

    /// Returns whether the first bytes of HTTP/2 were received, or as many of HTTP/1.1.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.entry.has_begun()
    }

    /// Returns whether a call is in progress that does not yield.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.entry.has_calls()
    }

    /// Waits until the connection is to end because of a newcomer.
    pub async fn is_to_close(&self) {
        self.entry.closes.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if open.entries.remove(&self.entry.number).is_none() {
            open.leaving -= 1;
        }
    }
}

/// A call in progress.
#[derive(Debug)]
pub struct OpenCall {
    entry: Arc<Entry>,
    /// The call among those of all connections, if it counts there.
    #[allow(dead_code, reason = "the value is held only for its drop")]
    counted: Option<Counted>,
    is_yielding: bool,
}

/// One of the calls in progress on all connections.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn take(calls: &Arc<AtomicUsize>) -> Option<Self> {
        let counted = Self(Arc::clone(calls));
        (calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenCall {
    /// Another hold of the same call, which counts once.
    pub(super) fn again(&self) -> OpenCall {
        self.entry.calls.fetch_add(1, Ordering::Relaxed);
        OpenCall { entry: Arc::clone(&self.entry), counted: None, is_yielding: false }
    }

    /// Lets the connection end for a newcomer while the call is in progress. The call counts among those of all connections
    /// as before.
    pub(super) fn yields(&mut self) {
        if !std::mem::replace(&mut self.is_yielding, true) {
            self.entry.is_used();
            self.entry.yielding.fetch_add(1, Ordering::Relaxed);
            self.entry.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Number of the call's connection.
    pub(super) fn connection(&self) -> ConnectionNumber {
        self.entry.number
    }

    /// Memory for the messages of all connections.
    pub(super) fn memory(&self) -> &Memory {
        &self.entry.memory
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.entry.is_used();
        let count = if self.is_yielding { &self.entry.yielding } else { &self.entry.calls };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn closes(place: &Place) -> bool {
        place.is_to_close().now_or_never().is_some()
    }

    /// A connection that has begun, and was last used some seconds ago.
    fn begun(connections: &Arc<Connections>, idle: u64) -> Place {
        let place = connections.admit().expect("there is a place");
        place.received(PREFACE_BYTES as usize);
        let used_ms = place.entry.now_ms().saturating_sub(idle * 1_000);
        place.entry.used_ms.store(used_ms, Ordering::Relaxed);
        place
    }

    /// Connections of a member that started an hour ago.
    fn connections(max: usize) -> Arc<Connections> {
        let started = Instant::now().checked_sub(Duration::from_secs(3_600)).expect("this machine is up for longer");
        let (calls, memory) = (Arc::default(), Arc::new(Memory::new(MemoryLimits::default())));
        Arc::new(Connections { max, calls, started, open: Mutex::default(), memory })
    }

    #[test]
    fn a_newcomer_ends_the_connection_that_is_idle_for_the_longest_time() {
        let connections = connections(3);
        let places = [100, 60, 80].map(|idle| begun(&connections, idle));
        let busy = places[0].call();
        let newcomer = connections.admit().expect("an idle one ends");
        assert_eq!(places.each_ref().map(closes), [false, false, true], "the first one has a call");
        drop(busy);
        drop(newcomer);
        assert!(connections.admit().is_some(), "a place is free again");
        assert!(!closes(&places[0]));
    }

    #[test]
    fn a_connection_that_has_not_begun_ends_first_and_at_once() {
        let connections = connections(3);
        let places = [begun(&connections, 100), connections.admit().expect("a place"), begun(&connections, 100)];
        places[1].received(PREFACE_BYTES as usize - 1);
        connections.admit().expect("it ends");
        assert_eq!(places.each_ref().map(closes), [false, true, false]);
    }

    /// Each connection that is ending still has its descriptor.
    #[test]
    fn newcomers_wait_until_those_that_end_have_ended() {
        let connections = connections(2);
        let mut places: Vec<Place> = (0..2).map(|_| connections.admit().expect("a place")).collect();
        places.extend((0..LEAVING_MAX).map(|_| connections.admit().expect("one that has not begun ends")));
        assert!(connections.admit().is_none(), "all of them are still open");
        drop(places.remove(0));
        assert!(connections.admit().is_some());
        drop(places);
        let open = connections.lock();
        assert_eq!((open.entries.len(), open.leaving), (0, 0));
    }

    #[test]
    fn a_newcomer_is_refused_while_all_others_are_in_use() {
        let connections = connections(2);
        let (idle, busy) = (begun(&connections, 29), begun(&connections, 100));
        let call = busy.call();
        assert!(connections.admit().is_none(), "one has a call, and one had a call just now");
        drop(idle);
        assert!(connections.admit().is_some());
        drop(call);
    }

    /// A connection idle for 100 s on which a call began then that yields.
    fn yielding(connections: &Arc<Connections>) -> (Place, OpenCall) {
        let place = begun(connections, 0);
        let mut call = place.call();
        call.yields();
        call.yields();
        let used_ms = place.entry.now_ms() - 100_000;
        place.entry.used_ms.store(used_ms, Ordering::Relaxed);
        (place, call)
    }

    #[test]
    fn a_connection_whose_calls_yield_ends_after_those_without_a_call() {
        let connections = connections(3);
        let (place, _yielding) = yielding(&connections);
        let (idle, busy) = (begun(&connections, 60), begun(&connections, 100));
        let _call = busy.call();
        let newcomer = connections.admit().expect("the one without a call ends");
        assert_eq!([&place, &idle, &busy].map(closes), [false, true, false]);
        drop(newcomer);
        let _in_use = begun(&connections, 0);
        let _newcomer = connections.admit().expect("the one whose call yields ends");
        assert_eq!([&place, &busy].map(closes), [true, false]);
        assert!(!place.has_calls());
    }

    #[test]
    fn a_connection_with_another_call_does_not_yield() {
        let connections = connections(1);
        let (place, yielding) = yielding(&connections);
        let other = place.call();
        assert!(connections.admit().is_none());
        drop(other);
        assert!(connections.admit().is_none(), "it had another call just now");
        drop(yielding);
        let entry = &place.entry;
        assert_eq!([&entry.calls, &entry.yielding].map(|count| count.load(Ordering::Relaxed)), [0, 0]);
    }

    #[test]
    fn calls_of_all_connections_share_one_limit() {
        let connections = connections(2);
        let places = [connections.admit().expect("a place"), connections.admit().expect("a place")];
        let mut calls: Vec<_> = (0..CALLS_MAX).filter_map(|number| places[number % 2].admit_call()).collect();
        assert_eq!(calls.len(), CALLS_MAX);
        let again = calls[0].again();
        assert!(places.iter().all(|place| place.admit_call().is_none()));
        calls.pop();
        assert!(places[0].admit_call().is_some(), "another hold of a call does not count");
        drop((calls, again));
        assert!(places.iter().all(|place| !place.has_calls()));
    }
}
