//! Transfer of snapshots between members: on a separate connection, in chunks, within a rate limit. A received snapshot
//! is verified and durable before the core is notified. Owns the transfer. Does not own the decision whether a snapshot
//! is installed (`raft`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::fatal;
use engine::incoming_snapshot::{self, Offered};
use proto::peer::peer_client::PeerClient;
use proto::peer::{SnapshotChunk, SnapshotOffer, SnapshotReceived, snapshot_chunk::Kind};
use raft::{Index, MemberId, SnapshotMeta, Term};
use storage::codec::{EncodeError, Reader, put_snapshot_meta};
use storage::{SnapshotError, SnapshotReader};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::peer::Accepted;
use crate::peer::dial::{self, ConnectError};
use crate::peer::greet::{self, GreetError};
use crate::peer::incoming::{self, Place};
use crate::peer::{Peers, greeting};

/// Maximum number of chunks that are read or received in advance.
const CHUNKS_AHEAD: usize = 4;
/// Maximum payload bytes in one message.
const CHUNK_BYTES: usize = 256 << 10;
/// Maximum payload bytes in one message that is received. Some of them wait for the disk. No member sends more than
/// [`CHUNK_BYTES`].
const RECEIVED_BYTES_MAX: usize = 1 << 20;
/// Time within which a new call must bring its offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without progress after which the sender aborts a transfer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Token bucket for all snapshots that this member sends. After an idle time, one second's worth of bytes may be sent
/// without waiting.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_second: u64,
    /// Earliest time at which the bytes granted so far are within the rate limit.
    paid_at: Mutex<Instant>,
}

impl Rate {
    /// Creates a limit in bytes per second; 0: no limit.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_at: Mutex::new(Instant::now()) }
    }

    /// The limit in bytes per second; 0: none.
    pub(super) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Waits until `bytes` may be sent.
    pub(super) async fn take(&self, bytes: usize) {
        const BURST: Duration = Duration::from_secs(1);
        if self.bytes_per_second == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut paid_at = self.paid_at.lock().await;
        let now = Instant::now();
        *paid_at = (*paid_at).max(now.checked_sub(BURST).unwrap_or(now)) + cost;
        let wait = paid_at.saturating_duration_since(now);
        drop(paid_at);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// What is announced to a receiver before anything is known of the connection to it, in bytes per second.
const ANNOUNCED_FIRST: u64 = 8 << 20;
/// Lowest announcement.
const ANNOUNCED_MIN: u64 = 64 << 10;

/// The rates that recent transfers reached, in bytes per second. A receiver ends a transfer that is slower than an eighth of the
/// announced rate, so over a slow connection no transfer would ever end if the same rate were announced again.
#[derive(Debug, Default)]
pub(super) struct Reached(std::sync::Mutex<BTreeMap<MemberId, u64>>);

impl Reached {
    /// The rate to announce. `limit` is the limit of this member, 0: none.
    fn announce(&self, to: MemberId, limit: u64) -> u64 {
        let highest = if limit == 0 { ANNOUNCED_FIRST } else { limit.min(ANNOUNCED_FIRST) };
        let reached = self.lock().get(&to).copied();
        reached.map_or(highest, |reached| reached.saturating_mul(2).min(highest)).max(ANNOUNCED_MIN)
    }

    /// Keeps what a transfer reached. Only for members of the configuration.
    fn note(&self, to: MemberId, bytes: u64, elapsed: Duration) {
        let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
        self.lock().insert(to, rate as u64);
    }

    /// Forgets all members but these.
    pub(super) fn retain(&self, is_member: impl Fn(MemberId) -> bool) {
        self.lock().retain(|id, _| is_member(*id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<MemberId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports the end of a transfer to the core when dropped, so that the report is never missing. Without the report, the
/// core would never begin another transfer to the same receiver.
struct Ending {
    peers: Arc<Peers>,
    to: MemberId,
    number: u64,
    arrived: Result<(), ()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Self { peers, to, number, arrived } = self;
        match arrived {
            Ok(()) => peers.metrics.snapshot_sent(),
            Err(()) => peers.metrics.snapshot_failed(),
        }
        peers.shared.snapshot_sent(*to, *number, *arrived);
    }
}

/// Begins to send the newest snapshot to a member, and reports the outcome to the core. The snapshot must contain the
/// entry at `at_least`. If an earlier transfer to the same member is in progress, aborts the earlier transfer.
pub(super) fn begin(peers: &Arc<Peers>, to: MemberId, number: u64, term: Term, at_least: Index) {
    let ending = Ending { peers: Arc::clone(peers), to, number, arrived: Err(()) };
    let task = peers.runtime.spawn(async move {
        let mut ending = ending;
        match send(&ending.peers, to, term, at_least).await {
            Ok(bytes) => {
                tracing::info!(%to, bytes, "sent a snapshot");
                ending.arrived = Ok(());
            }
            Err(reason) => {
                tracing::warn!(%to, %reason, "a snapshot was not sent");
                ending.peers.replace_snapshot_after(&reason);
            }
        }
    });
    if let Some(old) = peers.lock().snapshots.insert(to, task.abort_handle()) {
        old.abort();
    }
}

/// Reason why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// The receiver cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The receiver does not answer the greeting, or is too old.
    #[error(transparent)]
    Greet(#[from] GreetError),
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The snapshot's description cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The task that reads from the disk panicked or was cancelled.
    #[error(transparent)]
    Reading(#[from] JoinError),
    /// A step made no progress within [`STALL_TIMEOUT`].
    #[error("{what} for {STALL_TIMEOUT:?}")]
    Stalled {
        /// The event that did not happen in time.
        what: &'static str,
    },
    /// The receiver closed the stream of chunks.
    #[error("the receiver ended the transfer")]
    Closed,
    /// The receiver answered with an error.
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Status),
}

/// Sends the newest snapshot. Returns its size in bytes.
async fn send(peers: &Arc<Peers>, to: MemberId, term: Term, at_least: Index) -> Result<u64, SendError> {
    let url = peers.url(to).ok_or(ConnectError::UnknownAddress)?;
    let snapshots = peers.snapshots.clone();
    let opening = tokio::task::spawn_blocking(move || snapshots.open_newest(at_least));
    let reader = within_limit(opening, "nothing was read").await???;
    let info = reader.info().clone();
    let channel = dial::connect(&url).await?;
    greet::require_level(peers, to, channel.clone()).await?;
    let (chunks, body) = mpsc::channel(CHUNKS_AHEAD);
    let mut meta = Vec::new();
    put_snapshot_meta(&mut meta, &info.meta)?;
    let offer = SnapshotOffer {
        greeting: Some(peers.greeting(to)),
        term: term.0,
        meta: meta.into(),
        size_bytes: info.bytes,
        crc32c: info.crc32c,
        rate_bytes_per_second: peers.reached.announce(to, peers.rate.bytes_per_second),
    };
    let (began, sent) = (Instant::now(), AtomicU64::new(0));
    let feed = feed(peers, offer, reader, chunks, &sent);
    let mut client = PeerClient::new(channel);
    let call = client.snapshot(ReceiverStream::new(body));
    tokio::pin!(call);
    let (fed, answer) = tokio::select! {
        // The receiver has answered early with a refusal, so the remaining chunks are not sent.
        answer = &mut call => (Ok(()), answer),
        fed = feed => (fed, within_limit(&mut call, "no answer was received").await?),
    };
    if peers.configuration.load().contains(to) {
        peers.reached.note(to, sent.load(Ordering::Relaxed), began.elapsed());
    }
    // A receiver refuses what ends early, so the reason why it ended comes first.
    let fed = match fed {
        Err(reason @ SendError::Snapshot(_)) => return Err(reason),
        fed => fed,
    };
    answer.map_err(SendError::Refused)?;
    fed.map(|()| info.bytes)
}

impl Peers {
    /// Asks for another snapshot if the newest one cannot be read. Otherwise every transfer would fail until the next one is due.
    fn replace_snapshot_after(&self, reason: &SendError) {
        if let SendError::Snapshot(SnapshotError::Damaged(_) | SnapshotError::Storage(_)) = reason
            && let Some(newest) = self.snapshots.newest()
        {
            self.shared.snapshot_unreadable(newest.meta.last.index);
        }
    }
}

/// Returns the result of an operation, or an error if the operation takes longer than [`STALL_TIMEOUT`].
async fn within_limit<T>(operation: impl Future<Output = T>, what: &'static str) -> Result<T, SendError> {
    tokio::time::timeout(STALL_TIMEOUT, operation).await.map_err(|_| SendError::Stalled { what })
}

async fn feed(
    peers: &Peers,
    offer: SnapshotOffer,
    mut reader: SnapshotReader,
    chunks: mpsc::Sender<SnapshotChunk>,
    total: &AtomicU64,
) -> Result<(), SendError> {
    let gone = |_| SendError::Closed;
    chunks.send(SnapshotChunk { kind: Some(Kind::Offer(offer)) }).await.map_err(gone)?;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk();
            (reader, chunk)
        });
        let (returned, chunk) = within_limit(read, "nothing was read").await??;
        reader = returned;
        let Some(mut chunk) = chunk? else { return Ok(()) };
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(CHUNK_BYTES));
            let bytes = part.len();
            peers.rate.take(bytes).await;
            let sent = chunks.send(SnapshotChunk { kind: Some(Kind::Data(part)) });
            within_limit(sent, "the receiver read nothing").await?.map_err(gone)?;
            total.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Receives one snapshot, makes it durable and notifies the core.
pub(super) async fn receive(
    peers: &Arc<Peers>,
    connection: Option<&Accepted>,
    mut chunks: Streaming<SnapshotChunk>,
) -> Result<Response<SnapshotReceived>, Status> {
    let first = tokio::time::timeout(OFFER_TIMEOUT, chunks.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no offer was received in time"))??;
    let Some(SnapshotChunk { kind: Some(Kind::Offer(offer)) }) = first else {
        return Err(Status::invalid_argument("the first chunk must be an offer"));
    };
    let greeting = offer.greeting.as_ref().ok_or_else(|| Status::invalid_argument("the offer has no greeting"))?;
    let from = greeting::check(peers, greeting)?;
    let _call = connection.map(Accepted::call);
    let meta = meta_of(offer.meta.clone())?;
    incoming::follows(peers, from, Term(offer.term)).await?;
    let Place { held, mut displaced } = peers.incoming.take().await?;
    tracing::info!(%from, index = %meta.last.index, bytes = offer.size_bytes, "receiving a snapshot");
    let (data, mut received) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let size = offer.size_bytes;
    let offered = Offered { from, term: Term(offer.term), meta, size_bytes: size, crc32c: offer.crc32c };
    let peers_of_writer = Arc::clone(peers);
    let (answer, written) = oneshot::channel();
    // The snapshot is written by a separate thread, so that the write completes even if the sender disconnects after the
    // last byte, and that name look-ups do not wait for it.
    fatal::spawn("incoming", move || {
        let chunks = std::iter::from_fn(|| received.blocking_recv());
        let kept = incoming_snapshot::keep(&peers_of_writer.snapshots, &peers_of_writer.shared, offered, chunks);
        drop(held);
        // Fails only if the sender has disconnected.
        let _ = answer.send(kept);
    });
    let mut total = 0;
    let mut rate = incoming::LeastRate::expect(offer.rate_bytes_per_second);
    loop {
        let began = Instant::now();
        let next = tokio::select! {
            next = tokio::time::timeout(rate.left(), chunks.message()) => next.map_err(|_| rate.too_slow())??,
            // Fails only after the place was given back.
            _ = displaced.wait_for(|displaced| *displaced) => {
                return Err(Status::aborted("a newer transfer displaced this one"));
            }
        };
        let Some(chunk) = next else { break };
        let bytes = data_of(chunk)?;
        rate.count(began.elapsed(), bytes.len())?;
        total += bytes.len() as u64;
        if total > size {
            return Err(Status::invalid_argument("more bytes were sent than were offered"));
        }
        if data.send(bytes).await.is_err() {
            break;
        }
    }
    drop(data);
    let written = written.await.map_err(|_| Status::internal("the writer ended"))?;
    written.map_err(|reason| Status::data_loss(format!("the snapshot was not kept: {reason}")))?;
    peers.metrics.snapshot_received();
    Ok(Response::new(SnapshotReceived {}))
}

/// The bytes of a chunk after the offer.
fn data_of(chunk: SnapshotChunk) -> Result<Bytes, Status> {
    match chunk.kind {
        Some(Kind::Data(bytes)) if bytes.len() <= RECEIVED_BYTES_MAX => Ok(bytes),
        Some(Kind::Data(bytes)) => {
            Err(Status::invalid_argument(format!("a chunk has {} bytes, more than {RECEIVED_BYTES_MAX}", bytes.len())))
        }
        Some(Kind::Offer(_)) | None => Err(Status::invalid_argument("a second offer")),
    }
}

fn meta_of(bytes: Bytes) -> Result<SnapshotMeta, Status> {
    let mut reader = Reader::new(bytes);
    let meta = reader.snapshot_meta().and_then(|meta| reader.finish().map(|()| meta));
    meta.map_err(|reason| Status::invalid_argument(format!("the offer is malformed: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk waits for the disk together with others.
    #[test]
    fn a_chunk_is_received_up_to_a_size() {
        let data = |bytes| SnapshotChunk { kind: Some(Kind::Data(vec![0; bytes].into())) };
        for bytes in [CHUNK_BYTES, RECEIVED_BYTES_MAX] {
            assert_eq!(data_of(data(bytes)).unwrap().len(), bytes);
        }
        data_of(data(RECEIVED_BYTES_MAX + 1)).unwrap_err();
        data_of(SnapshotChunk { kind: None }).unwrap_err();
    }
}
