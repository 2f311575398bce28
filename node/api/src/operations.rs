//! The number of operations in a transaction that was not decoded yet. Owns the counting in the encoded message, and what
//! an operation costs in memory. Does not own the limits of each branch (`mvcc`), which have etcd's order of checks.
//!
//! An operation can have two bytes in a message, and several hundred when it is decoded. It is therefore counted
//! before anything is decoded.

use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use proto::etcdserverpb as pb;

/// Maximum number of comparisons and operations of a transaction, with those of nested ones. A transaction without nested
/// ones has at most 384.
pub(super) const OPERATIONS_MAX: usize = 4_096;
/// Memory of one decoded operation in bytes: in the message and in the command, each in a list that may have as much
/// capacity again.
pub(super) const OPERATION_BYTES: usize = 2 * (size_of::<pb::RequestOp>() + size_of::<mvcc::Op>());

/// The transaction has more than [`OPERATIONS_MAX`] comparisons and operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Counts the comparisons and operations of a `TxnRequest`. A message that does not decode is counted as far as it does.
pub(super) fn count(request: &[u8]) -> Result<usize, TooMany> {
    const NESTED: u32 = 4;
    let mut count = 0;
    // Nested transactions that are not counted yet, instead of a recursion that a message could make as deep as it likes.
    let mut transactions = vec![request];
    while let Some(transaction) = transactions.pop() {
        for (field, content) in Fields(transaction) {
            if !(1..=3).contains(&field) {
                continue;
            }
            count += 1;
            if count > OPERATIONS_MAX {
                return Err(TooMany);
            }
            // Field 1 has comparisons, and the other two have operations.
            if field != 1 {
                // An operation has one nested transaction at most, but a message can name any number of them.
                let nested = Fields(content).filter(|(kind, _)| *kind == NESTED).map(|(_, nested)| nested);
                transactions.extend(nested.take(OPERATIONS_MAX + 1));
                if transactions.len() > OPERATIONS_MAX {
                    return Err(TooMany);
                }
            }
        }
    }
    Ok(count)
}

/// The fields of a message that have a length, with their numbers. Ends where the message is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while self.0.has_remaining() {
            let (field, kind) = decode_key(&mut self.0).ok()?;
            let length = match kind {
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut self.0).ok()?).ok()?,
                WireType::Varint => {
                    decode_varint(&mut self.0).ok()?;
                    continue;
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                // Requests of etcd have no groups. What is in one is skipped by the decoder, however deep it is.
                WireType::StartGroup | WireType::EndGroup => continue,
            };
            let (content, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if kind == WireType::LengthDelimited {
                return Some((field, content));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use pb::request_op::Request;
    use prost::Message;

    use super::*;

    fn op(request: Option<Request>) -> pb::RequestOp {
        pb::RequestOp { request }
    }

    fn nested(txn: pb::TxnRequest) -> pb::RequestOp {
        op(Some(Request::RequestTxn(txn)))
    }

    #[test]
    fn comparisons_and_operations_are_counted_at_each_level() {
        let range =
            op(Some(Request::RequestRange(pb::RangeRequest { key: "k".into(), limit: 7, ..Default::default() })));
        let inner = pb::TxnRequest { failure: vec![range.clone(); 3], ..pb::TxnRequest::default() };
        let outer = pb::TxnRequest {
            compare: vec![pb::Compare { key: "k".into(), ..pb::Compare::default() }; 5],
            success: vec![range, op(None), nested(inner.clone())],
            failure: vec![nested(pb::TxnRequest { success: vec![nested(inner)], ..pb::TxnRequest::default() })],
        };
        assert_eq!(count(&outer.encode_to_vec()), Ok(5 + 3 + 3 + 1 + 1 + 3));
        assert_eq!(count(&[]), Ok(0));
    }

    /// A list of them would have eight times as many bytes as the message.
    #[test]
    fn an_operation_that_names_very_many_transactions_is_refused() {
        let named = |number: usize| {
            let op = [0x22, 0].repeat(number);
            let mut txn = vec![0x12];
            prost::encoding::encode_varint(op.len() as u64, &mut txn);
            [txn, op].concat()
        };
        assert_eq!(count(&named(OPERATIONS_MAX)), Ok(1));
        assert_eq!(count(&named(OPERATIONS_MAX + 1)), Err(TooMany));
        assert_eq!(count(&named(750_000)), Err(TooMany));
    }

    /// 1.5 MB of empty operations become a hundred times as much when they are decoded.
    #[test]
    fn too_many_are_noticed_before_they_are_decoded() {
        let empty = |number| pb::TxnRequest { success: vec![op(None); number], ..pb::TxnRequest::default() };
        assert_eq!(count(&empty(OPERATIONS_MAX).encode_to_vec()), Ok(OPERATIONS_MAX));
        assert_eq!(count(&empty(750_000).encode_to_vec()), Err(TooMany));
        let across = pb::TxnRequest { success: vec![nested(empty(100)); 41], ..pb::TxnRequest::default() };
        assert_eq!(count(&across.encode_to_vec()), Err(TooMany));
        let compare = pb::TxnRequest { compare: vec![pb::Compare::default(); 5_000], ..pb::TxnRequest::default() };
        assert_eq!(count(&compare.encode_to_vec()), Err(TooMany));
    }

    #[test]
    fn nesting_is_counted_however_deep_it_is() {
        let mut txn = Vec::new();
        for _ in 0..3_000 {
            let op = [&[0x22][..], &varint(txn.len()), &txn].concat();
            txn = [&[0x12][..], &varint(op.len()), &op].concat();
        }
        assert_eq!(count(&txn), Ok(3_000));
    }

    fn varint(number: usize) -> Vec<u8> {
        let mut out = Vec::new();
        prost::encoding::encode_varint(number as u64, &mut out);
        out
    }

    #[test]
    fn a_malformed_message_is_left_to_the_decoder() {
        for malformed in [&b"\x12"[..], b"\x12\x05a", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x12\x00\x0f"]
        {
            assert!(count(malformed).is_ok(), "{malformed:?}");
        }
        let txn = pb::TxnRequest { success: vec![op(None); 3], ..pb::TxnRequest::default() };
        let unknown = [&b"\x78\x01\x71\x08\x07\x06\x05\x04\x03\x02\x01\x75\x01\x02\x03\x04"[..], &txn.encode_to_vec()];
        assert_eq!(count(&unknown.concat()), Ok(3), "unknown fields of each kind are skipped");
    }
}
