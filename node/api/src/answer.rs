//! Owns the encoding of answers that contain stored keys. The encoding copies directly from the store's own encoding
//! and builds no messages in between. Does not own framing (`grpc.rs`).
//!
//! A [`Message`] describes its fields to a [`Sink`]. The description runs twice: the first run computes sizes, and the
//! second run writes the fields. In the encoding, the size of a nested message precedes the message. The first run
//! therefore keeps the sizes of nested messages in a queue for the second run.

use bytes::{BufMut, BytesMut};
use mvcc::{DeleteRangeResult, KeyValue, OpResult, PutResult, RangeResult, TxnResult};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;

use crate::framed::{Framed, Pinned, Version};
use crate::grpc::{self, FRAME_HEADER_BYTES, frame};
use crate::header::Header;

/// Maximum size of an answer that is encoded at once, in bytes. A larger one refers to the stored versions.
const WHOLE_BYTES_MAX: usize = 256 << 10;

/// Encodes and frames an answer.
///
/// # Errors
/// Returns an error if the answer is larger than a frame may be. Nothing was encoded.
pub(super) fn framed(message: &impl Message) -> Result<Framed, Status> {
    let mut measure = Measure::default();
    message.describe(&mut measure);
    let sizes = measure.sizes.into_iter();
    if measure.bytes <= WHOLE_BYTES_MAX {
        let write = |out: &mut BytesMut| message.describe(&mut Write { out, sizes, versions: None });
        return frame(measure.bytes, write).map(Framed::Whole);
    }
    let header = grpc::header(measure.bytes)?;
    let mut literal = BytesMut::with_capacity(FRAME_HEADER_BYTES + measure.bytes - measure.version_bytes);
    literal.put_slice(&header);
    let mut write = Write { out: &mut literal, sizes, versions: Some(Vec::with_capacity(measure.versions)) };
    message.describe(&mut write);
    let versions = write.versions.unwrap_or_default();
    let pinned = Pinned::new(literal.freeze(), versions);
    debug_assert_eq!(pinned.remaining(), FRAME_HEADER_BYTES + measure.bytes, "the answer was measured");
    Ok(Framed::Pinned(pinned))
}

/// Size of an encoded answer in bytes, without its frame.
#[must_use]
pub(super) fn encoded_bytes(message: &impl Message) -> usize {
    let mut measure = Measure::default();
    message.describe(&mut measure);
    measure.bytes
}

/// A message that can be encoded.
pub(super) trait Message {
    /// Passes all fields to `sink`, in the order of their numbers. Every call must pass the same fields.
    fn describe(&self, sink: &mut impl Sink);
}

/// Encodes `RangeResponse`.
impl Message for (Header, &RangeResult) {
    fn describe(&self, sink: &mut impl Sink) {
        let (header, result) = self;
        sink.header(header);
        for kv in &result.kvs {
            sink.version(2, kv);
        }
        sink.number(3, u64::from(result.more));
        sink.number(4, result.count);
    }
}

/// The `RangeResponse` for one chunk of a stream.
#[derive(Clone, Debug)]
pub(super) struct Chunk<'a> {
    /// Header of the response; set only on the last chunk.
    pub header: Option<Header>,
    /// Keys of this chunk.
    pub kvs: &'a [KeyValue],
    /// Whether the limit cut off keys; set only on the last chunk.
    pub more: bool,
    /// Number of keys in the whole range; set only on the last chunk.
    pub count: u64,
}

impl Message for Chunk<'_> {
    fn describe(&self, sink: &mut impl Sink) {
        if let Some(header) = &self.header {
            sink.header(header);
        }
        for kv in self.kvs {
            sink.version(2, kv);
        }
        sink.number(3, u64::from(self.more));
        sink.number(4, self.count);
    }
}

/// The `RangeStreamResponse` with one chunk.
#[derive(Clone, Debug)]
pub(super) struct Streamed<'a>(pub Chunk<'a>);

impl Message for Streamed<'_> {
    fn describe(&self, sink: &mut impl Sink) {
        sink.message(1, &self.0);
    }
}

/// Encodes `PutResponse`.
impl Message for (Header, &PutResult) {
    fn describe(&self, sink: &mut impl Sink) {
        let (header, result) = self;
        sink.header(header);
        if let Some(kv) = &result.prev_kv {
            sink.version(2, kv);
        }
    }
}

/// Encodes `DeleteRangeResponse`.
impl Message for (Header, &DeleteRangeResult) {
    fn describe(&self, sink: &mut impl Sink) {
        let (header, result) = self;
        sink.header(header);
        sink.number(2, result.deleted);
        for kv in &result.prev_kvs {
            sink.version(3, kv);
        }
    }
}

/// Encodes `TxnResponse`.
impl Message for (Header, &TxnResult) {
    fn describe(&self, sink: &mut impl Sink) {
        let (header, result) = self;
        sink.header(header);
        sink.number(2, u64::from(result.succeeded));
        for response in &result.responses {
            sink.message(3, response);
        }
    }
}

/// Encodes `ResponseOp`. As in etcd, the header of an operation in a transaction contains only the revision, and the
/// header of a nested transaction is empty.
impl Message for OpResult {
    fn describe(&self, sink: &mut impl Sink) {
        match self {
            OpResult::Range(result) => sink.message(1, &(Header::of_revision(result.revision), result)),
            OpResult::Put(result) => sink.message(2, &(Header::of_revision(result.revision), result)),
            OpResult::DeleteRange(result) => sink.message(3, &(Header::of_revision(result.revision), result)),
            OpResult::Txn(result) => sink.message(4, &(Header::default(), result)),
        }
    }
}

/// Encodes `CompactionResponse`.
impl Message for Header {
    fn describe(&self, sink: &mut impl Sink) {
        sink.header(self);
    }
}

/// Receives the fields of a message.
pub(super) trait Sink: Sized {
    /// Adds a number. The number 0 is omitted, as in every proto3 encoding.
    fn number(&mut self, field: u32, value: u64);
    /// Adds bytes or an encoded message, even if they are empty.
    fn bytes(&mut self, field: u32, bytes: &[u8]);
    /// Adds a stored version of a key.
    fn version(&mut self, field: u32, version: &KeyValue);
    /// Adds a nested message.
    fn message(&mut self, field: u32, message: &impl Message);

    /// Adds the header, which is field 1 of every response.
    fn header(&mut self, header: &Header) {
        const HEADER_BYTES_MAX: usize = 4 * 11;
        let mut encoded = [0; HEADER_BYTES_MAX];
        let mut rest = &mut encoded[..];
        put_number(&mut rest, 1, header.cluster_id);
        put_number(&mut rest, 2, header.member_id);
        put_number(&mut rest, 3, header.revision as u64);
        put_number(&mut rest, 4, header.raft_term);
        let length = HEADER_BYTES_MAX - rest.len();
        self.bytes(1, &encoded[..length]);
    }
}

fn put_number(out: &mut impl BufMut, field: u32, value: u64) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
}

#[derive(Default)]
struct Measure {
    bytes: usize,
    versions: usize,
    version_bytes: usize,
    /// Sizes of nested messages, in the order in which the messages begin.
    sizes: Vec<usize>,
}

impl Sink for Measure {
    fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.bytes += key_len(field) + encoded_len_varint(value);
        }
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.bytes += key_len(field) + encoded_len_varint(bytes.len() as u64) + bytes.len();
    }

    fn version(&mut self, field: u32, version: &KeyValue) {
        self.versions += 1;
        self.version_bytes += version.encoded().len();
        self.bytes(field, version.encoded());
    }

    fn message(&mut self, field: u32, message: &impl Message) {
        let index = self.sizes.len();
        self.sizes.push(0);
        let before = self.bytes;
        message.describe(self);
        let size = self.bytes - before;
        self.sizes[index] = size;
        self.bytes += key_len(field) + encoded_len_varint(size as u64);
    }
}

struct Write<'a> {
    out: &'a mut BytesMut,
    sizes: std::vec::IntoIter<usize>,
    /// Versions that are not copied; `None` if all are.
    versions: Option<Vec<Version>>,
}

impl Sink for Write<'_> {
    fn number(&mut self, field: u32, value: u64) {
        put_number(self.out, field, value);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        encode_key(field, WireType::LengthDelimited, self.out);
        encode_varint(bytes.len() as u64, self.out);
        self.out.put_slice(bytes);
    }

    fn version(&mut self, field: u32, version: &KeyValue) {
        let Some(versions) = &mut self.versions else { return self.bytes(field, version.encoded()) };
        encode_key(field, WireType::LengthDelimited, self.out);
        encode_varint(version.encoded().len() as u64, self.out);
        versions.push(Version { at: self.out.len(), version: version.clone() });
    }

    fn message(&mut self, field: u32, message: &impl Message) {
        let size = self.sizes.next().expect("the first run measured every nested message in this order");
        encode_key(field, WireType::LengthDelimited, self.out);
        encode_varint(size as u64, self.out);
        message.describe(self);
    }
}

#[cfg(test)]
mod tests {
    use mvcc::{Command, DeleteRange, Op, Put, Range, Response, Store, Txn};
    use prost::Message;
    use proto::etcdserverpb as pb;
    use proto::mvccpb;

    use super::Message as _;
    use super::*;

    const HEADER: Header = Header { cluster_id: u64::MAX, member_id: 1, revision: 300, raft_term: 7 };

    fn decoded<M: Message + Default>(framed: Framed) -> M {
        let framed = framed.whole();
        let length = u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize;
        assert_eq!((framed[0], framed.len()), (0, 5 + length));
        M::decode(&framed[5..]).unwrap()
    }

    fn applied(store: &mut Store, command: Command) -> Response {
        store.apply(1, &command).unwrap().response
    }

    fn put_of(key: &str, value: &str) -> Put {
        Put { key: key.to_owned().into(), value: value.to_owned().into(), ..Put::default() }
    }

    fn stored(key: &str, value: &str, revision: i64) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    fn all() -> Range {
        Range { key: "\0".into(), range_end: "\0".into(), ..Range::default() }
    }

    #[test]
    fn a_range_response_decodes_as_in_etcd() {
        let mut store = Store::new();
        applied(&mut store, Command::Put(put_of("a", "1")));
        applied(&mut store, Command::Put(put_of("b", "2")));
        let result = store.view().range(&Range { limit: 1, ..all() }).unwrap();
        let expected =
            pb::RangeResponse { header: Some(HEADER.into()), kvs: vec![stored("a", "1", 2)], more: true, count: 2 };
        assert_eq!(decoded::<pb::RangeResponse>(framed(&(HEADER, &result)).unwrap()), expected);
    }

    #[test]
    fn put_and_delete_responses_decode_as_in_etcd() {
        let mut store = Store::new();
        applied(&mut store, Command::Put(put_of("a", "1")));
        let Response::Put(result) = applied(&mut store, Command::Put(Put { prev_kv: true, ..put_of("a", "2") })) else {
            panic!("a put answers with a put");
        };
        let expected = pb::PutResponse { header: Some(HEADER.into()), prev_kv: Some(stored("a", "1", 2)) };
        assert_eq!(decoded::<pb::PutResponse>(framed(&(HEADER, &result)).unwrap()), expected);

        let delete = DeleteRange { key: "a".into(), prev_kv: true, ..DeleteRange::default() };
        let Response::DeleteRange(result) = applied(&mut store, Command::DeleteRange(delete)) else {
            panic!("a delete answers with a delete");
        };
        let before = mvccpb::KeyValue { mod_revision: 3, version: 2, ..stored("a", "2", 2) };
        let expected = pb::DeleteRangeResponse { header: Some(HEADER.into()), deleted: 1, prev_kvs: vec![before] };
        assert_eq!(decoded::<pb::DeleteRangeResponse>(framed(&(HEADER, &result)).unwrap()), expected);
    }

    #[test]
    fn headers_in_a_transaction_contain_the_revision_or_nothing() {
        let mut store = Store::new();
        let nested = Txn { success: vec![Op::Range(all())], ..Txn::default() };
        let ops = vec![Op::Put(put_of("a", "1")), Op::Txn(nested.clone()), Op::Txn(nested)];
        let Response::Txn(result) = applied(&mut store, Command::Txn(Txn { success: ops, ..Txn::default() })) else {
            panic!("a transaction answers with a transaction");
        };

        use pb::response_op::Response as R;
        let op = |response| pb::ResponseOp { response: Some(response) };
        let inner = Some(pb::ResponseHeader { revision: 2, ..pb::ResponseHeader::default() });
        let range = pb::RangeResponse { header: inner, kvs: vec![stored("a", "1", 2)], more: false, count: 1 };
        let nested = pb::TxnResponse {
            header: Some(pb::ResponseHeader::default()),
            succeeded: true,
            responses: vec![op(R::ResponseRange(range))],
        };
        let expected = pb::TxnResponse {
            header: Some(HEADER.into()),
            succeeded: true,
            responses: vec![
                op(R::ResponsePut(pb::PutResponse { header: inner, prev_kv: None })),
                op(R::ResponseTxn(nested.clone())),
                op(R::ResponseTxn(nested)),
            ],
        };
        assert_eq!(decoded::<pb::TxnResponse>(framed(&(HEADER, &result)).unwrap()), expected);
    }

    #[test]
    fn a_stream_response_contains_the_range_response_of_its_chunk() {
        let mut store = Store::new();
        applied(&mut store, Command::Put(put_of("a", "1")));
        let result = store.view().range(&all()).unwrap();
        let last = Chunk { header: Some(HEADER), kvs: &result.kvs, more: true, count: 9 };
        let response =
            pb::RangeResponse { header: Some(HEADER.into()), kvs: vec![stored("a", "1", 2)], more: true, count: 9 };
        assert_eq!(encoded_bytes(&last), response.encoded_len());
        let expected = pb::RangeStreamResponse { range_response: Some(response) };
        assert_eq!(decoded::<pb::RangeStreamResponse>(framed(&Streamed(last)).unwrap()), expected);
        let middle = Chunk { header: None, kvs: &[], more: false, count: 0 };
        let expected = pb::RangeStreamResponse { range_response: Some(pb::RangeResponse::default()) };
        assert_eq!(decoded::<pb::RangeStreamResponse>(framed(&Streamed(middle)).unwrap()), expected);
    }

    /// Small values are shorter than what refers to them, and large ones span several pieces.
    #[test]
    fn a_large_answer_equals_one_that_is_encoded_at_once() {
        let mut store = Store::new();
        for number in 0..300 {
            let value = "v".repeat(number * number % 3_001);
            applied(&mut store, Command::Put(put_of(&format!("key-{number:03}"), &value)));
        }
        let ranges = vec![Op::Range(all()), Op::Range(Range { limit: 3, ..all() })];
        let nested = Txn { success: ranges.clone(), ..Txn::default() };
        let ops = [ranges, vec![Op::Txn(nested), Op::Put(Put { prev_kv: true, ..put_of("key-299", "") })]].concat();
        let Response::Txn(result) = applied(&mut store, Command::Txn(Txn { success: ops, ..Txn::default() })) else {
            panic!("a transaction answers with a transaction");
        };
        let message = (HEADER, &result);
        let mut measure = Measure::default();
        message.describe(&mut measure);
        let sizes = measure.sizes.into_iter();
        let at_once = frame(measure.bytes, |out| message.describe(&mut Write { out, sizes, versions: None })).unwrap();
        for size in [1, 2, 7, 100, 16_384, usize::MAX] {
            let mut pinned = framed(&message).unwrap();
            assert!(matches!(pinned, Framed::Pinned(_)));
            let mut pieces = BytesMut::new();
            while pinned.remaining() > 0 {
                let piece = pinned.take(size);
                assert!(!piece.is_empty() && piece.len() <= size);
                pieces.put_slice(&piece);
            }
            assert!(pieces == at_once, "{size} bytes at a time");
        }
    }

    #[test]
    fn a_compaction_response_is_a_header() {
        let expected = pb::CompactionResponse { header: Some(HEADER.into()) };
        assert_eq!(decoded::<pb::CompactionResponse>(framed(&HEADER).unwrap()), expected);
    }
}
