//! etcd's `KV.RangeStream`: sends a large range in chunks, all at one revision. Owns the size of chunks. Does not own
//! reading (`mvcc`).
//!
//! Each chunk is read when the client can receive it, therefore a slow client needs no buffer. No view is held between
//! chunks. If the revision is compacted meanwhile, the stream ends with an error, as in etcd.

use bytes::{BufMut, BytesMut};
use mvcc::{KeyValue, Range, SortOrder, SortTarget};
use proto::etcdserverpb as pb;
use tonic::Status;

use crate::admission::{Answerer, Call, CallContext};
use crate::answer::{Chunk, Streamed, encoded_bytes, framed};
use crate::framed::Framed;
use crate::grpc::Messages;
use crate::header::Header;
use crate::parse::{self, Consistency};
use crate::status::Refusal;

/// Number of keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;

pub(super) async fn range_stream(context: &CallContext, call: &Call) -> Result<Messages, Status> {
    let request = call.decode::<pb::RangeRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let consistency = Consistency::of(request.serializable);
    let range = parse::range(request);
    check(&range)?;
    let published = context.read(consistency).await?;
    context.observer.range_read();

    let mut cursor =
        Cursor::new(range, admitted.header().at(published.view.revision()), context.settings.limits.request_bytes_max);
    // The first chunk is read from the confirmed view. Later chunks may use newer views, because the revision is
    // fixed.
    let first = cursor.next(&published.view);
    let context = context.clone();
    let rest = std::iter::from_fn(move || cursor.next(&context.handle.published().view));
    Ok(Box::pin(futures::stream::iter(first.into_iter().chain(rest))))
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

/// Position of a stream.
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

    fn next(&mut self, view: &mvcc::View) -> Option<Result<Framed, Status>> {
        if self.done {
            return None;
        }
        let chunk = if self.rest.count_only { self.count(view) } else { self.keys(view) };
        self.done |= chunk.is_err();
        Some(chunk)
    }

    fn count(&mut self, view: &mvcc::View) -> Result<Framed, Status> {
        let result = view.range(&self.rest).map_err(Refusal::from)?;
        self.done = true;
        framed(&Streamed(Chunk { header: Some(self.header), kvs: &[], more: false, count: result.count }))
    }

    fn keys(&mut self, view: &mvcc::View) -> Result<Framed, Status> {
        if let Some(left) = self.left {
            self.rest.limit = self.rest.limit.min(left);
        }
        let result = view.range(&self.rest).map_err(Refusal::from)?;
        let keys = result.kvs.len() as i64;
        self.sent += keys as u64;
        self.left = self.left.map(|left| left - keys);
        self.done = !result.more || self.left == Some(0);
        let mut chunk = Chunk { header: None, kvs: &result.kvs, more: false, count: 0 };
        if self.done {
            // `count` counts from the beginning of this chunk, therefore it includes the keys of this chunk.
            let after = result.count - keys as u64;
            chunk = Chunk { header: Some(self.header), more: result.more, count: self.sent + after, ..chunk };
        } else {
            self.advance(&result.kvs, encoded_bytes(&chunk));
        }
        framed(&Streamed(chunk))
    }

    /// Continues after the last key. The next chunk has twice as many keys if this chunk was smaller than half the
    /// target size, and half as many if this chunk was larger than twice the target size.
    fn advance(&mut self, kvs: &[KeyValue], bytes: usize) {
        if let Some(last) = kvs.last() {
            let mut next = BytesMut::with_capacity(last.key().len() + 1);
            next.put_slice(last.key());
            next.put_u8(0);
            self.rest.key = next.freeze();
        }
        if bytes < self.chunk_bytes_target / 2 {
            self.rest.limit = self.rest.limit.saturating_mul(2);
        } else if bytes > self.chunk_bytes_target * 2 {
            self.rest.limit = (self.rest.limit / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mvcc::{Command, Compact, Put, Store};
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

    fn streamed(store: &Store, range: Range, target: usize) -> Vec<pb::RangeResponse> {
        let mut cursor = Cursor::new(range, HEADER.at(store.view().revision()), target);
        std::iter::from_fn(|| cursor.next(&store.view())).map(|chunk| decoded(chunk.unwrap())).collect()
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
        decoded(cursor.next(&store.view()).unwrap().unwrap());
        let put = Put { key: "k0015".into(), value: "new".into(), ..Put::default() };
        store.apply(1, &Command::Put(put)).unwrap();
        let second = decoded(cursor.next(&store.view()).unwrap().unwrap());
        assert_eq!(second.kvs[5].value, "vvvvvvvvvv");

        store.apply(1, &Command::Compact(Compact { revision: 102, physical: true })).unwrap();
        let status = cursor.next(&store.view()).unwrap().err().unwrap();
        assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
        assert!(cursor.next(&store.view()).is_none());
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
