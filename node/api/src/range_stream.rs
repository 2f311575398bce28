//! etcd's `KV.RangeStream`: sends a large range in chunks, all at one revision. Owns the size of chunks. Does not own
//! reading (`mvcc`).
//!
//! Each chunk is read when the client can receive it, therefore a slow client needs no buffer. No view and no version is
//! held between chunks. A chunk that has to visit many keys, because others were changed meanwhile, is read as a heavy
//! read. If the revision is compacted meanwhile, the stream ends with an error, as in etcd.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use engine::published::Published;
use mvcc::{KeyValue, Meter, Range, ReadFailure, SortOrder, SortTarget};
use proto::etcdserverpb as pb;
use tonic::Status;

use crate::admission::{Answerer, Call, CallContext};
use crate::answer::{Chunk, Streamed, encoded_bytes, framed};
use crate::framed::Framed;
use crate::grpc::Messages;
use crate::header::Header;
use crate::heavy;
use crate::parse::{self, Consistency};
use crate::status::Refusal;

/// Number of keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;
/// Maximum number of keys in a chunk, so that reading it does not occupy the thread of its connection for long.
const CHUNK_KEYS_MAX: i64 = 1_000;
/// Factor of the desired size of a chunk at which it ends, however many keys it was to have.
const CHUNK_BYTES_FACTOR: u64 = 8;

pub(super) async fn range_stream(context: &CallContext, call: &Call) -> Result<Messages, Status> {
    let request = call.decode::<pb::RangeRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let consistency = Consistency::of(request.serializable);
    let range = parse::range(request);
    check(&range)?;
    let published = context.read(consistency).await?;
    context.observer.range_read();

    let header = admitted.header().at(published.view.revision());
    let cursor = Cursor::new(range, header, context.settings.limits.request_bytes_max);
    let stream = Stream { context: context.clone(), first: Some(published), cursor };
    Ok(Box::pin(futures::stream::unfold(stream, Stream::next)))
}

/// A stream under way.
struct Stream {
    context: CallContext,
    /// The first chunk is read from the confirmed view. Later chunks may use newer views, because the revision is fixed.
    first: Option<Arc<Published>>,
    cursor: Cursor,
}

impl Stream {
    async fn next(mut self) -> Option<(Result<Framed, Status>, Self)> {
        if self.cursor.done {
            return None;
        }
        let published = self.first.take().unwrap_or_else(|| self.context.handle.published());
        let reader = self.cursor.clone();
        // The estimate of the cost would count all keys of an older revision. Most chunks visit few of them.
        let page = heavy::run(&self.context, true, move |meter| reader.read(&published.view, meter)).await;
        let chunk = page.and_then(|page| self.cursor.advance(&page));
        self.cursor.done |= chunk.is_err();
        Some((chunk, self))
    }
}

fn check(range: &Range) -> Result<(), Refusal> {
    range.validate()?;
    let in_key_order = range.sort_order == SortOrder::None
        || (range.sort_order == SortOrder::Ascend && range.sort_target == SortTarget::Key);
    if !in_key_order {
        return Err(Refusal::StreamSort);
    }
    let bounds = [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision];
    if bounds.iter().any(|&bound| bound != 0) {
        return Err(Refusal::StreamFilter);
    }
    Ok(())
}

/// What was read for one chunk.
#[derive(Debug)]
struct Page {
    kvs: Vec<KeyValue>,
    /// Whether keys follow.
    more: bool,
    /// Number of keys after those of the chunk, if that is known: of the last chunk.
    after: Option<u64>,
}

/// Position of a stream.
#[derive(Clone, Debug)]
struct Cursor {
    /// Range that is still to be read. Its `limit` is the number of keys in the next chunk.
    rest: Range,
    /// Number of keys that the request's limit still allows; `None` if the request has no limit.
    left: Option<i64>,
    /// Number of keys that were sent.
    sent: u64,
    header: Header,
    /// Desired size of a chunk, in bytes.
    chunk_bytes_target: usize,
    done: bool,
}

impl Cursor {
    /// Creates a cursor. If the request names no revision, the cursor reads at the revision of the header.
    fn new(mut range: Range, header: Header, chunk_bytes_target: usize) -> Cursor {
        if range.revision <= 0 {
            range.revision = header.revision;
        }
        let left = (range.limit > 0).then_some(range.limit);
        range.limit = FIRST_CHUNK_KEYS;
        Cursor { rest: range, left, sent: 0, header, chunk_bytes_target, done: false }
    }

    /// Reads the next chunk. The position does not change.
    fn read(&self, view: &mvcc::View, meter: &mut Meter<'_>) -> Result<Page, ReadFailure> {
        if self.rest.count_only {
            let result = view.range_metered(&self.rest, meter)?;
            return Ok(Page { kvs: Vec::new(), more: false, after: Some(result.count) });
        }
        let limit = self.left.map_or(self.rest.limit, |left| left.min(self.rest.limit));
        let range = Range { limit, ..self.rest.clone() };
        let result = view.page(&range, self.chunk_bytes_target as u64 * CHUNK_BYTES_FACTOR, meter)?;
        let after = match result.kvs.last() {
            _ if !result.more => Some(0),
            // The answer says how many keys there are, even if the limit of the request cuts them off.
            Some(last) if self.left == Some(result.kvs.len() as i64) => {
                let rest = Range { key: after(last), count_only: true, ..range };
                Some(view.range_metered(&rest, meter)?.count)
            }
            _ => None,
        };
        Ok(Page { kvs: result.kvs, more: result.more, after })
    }

    /// Moves on, and encodes the chunk.
    fn advance(&mut self, page: &Page) -> Result<Framed, Status> {
        let keys = page.kvs.len() as i64;
        self.sent += keys as u64;
        self.left = self.left.map(|left| left - keys);
        let mut chunk = Chunk { header: None, kvs: &page.kvs, more: false, count: 0 };
        if let Some(after) = page.after {
            self.done = true;
            chunk = Chunk { header: Some(self.header), more: page.more, count: self.sent + after, ..chunk };
        } else {
            self.go_on_after(&page.kvs, encoded_bytes(&chunk));
        }
        framed(&Streamed(chunk))
    }

    /// Continues after the last key. The next chunk has twice as many keys if this chunk was smaller than half the
    /// target size, and half as many if this chunk was larger than twice the target size.
    fn go_on_after(&mut self, kvs: &[KeyValue], bytes: usize) {
        if let Some(last) = kvs.last() {
            self.rest.key = after(last);
        }
        if bytes < self.chunk_bytes_target / 2 {
            self.rest.limit = self.rest.limit.saturating_mul(2).min(CHUNK_KEYS_MAX);
        } else if bytes > self.chunk_bytes_target * 2 {
            self.rest.limit = (self.rest.limit / 2).max(1);
        }
    }
}

/// The first possible key after the one of a version.
fn after(version: &KeyValue) -> Bytes {
    let mut next = BytesMut::with_capacity(version.key().len() + 1);
    next.put_slice(version.key());
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use mvcc::{Command, CommandError, Compact, Put, Store};
    use prost::Message;

    use super::*;

    const HEADER: Header = Header { cluster_id: 1, member_id: 2, revision: 101, raft_term: 4 };

    fn store(keys: usize, value_bytes: usize) -> Store {
        let mut store = Store::new();
        for number in 0..keys {
            let put =
                Put { key: format!("k{number:04}").into(), value: vec![b'v'; value_bytes].into(), ..Put::default() };
            store.apply(1, &Command::Put(put)).unwrap();
        }
        store
    }

    fn all() -> Range {
        Range { key: "k".into(), range_end: "l".into(), ..Range::default() }
    }

    fn decoded(chunk: Framed) -> pb::RangeResponse {
        pb::RangeStreamResponse::decode(&chunk.whole()[5..]).unwrap().range_response.unwrap()
    }

    fn next(cursor: &mut Cursor, store: &Store) -> Result<pb::RangeResponse, ReadFailure> {
        let page = cursor.read(&store.view(), &mut Meter::unlimited())?;
        Ok(decoded(cursor.advance(&page).unwrap()))
    }

    fn streamed(store: &Store, range: Range, target: usize) -> Vec<pb::RangeResponse> {
        let mut cursor = Cursor::new(range, HEADER.at(store.view().revision()), target);
        std::iter::from_fn(|| (!cursor.done).then(|| next(&mut cursor, store).unwrap())).collect()
    }

    /// etcd API `RangeStreamResponse`: the chunks contain disjoint keys in order, and only the last chunk has a
    /// header, `more` and `count`. All chunks together equal the plain range.
    #[test]
    fn chunks_together_equal_the_range() {
        let store = store(100, 10);
        let chunks = streamed(&store, all(), 1 << 20);
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.kvs.len()).collect();
        assert_eq!(sizes, [10, 20, 40, 30]);
        for chunk in &chunks[..3] {
            assert_eq!((chunk.header, chunk.more, chunk.count), (None, false, 0));
        }
        let last = chunks.last().unwrap();
        assert_eq!((last.header, last.more, last.count), (Some(HEADER.into()), false, 100));
        let keys: Vec<Bytes> = chunks.iter().flat_map(|chunk| chunk.kvs.iter().map(|kv| kv.key.clone())).collect();
        let expected: Vec<String> = (0..100).map(|number| format!("k{number:04}")).collect();
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_limit_bounds_the_keys_but_not_the_count() {
        let store = store(100, 10);
        let chunks = streamed(&store, Range { limit: 25, ..all() }, 1 << 20);
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.kvs.len()).collect();
        assert_eq!(sizes, [10, 15]);
        let last = chunks.last().unwrap();
        assert_eq!((last.more, last.count), (true, 100));
    }

    #[test]
    fn chunks_shrink_and_grow_towards_their_target() {
        let store = store(40, 1000);
        let sizes =
            |target| -> Vec<usize> { streamed(&store, all(), target).iter().map(|chunk| chunk.kvs.len()).collect() };
        assert_eq!(sizes(2_000), [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(sizes(10_000), [10, 10, 10, 10]);
    }

    /// Keys that are larger than those before would otherwise make a chunk of any size.
    #[test]
    fn a_chunk_ends_at_a_thousand_keys_and_far_above_its_target() {
        let mut large = store(2_000, 10);
        for number in 1_500..2_000 {
            let put = Put { key: format!("k{number}").into(), value: vec![b'v'; 10_000].into(), ..Put::default() };
            large.apply(1, &Command::Put(put)).unwrap();
        }
        let chunks = streamed(&large, all(), 100_000);
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.kvs.len()).collect();
        assert_eq!(sizes[..7], [10, 20, 40, 80, 160, 320, 640], "each has twice as many");
        assert!(sizes.iter().all(|keys| *keys <= 1_000));
        assert!(chunks.iter().all(|chunk| chunk.encoded_len() < 820_000));
        assert_eq!((sizes.iter().sum::<usize>(), chunks.last().unwrap().count), (2_000, 2_000));
    }

    /// A chunk at an older revision does not count all keys that were changed since.
    #[test]
    fn a_chunk_visits_its_own_keys() {
        let mut store = store(5_000, 10);
        let mut cursor = Cursor::new(all(), HEADER.at(store.view().revision()), 1 << 20);
        for number in 0..5_000 {
            let put = Put { key: format!("k{number:04}").into(), ..Put::default() };
            store.apply(1, &Command::Put(put)).unwrap();
        }
        let limits = mvcc::ReadLimits { visits: CHUNK_KEYS_MAX as u64 + 1, ..mvcc::ReadLimits::NONE };
        let mut chunks = 0;
        while !cursor.done {
            let page = cursor.read(&store.view(), &mut Meter::new(limits, &|| true)).expect("it visits few keys");
            assert!(decoded(cursor.advance(&page).unwrap()).kvs.iter().all(|kv| kv.value.len() == 10));
            chunks += 1;
        }
        assert_eq!((cursor.sent, chunks), (5_000, 11));
    }

    #[test]
    fn an_empty_range_and_a_count_are_one_chunk() {
        let store = store(3, 1);
        let none = streamed(&store, Range { key: "x".into(), ..Range::default() }, 1000);
        let header = Some(Header { revision: 4, ..HEADER }.into());
        assert_eq!(none, [pb::RangeResponse { header, ..pb::RangeResponse::default() }]);
        let count = streamed(&store, Range { count_only: true, limit: 1, ..all() }, 1000);
        assert_eq!(count, [pb::RangeResponse { header, count: 3, ..pb::RangeResponse::default() }]);
    }

    #[test]
    fn a_stream_stays_at_its_revision_and_ends_when_that_is_compacted() {
        let mut store = store(100, 10);
        let mut cursor = Cursor::new(all(), HEADER, 1 << 20);
        next(&mut cursor, &store).unwrap();
        let put = Put { key: "k0015".into(), value: "new".into(), ..Put::default() };
        store.apply(1, &Command::Put(put)).unwrap();
        let second = next(&mut cursor, &store).unwrap();
        assert_eq!(second.kvs[5].value, "vvvvvvvvvv");

        store.apply(1, &Command::Compact(Compact { revision: 102, physical: true })).unwrap();
        assert_eq!(next(&mut cursor, &store), Err(ReadFailure::Refused(CommandError::Compacted)));
    }

    #[test]
    fn other_orders_and_filters_are_refused() {
        let by_value = Range { sort_target: SortTarget::Value, sort_order: SortOrder::Ascend, ..all() };
        assert_eq!(check(&by_value), Err(Refusal::StreamSort));
        let descending = Range { sort_order: SortOrder::Descend, ..all() };
        assert_eq!(check(&descending), Err(Refusal::StreamSort));
        assert_eq!(check(&Range { max_mod_revision: 1, ..all() }), Err(Refusal::StreamFilter));
        assert_eq!(check(&Range { sort_order: SortOrder::Ascend, ..all() }), Ok(()));
        assert_eq!(check(&Range { sort_target: SortTarget::Value, ..all() }), Ok(()));
        assert_eq!(check(&Range::default()), Err(Refusal::EmptyKey));
    }
}
