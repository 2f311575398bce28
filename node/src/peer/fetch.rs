//! The call `Fetch`, with which a member that repairs its log reads the log of the leader: the answer, and the question. Owns the order
//! of the chunks, and the checks that they belong together. Does not own what becomes of the entries (`member/repair.rs`), or why
//! they must be those of a leader (`node/docs/repair.md`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::log_reads::{LeaderLog, LogReadError};
use prost::Message;
use proto::peer::fetch_chunk::Kind;
use proto::peer::peer_client::PeerClient;
use proto::peer::{FetchChunk, FetchHead, FetchReferral, FetchRequest, FetchedEntries, Greeting};
use raft::{Entry, EntryId, Index, MemberId, Term};
use storage::ReadFault;
use storage::entries::BYTES_BESIDE_PAYLOAD;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use crate::peer::compression::FRAME_BYTES_MAX;
use crate::peer::{Accepted, Peers, dial, greeting};

/// Maximum payload bytes of a chunk, unless a single entry is longer. At a low `--snapshot-rate`, a chunk is what may be sent in a
/// second, but not less than the minimum.
const CHUNK_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Interval in which the caller gets an empty chunk while the rate holds back the next one. It is a fraction of [`CHUNK_WITHIN`].
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Number of chunks that are read in advance.
const CHUNKS_AHEAD: usize = 1;
/// Time within which the caller must take a chunk. The one place for this call is not held for a caller that does not read.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Time within which an entry of the leader's log must become durable on the leader.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);
/// Interval in which it is looked for.
const DURABLE_INTERVAL: Duration = Duration::from_millis(20);
/// Time within which the leader must send the next chunk.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// The answer to the call.
pub(crate) type Chunks = ReceiverStream<Result<FetchChunk, Status>>;

/// Answers a call.
///
/// # Errors
/// Returns why the caller gets nothing from this member.
pub(super) async fn serve(
    peers: &Arc<Peers>,
    request: FetchRequest,
    connection: Option<&Accepted>,
) -> Result<Response<Chunks>, Status> {
    let from = greeting::check(peers, &request.greeting.unwrap_or_default())?;
    if !peers.configuration.load().contains(from) {
        return Err(Status::permission_denied("the configuration does not name the caller"));
    }
    let call = connection.map(Accepted::call);
    let place = Arc::clone(&peers.fetches).try_acquire_owned();
    let place = place.map_err(|_| Status::unavailable("another member reads the log"))?;
    let after = EntryId { index: Index(request.after_index), term: Term(request.after_term) };
    let log = peers.shared.leader_log(after.index).await.map_err(|reason| refusal(peers, &reason))?;
    if log.term < Term(request.term) {
        return Err(Status::failed_precondition("this member leads an older term"));
    }
    if after.index > log.last.index {
        return Err(Status::aborted("the log ends before"));
    }
    tracing::info!(%from, after = %after.index, through = %log.last.index, "a member repairs its log from this one");
    let (chunks, body) = mpsc::channel(CHUNKS_AHEAD);
    let peers = Arc::clone(peers);
    let runtime = peers.runtime.clone();
    runtime.spawn(async move {
        let _call = call;
        if let Err(status) = send(&peers, log, after, &chunks, place).await {
            // Fails only if the caller has left.
            let _ = tokio::time::timeout(TAKEN_WITHIN, chunks.send(Err(status))).await;
        }
    });
    Ok(Response::new(ReceiverStream::new(body)))
}

/// The answer of a member that does not lead. It names the leader, so that the caller asks there next.
fn refusal(peers: &Peers, reason: &LogReadError) -> Status {
    let text = reason.to_string();
    let LogReadError::NotLeader { leader: Some(leader) } = reason else { return Status::failed_precondition(text) };
    let referral = FetchReferral { leader: leader.0, peer_url: peers.url(*leader).unwrap_or_default() };
    Status::with_details(Code::FailedPrecondition, text, referral.encode_to_vec().into())
}

/// Sends the head, then all entries after `after`.
async fn send(
    peers: &Peers,
    log: LeaderLog,
    mut after: EntryId,
    chunks: &mpsc::Sender<Result<FetchChunk, Status>>,
    _place: OwnedSemaphorePermit,
) -> Result<(), Status> {
    let LeaderLog { term, last, payload_bytes } = log;
    let bytes = payload_bytes + BYTES_BESIDE_PAYLOAD * (last.index.0 - after.index.0);
    let head = FetchHead { term: term.0, last_index: last.index.0, last_term: last.term.0, bytes };
    put(chunks, Kind::Head(head)).await?;
    let bytes_max = chunk_bytes(peers.rate.bytes_per_second());
    let (mut since, mut is_checked) = (Instant::now(), false);
    loop {
        let (previous, entries) = if is_checked {
            (after.term, read_on(peers, term, after.index, last.index, bytes_max).await?)
        } else {
            read(peers, after, last.index, bytes_max).await?
        };
        is_checked = true;
        let is_last = after.index == last.index;
        if entries.is_empty() && !is_last {
            if since.elapsed() > DURABLE_WITHIN {
                return Err(Status::unavailable("the log is not durable on this member"));
            }
            tokio::time::sleep(DURABLE_INTERVAL).await;
            continue;
        }
        after = entries.last().map_or(after, |entry| entry.id);
        let (bytes, crc32c) =
            storage::entries::encode(&entries).map_err(|reason| Status::internal(reason.to_string()))?;
        wait(peers.rate.take(bytes.len()), SIGN_OF_LIFE, chunks, previous).await?;
        put(chunks, Kind::Entries(FetchedEntries { previous_term: previous.0, entries: bytes, crc32c })).await?;
        since = Instant::now();
        if after.index == last.index {
            return Ok(());
        }
    }
}

/// Payload bytes of a chunk at a rate in bytes per second; 0: no limit.
fn chunk_bytes(rate: u64) -> usize {
    match usize::try_from(rate) {
        Ok(0) | Err(_) => CHUNK_BYTES_MAX,
        Ok(rate) => rate.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
    }
}

/// Waits until the rate lets a chunk pass. The rate may be too low for a long entry, and snapshots share it, so the caller cannot know how
/// long this takes. Meanwhile it gets empty chunks after the entry of the term `previous`.
async fn wait(
    passes: impl Future<Output = ()>,
    interval: Duration,
    chunks: &mpsc::Sender<Result<FetchChunk, Status>>,
    previous: Term,
) -> Result<(), Status> {
    tokio::pin!(passes);
    while tokio::time::timeout(interval, &mut passes).await.is_err() {
        let empty = FetchedEntries { previous_term: previous.0, ..FetchedEntries::default() };
        put(chunks, Kind::Entries(empty)).await?;
    }
    Ok(())
}

async fn put(chunks: &mpsc::Sender<Result<FetchChunk, Status>>, kind: Kind) -> Result<(), Status> {
    let sent = tokio::time::timeout(TAKEN_WITHIN, chunks.send(Ok(FetchChunk { kind: Some(kind) }))).await;
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::cancelled("the caller has left")),
        Err(_) => Err(Status::deadline_exceeded("the caller does not read")),
    }
}

/// Reads durable entries after `after` in one step, with the term of the entry before them; 0 if that entry was purged. Returns no entry
/// if none is durable yet.
///
/// # Errors
/// Returns ABORTED if the log holds another entry at the index of `after`, and NOT_FOUND if the next one was purged.
async fn read(peers: &Peers, after: EntryId, through: Index, bytes_max: usize) -> Result<(Term, Vec<Entry>), Status> {
    let next = after.index.next();
    let failed = |reason: LogReadError| match reason {
        LogReadError::Unreadable(ReadFault::Gone) => Status::not_found("the entry was purged"),
        other => Status::unavailable(other.to_string()),
    };
    if after.index == Index(0) {
        return Ok((Term(0), peers.shared.read_log(next, through, bytes_max).await.map_err(failed)?));
    }
    let mut read = peers.shared.read_log(after.index, through, bytes_max).await;
    if matches!(&read, Ok(entries) if entries.len() == 1) && after.index < through {
        // The next entry is longer than a chunk, or not durable.
        read = peers.shared.read_log(after.index, next, usize::MAX).await;
    }
    match read {
        Err(LogReadError::Unreadable(ReadFault::Gone)) => {
            Ok((Term(0), peers.shared.read_log(next, through, bytes_max).await.map_err(failed)?))
        }
        Err(reason) => Err(failed(reason)),
        Ok(mut entries) => match entries.first().map(|entry| entry.id) {
            None => Ok((after.term, entries)),
            Some(id) if id == after => {
                entries.remove(0);
                Ok((after.term, entries))
            }
            Some(_) => Err(Status::aborted("another entry stands at this index")),
        },
    }
}

/// Reads on after an entry that was read before. While this member leads the same term, it only appends to its log, so the entry
/// is still there and need not be read again.
///
/// # Errors
/// Returns UNAVAILABLE if this member does not lead that term any more, and NOT_FOUND if the next entry was purged.
async fn read_on(
    peers: &Peers,
    term: Term,
    after: Index,
    through: Index,
    bytes_max: usize,
) -> Result<Vec<Entry>, Status> {
    let read = peers.shared.read_log(after.next(), through, bytes_max).await;
    let entries = read.map_err(|reason| match reason {
        LogReadError::Unreadable(ReadFault::Gone) => Status::not_found("the entry was purged"),
        other => Status::unavailable(other.to_string()),
    })?;
    let log = peers.shared.leader_log(after).await.map_err(|reason| Status::unavailable(reason.to_string()))?;
    if log.term == term { Ok(entries) } else { Err(Status::unavailable("this member leads another term now")) }
}

/// Why a member did not bring the log to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The member cannot help now, or what it sent does not fit together.
    #[error("{0}")]
    NotNow(String),
    /// The member does not lead, and says who does.
    #[error("{leader} leads")]
    Elsewhere {
        /// The leader.
        leader: MemberId,
        /// URL of its peer port; empty if the member does not know it.
        url: String,
    },
    /// The member's configuration does not name the caller.
    #[error("its configuration does not name this member")]
    NotMember,
    /// The leader has another entry where this member's log ends.
    #[error("the leader has another entry")]
    Differs,
    /// The leader does not have the next entry any more, or the one before it.
    #[error("the leader has purged the entries")]
    Purged,
}

impl From<Status> for FetchError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Aborted => Self::Differs,
            Code::NotFound => Self::Purged,
            Code::PermissionDenied => Self::NotMember,
            Code::FailedPrecondition => match FetchReferral::decode(status.details()) {
                Ok(FetchReferral { leader, peer_url }) if leader != 0 => {
                    Self::Elsewhere { leader: MemberId(leader), url: peer_url }
                }
                _ => Self::NotNow(status.message().to_owned()),
            },
            code => Self::NotNow(format!("{code}: {}", status.message())),
        }
    }
}

/// The log of a leader, as it arrives.
#[derive(Debug)]
pub(crate) struct Fetching {
    chunks: Streaming<FetchChunk>,
    /// Term that the leader leads.
    pub(crate) term: Term,
    /// Last entry of the leader's log.
    pub(crate) last: EntryId,
    /// Number of bytes of the entries that follow, as the leader estimates it; 0: a former member does not say.
    pub(crate) bytes: u64,
    after: EntryId,
    /// The entry that the repair began with is committed, so the leader has it even if it cannot say so.
    is_committed: bool,
}

impl Fetching {
    /// Asks a member for the log after `after`. `is_committed`: that entry is committed.
    ///
    /// # Errors
    /// Returns why this member does not help.
    pub(crate) async fn begin(
        url: &str,
        greeting: Greeting,
        term: Term,
        after: EntryId,
        is_committed: bool,
    ) -> Result<Self, FetchError> {
        let from = MemberId(greeting.to);
        let opening = async {
            let channel = dial::connect(url).await.map_err(|reason| FetchError::NotNow(reason.to_string()))?;
            let mut client = PeerClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
            let (after_index, after_term) = (after.index.0, after.term.0);
            let request = FetchRequest { greeting: Some(greeting), term: term.0, after_index, after_term };
            let mut chunks = client.fetch(request).await?.into_inner();
            let head = chunks.message().await?;
            let Some(FetchChunk { kind: Some(Kind::Head(head)) }) = head else {
                return Err(FetchError::NotNow("the answer has no head".to_owned()));
            };
            let last = EntryId { term: Term(head.last_term), index: Index(head.last_index) };
            let leads = Term(head.term);
            if leads < term || last.term > leads || last.index < after.index {
                let claim = format!("{from} claims an impossible log: it leads {leads}, and its last entry is {last}");
                return Err(FetchError::NotNow(claim));
            }
            Ok(Self { chunks, term: leads, last, bytes: head.bytes, after, is_committed })
        };
        let within = tokio::time::timeout(CHUNK_WITHIN, opening).await;
        within.unwrap_or_else(|_| Err(FetchError::NotNow(format!("no answer within {CHUNK_WITHIN:?}"))))
    }

    /// Returns whether the entry at which the leader's log ended has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.after == self.last
    }

    /// Returns the next entries, and the number of their bytes. They follow the entries before.
    ///
    /// # Errors
    /// Returns why there are none.
    pub(crate) async fn next(&mut self) -> Result<(Vec<Entry>, usize), FetchError> {
        let not_now = |what: &str| FetchError::NotNow(what.to_owned());
        let chunk = tokio::time::timeout(CHUNK_WITHIN, self.chunks.message()).await;
        let chunk = chunk.map_err(|_| not_now("the leader stopped sending"))??;
        let Some(FetchChunk { kind: Some(Kind::Entries(FetchedEntries { previous_term, entries, crc32c })) }) = chunk
        else {
            return Err(not_now("the leader ended before the end of its log"));
        };
        let bytes = entries.len();
        if previous_term != self.after.term.0 && !(previous_term == 0 && self.is_committed) {
            // A term of 0 says that the entry was purged. Whether it was the same one is then not known.
            return Err(if previous_term == 0 { FetchError::Purged } else { FetchError::Differs });
        }
        let entries = storage::entries::decode(entries, crc32c)
            .map_err(|reason| FetchError::NotNow(format!("a chunk is malformed: {reason}")))?;
        let mut last = self.after;
        for Entry { id, .. } in &entries {
            if id.index != last.index.next() || id.term < last.term {
                return Err(FetchError::NotNow(format!("entry {id} does not follow {last}")));
            }
            last = *id;
        }
        if last.index > self.last.index || (last.index == self.last.index && last != self.last) {
            return Err(not_now("the leader's log has changed"));
        }
        // Only the entry that the repair began with is known to be committed.
        self.is_committed &= entries.is_empty();
        self.after = last;
        Ok((entries, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_passes_the_rate_long_before_the_caller_gives_up() {
        assert_eq!((chunk_bytes(0), chunk_bytes(128 << 20)), (CHUNK_BYTES_MAX, CHUNK_BYTES_MAX));
        for rate in [1 << 10, 4 << 10, 20_000, 35_000, 1 << 20, 1 << 30] {
            let seconds = chunk_bytes(rate) as u64 / rate;
            assert!(seconds <= CHUNK_WITHIN.as_secs() / 4, "{seconds} s at {rate} bytes per second");
        }
        assert_eq!(chunk_bytes(1), CHUNK_BYTES_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_gets_empty_chunks_while_the_rate_holds_back_a_long_entry() {
        let (chunks, mut body) = mpsc::channel(CHUNKS_AHEAD);
        let passes = tokio::time::sleep(SIGN_OF_LIFE * 5 / 2);
        let waiting = tokio::spawn(async move { wait(passes, SIGN_OF_LIFE, &chunks, Term(4)).await });
        let mut arrived = 0;
        while let Some(chunk) = tokio::time::timeout(CHUNK_WITHIN, body.recv()).await.expect("the caller gives up") {
            let Some(Kind::Entries(chunk)) = chunk.expect("a chunk").kind else { panic!("not a chunk") };
            assert_eq!((chunk.previous_term, chunk.entries.len()), (4, 0));
            assert_eq!(storage::entries::decode(chunk.entries, chunk.crc32c), Ok(Vec::new()));
            arrived += 1;
        }
        assert_eq!(arrived, 2);
        assert!(waiting.await.expect("no panic").is_ok());
    }
}
