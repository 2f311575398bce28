//! Memory for the messages of a port. Owns how much there is for small requests, for large ones and for answers, and
//! how long a message waits for it. Does not own who gets it next (`capacity.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Status;

use super::capacity::{Capacity, ConnectionNumber, Reserved};
use crate::status::Refusal;

/// Maximum size of a message that does not wait for larger ones, in bytes. A larger answer refers to stored versions.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// Bytes that a message costs besides its own: the command and the caller that waits for it.
const MESSAGE_BYTES: usize = 512;
/// Time for which a message waits for memory.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for the messages of all connections of a port, in bytes. One message is always possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Messages of at most 64 KiB under way. Half of it is only counted, because nearly all messages are small and would
    /// otherwise take a lock of the port. Once it is used up, further requests share the other half in turns, and further
    /// answers the memory of large ones. Default: 16 MiB.
    pub small: usize,
    /// Other messages under way. Default: 48 MiB.
    pub large: usize,
    /// Decoded operations of large transactions under way. Default: 32 MiB.
    pub operations: usize,
    /// Messages that wait for memory, at most, for each of these. Default: 16 MiB.
    pub waiting: usize,
    /// Stored versions that answers keep alive. Default: 0.
    pub pinned: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { small: 16 << 20, large: 48 << 20, operations: 32 << 20, waiting: 16 << 20, pinned: 0 }
    }
}

/// Memory for the messages of all connections of a port. A request holds its memory until it has its answer, and an
/// answer until it was sent.
#[derive(Debug)]
pub(super) struct Memory {
    /// Bytes that are held by small messages and only counted.
    counted: Arc<AtomicUsize>,
    /// Maximum of `counted`.
    counted_max: usize,
    /// For further small requests, so that they never wait for large ones.
    small: Arc<Capacity>,
    large: Arc<Capacity>,
    /// For the operations of transactions, which take more memory than their bytes in a message.
    operations: Arc<Capacity>,
    /// For answers, most of which keep stored versions alive.
    answers: Arc<Capacity>,
    answers_bytes: usize,
}

impl Memory {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        let MemoryLimits { small, large, operations, waiting, pinned } = limits;
        Self {
            counted: Arc::default(),
            counted_max: small / 2,
            small: Capacity::new(small / 2, waiting),
            large: Capacity::new(large, waiting),
            operations: Capacity::new(operations, waiting),
            answers: Capacity::new(pinned, waiting),
            answers_bytes: pinned,
        }
    }

    /// Reserves memory for a request of this length.
    ///
    /// # Errors
    /// Returns an error if there is none for some time. The text is that of etcd when it has too many requests.
    pub(super) async fn reserve_request(
        &self,
        connection: ConnectionNumber,
        length: usize,
    ) -> Result<HeldMemory, Status> {
        let (is_small, bytes) = (length <= SMALL_BYTES_MAX, length + MESSAGE_BYTES);
        if is_small && let Some(counted) = Counted::take(&self.counted, self.counted_max, bytes) {
            return Ok(HeldMemory::Counted(counted));
        }
        let capacity = if is_small { &self.small } else { &self.large };
        match tokio::time::timeout(RESERVE_TIMEOUT, capacity.reserve(connection, bytes)).await {
            Ok(Ok(reserved)) => Ok(HeldMemory::Reserved(reserved)),
            Ok(Err(_)) | Err(_) => Err(Refusal::TooManyRequests.into()),
        }
    }

    /// Memory for a small request, if there is some at this moment.
    #[cfg(test)]
    pub(super) fn count_request(&self, length: usize) -> Option<HeldMemory> {
        Counted::take(&self.counted, self.counted_max, length).map(HeldMemory::Counted)
    }

    /// Reserves memory for the decoded operations of a transaction. The transaction holds memory for its message already,
    /// and those that hold memory for operations wait for no more of it.
    ///
    /// # Errors
    /// Returns an error if there is none for some time. The text is that of etcd when it has too many requests.
    pub(super) async fn reserve_operations(
        &self,
        connection: ConnectionNumber,
        bytes: usize,
    ) -> Result<Reserved, Status> {
        match tokio::time::timeout(RESERVE_TIMEOUT, self.operations.reserve(connection, bytes)).await {
            Ok(Ok(reserved)) => Ok(reserved),
            Ok(Err(_)) | Err(_) => Err(Refusal::TooManyRequests.into()),
        }
    }

    /// Maximum size of an answer in bytes: the one of a message, or all memory for answers if that is less.
    pub(super) fn answer_bytes_max(&self) -> usize {
        self.answers_bytes.min(i32::MAX as usize)
    }

    /// Memory for an encoded answer that is small, if there is some at this moment.
    pub(super) fn count_answer(&self, bytes: usize) -> Option<HeldMemory> {
        if bytes > SMALL_BYTES_MAX {
            return None;
        }
        Counted::take(&self.counted, self.counted_max, bytes).map(HeldMemory::Counted)
    }

    /// Reserves memory for an answer that keeps stored versions alive; `None` if there is none for some time.
    pub(super) async fn reserve_answer(&self, connection: ConnectionNumber, bytes: usize) -> Option<Reserved> {
        tokio::time::timeout(RESERVE_TIMEOUT, self.answers.reserve(connection, bytes)).await.ok()?.ok()
    }
}

/// Memory that a message holds until this value is dropped.
#[derive(Debug)]
#[allow(dead_code, reason = "the values are held only for their drop")]
pub(crate) enum HeldMemory {
    Counted(Counted),
    Reserved(Reserved),
}

/// Bytes that are only counted.
#[derive(Debug)]
pub(crate) struct Counted {
    count: Arc<AtomicUsize>,
    bytes: usize,
}

impl Counted {
    fn take(count: &Arc<AtomicUsize>, max: usize, bytes: usize) -> Option<Self> {
        let counted = Self { count: Arc::clone(count), bytes };
        let before = count.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn small_requests_have_all_of_their_memory_and_no_more() {
        for small in [MemoryLimits::default().small, 4 << 20] {
            let memory = Memory::new(MemoryLimits { small, ..MemoryLimits::default() });
            fill(&memory, small).await;
        }
    }

    async fn fill(memory: &Memory, small: usize) {
        let bytes = SMALL_BYTES_MAX + MESSAGE_BYTES;
        let mut held = Vec::new();
        // A connection gets at most half of what is shared in turns.
        for connection in 0..small / 2 / bytes * 2 {
            held.push(memory.reserve_request(connection as u64, SMALL_BYTES_MAX).await.expect("there is memory"));
        }
        assert!(matches!(held.last(), Some(HeldMemory::Reserved(_))));
        memory.reserve_request(1_000, SMALL_BYTES_MAX).await.expect_err("there is none left");
        memory.reserve_request(1_000, SMALL_BYTES_MAX + 1).await.expect("large ones have their own");
        held.clear();
        assert_eq!(memory.counted.load(Ordering::Relaxed), 0);
        assert!(matches!(memory.reserve_request(1, 1).await, Ok(HeldMemory::Counted(_))));
    }

    /// The turns of large answers take a lock of the port. A small one needs none of it until very many are under way.
    #[test]
    fn a_small_answer_is_only_counted() {
        let memory = Memory::new(MemoryLimits { pinned: 1 << 20, ..MemoryLimits::default() });
        let mut held = Vec::new();
        for _ in 0..memory.counted_max / SMALL_BYTES_MAX {
            held.push(memory.count_answer(SMALL_BYTES_MAX).expect("there is memory"));
        }
        assert!(memory.count_answer(1).is_none(), "it takes a turn");
        held.pop();
        assert!(memory.count_answer(SMALL_BYTES_MAX + 1).is_none(), "a larger one takes a turn");
        assert!(memory.count_answer(SMALL_BYTES_MAX).is_some());
    }
}
