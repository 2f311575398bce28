//! Memory for the messages of a port. Owns how much there is for small requests, for large ones and for answers, and
//! how long a message waits for it. Does not own who gets it next (`capacity.rs`).

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use super::capacity::{Capacity, ConnectionNumber, Reserved};
use crate::status::Refusal;

/// Maximum size of a message that does not wait for larger ones, in bytes.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// Memory for small messages under way, in bytes.
const SMALL_BYTES: usize = 16 << 20;
/// Memory for other messages under way, in bytes.
const LARGE_BYTES: usize = 48 << 20;
/// Bytes of messages that wait for memory, at most, for each of the two.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes that a message costs besides its own: the command and the caller that waits for it.
const MESSAGE_BYTES: usize = 512;
/// Time for which a message waits for memory.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for the messages of all connections of a port. A request holds its memory until it has its answer, and an
/// answer until it was sent.
#[derive(Debug)]
pub(super) struct Memory {
    /// For small requests, so that they never wait for large ones.
    small: Arc<Capacity>,
    large: Arc<Capacity>,
    /// For answers that keep stored versions alive.
    pinned: Arc<Capacity>,
}

impl Memory {
    /// Memory of a port whose answers may keep `pinned` bytes of stored versions alive.
    pub(super) fn new(pinned: usize) -> Self {
        Self {
            small: Capacity::new(SMALL_BYTES, WAITING_BYTES_MAX),
            large: Capacity::new(LARGE_BYTES, WAITING_BYTES_MAX),
            pinned: Capacity::new(pinned, WAITING_BYTES_MAX),
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
    ) -> Result<Reserved, Status> {
        let capacity = if length <= SMALL_BYTES_MAX { &self.small } else { &self.large };
        let reserved = capacity.reserve(connection, length + MESSAGE_BYTES);
        match tokio::time::timeout(RESERVE_TIMEOUT, reserved).await {
            Ok(Ok(reserved)) => Ok(reserved),
            Ok(Err(_)) | Err(_) => Err(Refusal::TooManyRequests.into()),
        }
    }

    /// Reserves memory for an answer; `None` if there is none for some time.
    pub(super) async fn reserve_pinned(&self, connection: ConnectionNumber, bytes: usize) -> Option<Reserved> {
        tokio::time::timeout(RESERVE_TIMEOUT, self.pinned.reserve(connection, bytes)).await.ok()?.ok()
    }
}
