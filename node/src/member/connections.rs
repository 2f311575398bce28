//! The open connections of clients. Owns how many there are, and which one ends for a newcomer: the one that has been
//! idle for the longest time. Does not own what is served on a connection (`serve.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// All connections of a member, on all threads for clients.
pub(super) struct Connections {
    max: usize,
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    entries: BTreeMap<u64, Arc<Entry>>,
}

/// What is known of one connection.
struct Entry {
    started: Instant,
    /// Number of calls in progress.
    calls: AtomicU32,
    /// Time of the last end of a call, or of the connection's begin, in milliseconds since the member started.
    used_ms: AtomicU64,
    closes: Notify,
}

impl Entry {
    fn new(started: Instant) -> Arc<Self> {
        let entry = Self { started, calls: AtomicU32::new(0), used_ms: AtomicU64::new(0), closes: Notify::new() };
        entry.is_used();
        Arc::new(entry)
    }

    fn is_used(&self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Connections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, started: Instant::now(), open: Mutex::default() })
    }

    /// Gives a new connection its place. If all places are taken, the connection without a call that has been idle for
    /// the longest time is asked to end. Returns `None` if each connection has a call in progress.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.entries.len() >= self.max {
            let idle = open.entries.iter().filter(|(_, entry)| entry.calls.load(Ordering::Relaxed) == 0);
            let oldest = idle.min_by_key(|(_, entry)| entry.used_ms.load(Ordering::Relaxed)).map(|(number, _)| *number);
            let ended = open.entries.remove(&oldest?)?;
            ended.closes.notify_one();
        }
        open.next += 1;
        let (number, entry) = (open.next, Entry::new(self.started));
        open.entries.insert(number, Arc::clone(&entry));
        drop(open);
        Some(Place { number, entry, connections: Arc::clone(self) })
    }

    /// Ignores poisoning, because every holder of the lock leaves the map consistent.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, which becomes free when this value is dropped.
pub(super) struct Place {
    number: u64,
    entry: Arc<Entry>,
    connections: Arc<Connections>,
}

impl Place {
    /// Notes that a call begins. It ends when the returned value is dropped.
    pub(super) fn call(&self) -> Call {
        self.entry.calls.fetch_add(1, Ordering::Relaxed);
        Call { entry: Arc::clone(&self.entry) }
    }

    /// Waits until the connection is to end because of a newcomer.
    pub(super) async fn is_to_close(&self) {
        self.entry.closes.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().entries.remove(&self.number);
    }
}

/// A call in progress.
pub(super) struct Call {
    entry: Arc<Entry>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.entry.is_used();
        self.entry.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn closes(place: &Place) -> bool {
        place.is_to_close().now_or_never().is_some()
    }

    #[test]
    fn a_newcomer_ends_the_connection_that_is_idle_for_the_longest_time() {
        let connections = Connections::new(3);
        let places: Vec<Place> = (0..3).filter_map(|_| connections.admit()).collect();
        let busy = places[0].call();
        for (place, used) in places.iter().zip([1, 3, 2]) {
            place.entry.used_ms.store(used, Ordering::Relaxed);
        }
        let newcomer = connections.admit().expect("an idle one ends");
        assert_eq!(places.iter().map(closes).collect::<Vec<_>>(), [false, false, true], "the first one has a call");
        drop(busy);
        drop(newcomer);
        assert!(connections.admit().is_some(), "a place is free again");
        assert!(!closes(&places[0]));
    }

    #[test]
    fn a_newcomer_is_refused_while_all_others_have_calls() {
        let connections = Connections::new(2);
        let places: Vec<Place> = (0..2).filter_map(|_| connections.admit()).collect();
        let calls: Vec<Call> = places.iter().map(Place::call).collect();
        assert!(connections.admit().is_none());
        drop(calls);
        assert!(connections.admit().is_some());
    }
}
