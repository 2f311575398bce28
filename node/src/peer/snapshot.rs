//! Snapshots between members: a connection of their own, in chunks, no faster than allowed, verified and durable before the
//! core hears of them. Owns the transfer; whether a snapshot is of use is the core's to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::incoming_snapshot::{self, Offered};
use proto::peer::peer_client::PeerClient;
use proto::peer::{SnapshotChunk, SnapshotOffer, SnapshotReceived, snapshot_chunk::Kind};
use raft::{Index, MemberId, SnapshotMeta, Term};
use storage::codec::{EncodeError, Reader, put_snapshot_meta};
use storage::{SnapshotError, SnapshotReader};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::peer::dial::{self, ConnectError};
use crate::peer::{Peers, greeting};

/// Chunks read ahead of the connection.
const AHEAD: usize = 4;
/// Payload bytes in one message.
const CHUNK_BYTES: usize = 256 << 10;
/// A transfer in which nothing moves for so long is given up, by either side.
const STALL: Duration = Duration::from_secs(30);

/// A token bucket over all snapshots that this member sends: one second's worth may go at once.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_second: u64,
    /// When the bytes given out so far will have been earned.
    earned_at: Mutex<Instant>,
}

impl Rate {
    /// So many bytes per second; 0: no limit.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, earned_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` may go.
    async fn take(&self, bytes: usize) {
        const BURST: Duration = Duration::from_secs(1);
        if self.bytes_per_second == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut earned_at = self.earned_at.lock().await;
        let now = Instant::now();
        *earned_at = (*earned_at).max(now.checked_sub(BURST).unwrap_or(now)) + cost;
        let wait = earned_at.saturating_duration_since(now);
        drop(earned_at);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Tells the core how a transfer ended, whatever ends it: it begins no other one before.
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

/// Sends the newest snapshot, which reaches `at_least`, to a member; the core hears how it ended. A transfer to the same
/// member that is under way is given up.
pub(super) fn begin(peers: &Arc<Peers>, to: MemberId, number: u64, term: Term, at_least: Index) {
    let ending = Ending { peers: Arc::clone(peers), to, number, arrived: Err(()) };
    let task = peers.runtime.spawn(async move {
        let mut ending = ending;
        match send(&ending.peers, to, term, at_least).await {
            Ok(bytes) => {
                tracing::info!(%to, bytes, "sent a snapshot");
                ending.arrived = Ok(());
            }
            Err(reason) => tracing::warn!(%to, %reason, "a snapshot was not sent"),
        }
    });
    if let Some(old) = peers.lock().snapshots.insert(to, task.abort_handle()) {
        old.abort();
    }
}

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// The receiver cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What the snapshot contains has no form on the wire.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread that read from the disk ended early.
    #[error(transparent)]
    Reading(#[from] JoinError),
    /// A step took too long.
    #[error("{what} for {STALL:?}")]
    Stalled {
        /// What did not happen.
        what: &'static str,
    },
    /// The receiver took no more chunks.
    #[error("the receiver ended the transfer")]
    Closed,
    /// The receiver answered with an error.
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Status),
}

/// Returns the snapshot's size in bytes.
async fn send(peers: &Arc<Peers>, to: MemberId, term: Term, at_least: Index) -> Result<u64, SendError> {
    let url = peers.url(to).ok_or(ConnectError::UnknownAddress)?;
    let snapshots = peers.snapshots.clone();
    let opening = tokio::task::spawn_blocking(move || snapshots.open_newest(at_least));
    let reader = timely(opening, "nothing was read").await???;
    let info = reader.info().clone();
    let channel = dial::connect(&url).await?;
    let (chunks, body) = mpsc::channel(AHEAD);
    let mut meta = Vec::new();
    put_snapshot_meta(&mut meta, &info.meta)?;
    let offer = SnapshotOffer {
        greeting: Some(peers.greeting(to)),
        term: term.0,
        meta: meta.into(),
        size_bytes: info.bytes,
        crc32c: info.crc32c,
    };
    let feed = feed(peers, offer, reader, chunks);
    let mut client = PeerClient::new(channel);
    let call = client.snapshot(ReceiverStream::new(body));
    tokio::pin!(call);
    let (fed, answer) = tokio::select! {
        // A refusal: what is not sent yet is not wanted.
        answer = &mut call => (Ok(()), answer),
        fed = feed => (fed, timely(&mut call, "no answer came").await?),
    };
    answer.map_err(SendError::Refused)?;
    fed.map(|()| info.bytes)
}

/// What is done, unless it takes too long.
async fn timely<T>(doing: impl Future<Output = T>, what: &'static str) -> Result<T, SendError> {
    tokio::time::timeout(STALL, doing).await.map_err(|_| SendError::Stalled { what })
}

async fn feed(
    peers: &Peers,
    offer: SnapshotOffer,
    mut reader: SnapshotReader,
    chunks: mpsc::Sender<SnapshotChunk>,
) -> Result<(), SendError> {
    let gone = |_| SendError::Closed;
    chunks.send(SnapshotChunk { kind: Some(Kind::Offer(offer)) }).await.map_err(gone)?;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk();
            (reader, chunk)
        });
        let (back, chunk) = timely(read, "nothing was read").await??;
        reader = back;
        let Some(mut chunk) = chunk? else { return Ok(()) };
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(CHUNK_BYTES));
            peers.rate.take(part.len()).await;
            let sent = chunks.send(SnapshotChunk { kind: Some(Kind::Data(part)) });
            timely(sent, "nothing was taken").await?.map_err(gone)?;
        }
    }
}

/// Receives one snapshot and tells the core.
pub(super) async fn receive(
    peers: &Arc<Peers>,
    mut chunks: Streaming<SnapshotChunk>,
) -> Result<Response<SnapshotReceived>, Status> {
    let Some(SnapshotChunk { kind: Some(Kind::Offer(offer)) }) = next(&mut chunks).await? else {
        return Err(Status::invalid_argument("the first chunk must be an offer"));
    };
    let greeting = offer.greeting.as_ref().ok_or_else(|| Status::invalid_argument("the offer has no greeting"))?;
    let from = greeting::check(peers, greeting)?;
    let meta = meta_of(offer.meta.clone())?;
    tracing::info!(%from, index = %meta.last.index, bytes = offer.size_bytes, "receiving a snapshot");
    let (data, mut received) = mpsc::channel::<Bytes>(AHEAD);
    let size = offer.size_bytes;
    let offered = Offered { from, term: Term(offer.term), meta, size_bytes: size, crc32c: offer.crc32c };
    let keeping = Arc::clone(peers);
    // It goes on though the sender hangs up behind the last byte.
    let writing = tokio::task::spawn_blocking(move || {
        let arriving = std::iter::from_fn(|| received.blocking_recv());
        incoming_snapshot::keep(&keeping.snapshots, &keeping.shared, offered, arriving)
    });
    let mut total = 0;
    while let Some(chunk) = next(&mut chunks).await? {
        let Some(Kind::Data(bytes)) = chunk.kind else {
            return Err(Status::invalid_argument("a second offer"));
        };
        total += bytes.len() as u64;
        if total > size {
            return Err(Status::invalid_argument("more bytes came than were offered"));
        }
        if data.send(bytes).await.is_err() {
            break;
        }
    }
    drop(data);
    let written = writing.await.map_err(|reason| Status::internal(reason.to_string()))?;
    written.map_err(|reason| Status::data_loss(format!("the snapshot was not kept: {reason}")))?;
    peers.metrics.snapshot_received();
    Ok(Response::new(SnapshotReceived {}))
}

async fn next(chunks: &mut Streaming<SnapshotChunk>) -> Result<Option<SnapshotChunk>, Status> {
    tokio::time::timeout(STALL, chunks.message())
        .await
        .map_err(|_| Status::deadline_exceeded("nothing arrived for too long"))?
}

fn meta_of(bytes: Bytes) -> Result<SnapshotMeta, Status> {
    let mut reader = Reader::new(bytes);
    let meta = reader.snapshot_meta().and_then(|meta| reader.finish().map(|()| meta));
    meta.map_err(|reason| Status::invalid_argument(format!("the offer is malformed: {reason}")))
}
