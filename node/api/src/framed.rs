//! Encoded messages on their way to a client. Owns how a large one refers to the stored versions of keys instead of
//! copying them. Does not own what is encoded (`answer.rs`), nor the pace of sending (`transport`).

use std::any::Any;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use engine::read::executor::Executor;
use mvcc::KeyValue;

/// Maximum number of versions that are dropped on the thread of a connection.
const DROPPED_AT_ONCE_MAX: usize = 4_096;

/// An encoded message with its frame header.
pub(super) enum Framed {
    /// The bytes themselves.
    Whole(Bytes),
    /// A large message.
    Pinned(Pinned),
}

/// A message that is encoded piece by piece as it is sent. It keeps the versions that it contains alive, so it counts
/// as large as its encoding even though the store usually holds them as well.
pub(super) struct Pinned {
    /// Everything except the versions.
    literal: Bytes,
    /// Number of bytes of `literal` that were taken.
    taken: usize,
    versions: std::vec::IntoIter<Version>,
    /// Number of bytes of the next version that were taken.
    taken_of_version: usize,
    remaining: usize,
    held: Option<Held>,
    /// Drops what was not sent of a large message.
    executor: Option<Arc<Executor>>,
}

/// Memory that is reserved for a message, until this value is dropped.
pub(super) struct Held {
    pub(super) bytes: usize,
    pub(super) reserved: Box<dyn Any + Send + Sync>,
}

/// A version in a message.
pub(super) struct Version {
    /// Number of literal bytes before the version.
    pub(super) at: usize,
    pub(super) version: KeyValue,
}

impl Pinned {
    pub(super) fn new(literal: Bytes, versions: Vec<Version>) -> Self {
        let remaining = literal.len() + versions.iter().map(|one| one.version.encoded().len()).sum::<usize>();
        let versions = versions.into_iter();
        Self { literal, taken: 0, versions, taken_of_version: 0, remaining, held: None, executor: None }
    }

    /// Number of bytes that were not taken yet.
    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(bytes.min(self.remaining));
        while out.len() < bytes {
            let missing = bytes - out.len();
            let next = self.versions.as_slice().first();
            let literal = &self.literal[self.taken..next.map_or(self.literal.len(), |next| next.at)];
            if !literal.is_empty() {
                let part = &literal[..missing.min(literal.len())];
                out.put_slice(part);
                self.taken += part.len();
                continue;
            }
            let Some(next) = next else { break };
            let encoded = next.version.encoded();
            let rest = &encoded[self.taken_of_version..];
            let part = &rest[..missing.min(rest.len())];
            out.put_slice(part);
            self.taken_of_version += part.len();
            if self.taken_of_version == encoded.len() {
                self.versions.next();
                self.taken_of_version = 0;
            }
        }
        self.remaining -= out.len();
        out.freeze()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(executor) = &self.executor
            && self.versions.len() > DROPPED_AT_ONCE_MAX
        {
            executor.dispose((std::mem::take(&mut self.versions), self.held.take().map(|held| held.reserved)));
        }
    }
}

impl Framed {
    /// Returns whether memory is reserved for all of the message.
    pub(super) fn has_memory(&self) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Pinned(pinned) => pinned.held.is_some(),
        }
    }

    /// Takes the memory that is reserved for the message.
    pub(super) fn take_held(&mut self) -> Option<Held> {
        match self {
            Self::Whole(_) => None,
            Self::Pinned(pinned) => pinned.held.take(),
        }
    }

    /// Lets a large message hold memory that was reserved for it. If the message is larger than that, as it may be if it
    /// was cut after sorting, the memory becomes free, and the message has none yet.
    #[must_use]
    pub(super) fn holding(self, held: Held, executor: Arc<Executor>) -> Self {
        let mut framed = self.disposed_by(executor);
        if let Self::Pinned(pinned) = &mut framed
            && pinned.remaining <= held.bytes
        {
            pinned.held = Some(held);
        }
        framed
    }

    /// Lets an executor drop what is not sent of a large message.
    #[must_use]
    pub(super) fn disposed_by(mut self, executor: Arc<Executor>) -> Self {
        if let Self::Pinned(pinned) = &mut self {
            pinned.executor = Some(executor);
        }
        self
    }

    /// Number of bytes that were not taken yet.
    pub(super) fn remaining(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Pinned(pinned) => pinned.remaining,
        }
    }

    /// Takes the next bytes, at most this number.
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        match self {
            Self::Whole(whole) => whole.split_to(bytes.min(whole.len())),
            Self::Pinned(pinned) => pinned.take(bytes),
        }
    }
}

#[cfg(test)]
impl Framed {
    /// The rest of the message.
    pub(super) fn whole(mut self) -> Bytes {
        self.take(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use mvcc::{Command, Put, Store};

    use super::*;

    /// Says when it is dropped.
    struct Says(Arc<AtomicBool>);

    impl Drop for Says {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn message(versions: usize) -> Framed {
        let mut store = Store::new();
        store.apply(1, &Command::Put(Put { key: "k".into(), ..Put::default() })).expect("a plain put succeeds");
        let version = store.view().get(b"k").expect("it was put");
        let versions = (0..versions).map(|_| Version { at: 0, version: version.clone() }).collect();
        Framed::Pinned(Pinned::new(Bytes::new(), versions))
    }

    fn held(bytes: usize) -> (Held, Arc<AtomicBool>) {
        let dropped = Arc::default();
        (Held { bytes, reserved: Box::new(Says(Arc::clone(&dropped))) }, dropped)
    }

    #[test]
    fn memory_is_held_until_a_message_is_dropped_and_is_enough_for_it() {
        let executor: Arc<Executor> = Arc::default();
        let (enough, dropped) = held(message(10).remaining());
        let framed = message(10).holding(enough, Arc::clone(&executor));
        assert!(framed.has_memory() && !dropped.load(Ordering::Relaxed));
        drop(framed);
        assert!(dropped.load(Ordering::Relaxed));

        let (too_little, dropped) = held(message(10).remaining() - 1);
        let framed = message(10).holding(too_little, executor);
        assert!(!framed.has_memory() && dropped.load(Ordering::Relaxed));
    }

    /// The executor of this test has no thread, so that what it is to drop stays.
    #[test]
    fn a_message_with_many_versions_is_not_dropped_on_the_thread_of_its_connection() {
        let executor: Arc<Executor> = Arc::default();
        for (versions, is_dropped) in [(DROPPED_AT_ONCE_MAX, true), (DROPPED_AT_ONCE_MAX + 1, false)] {
            let (memory, dropped) = held(usize::MAX);
            drop(message(versions).holding(memory, Arc::clone(&executor)));
            assert_eq!(dropped.load(Ordering::Relaxed), is_dropped, "{versions} versions");
        }
    }
}
