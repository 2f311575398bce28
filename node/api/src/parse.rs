//! Owns the conversion of etcd's requests into the store's types. Does not own the validation of requests (`mvcc`,
//! which validates in the same order as etcd).

use mvcc::{Compact, Compare, DeleteRange, Op, Operand, Put, Range, Txn};
use proto::etcdserverpb as pb;

/// Converts a range request.
#[must_use]
pub(super) fn range(request: pb::RangeRequest) -> Range {
    Range {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: request.sort_order.into(),
        sort_target: request.sort_target.into(),
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

/// Converts a put request.
#[must_use]
pub(super) fn put(request: pb::PutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// Converts a delete request.
#[must_use]
pub(super) fn delete_range(request: pb::DeleteRangeRequest) -> DeleteRange {
    DeleteRange { key: request.key, range_end: request.range_end, prev_kv: request.prev_kv }
}

/// Converts a compaction request.
#[must_use]
pub(super) fn compact(request: &pb::CompactionRequest) -> Compact {
    Compact { revision: request.revision, physical: request.physical }
}

/// Converts a transaction, and returns the transaction and its consistency. The consistency matters only if the
/// transaction only reads. The consistency is `Serializable` if every range in both branches is serializable, and
/// otherwise `Linearizable`.
#[must_use]
pub(super) fn txn(request: pb::TxnRequest) -> (Txn, Consistency) {
    let mut consistency = Consistency::Serializable;
    let txn = transaction(request, &mut consistency);
    (txn, consistency)
}

/// Consistency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    /// The read sees every write that was acknowledged before the read began.
    Linearizable,
    /// The read is answered from this member's store and may be stale.
    Serializable,
}

impl Consistency {
    /// Converts the flag `serializable` of etcd's range requests.
    #[must_use]
    pub(super) fn of(serializable: bool) -> Consistency {
        if serializable { Consistency::Serializable } else { Consistency::Linearizable }
    }
}

fn transaction(request: pb::TxnRequest, consistency: &mut Consistency) -> Txn {
    Txn {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(|request| op(request, consistency)).collect(),
        failure: request.failure.into_iter().map(|request| op(request, consistency)).collect(),
    }
}

fn op(request: pb::RequestOp, consistency: &mut Consistency) -> Op {
    use pb::request_op::Request;
    match request.request {
        Some(Request::RequestRange(request)) => {
            if !request.serializable {
                *consistency = Consistency::Linearizable;
            }
            Op::Range(range(request))
        }
        Some(Request::RequestPut(request)) => Op::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => Op::DeleteRange(delete_range(request)),
        Some(Request::RequestTxn(request)) => Op::Txn(transaction(request, consistency)),
        None => Op::Empty,
    }
}

/// Converts a comparison. As in etcd, the operand is 0 or empty if `target_union` does not match `target`.
fn compare(request: pb::Compare) -> Compare {
    use pb::compare::{CompareTarget, TargetUnion};
    let given = request.target_union;
    let operand = match CompareTarget::try_from(request.target) {
        Ok(CompareTarget::Version) => Operand::Version(match given {
            Some(TargetUnion::Version(given)) => given,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => Operand::CreateRevision(match given {
            Some(TargetUnion::CreateRevision(given)) => given,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => Operand::ModRevision(match given {
            Some(TargetUnion::ModRevision(given)) => given,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => Operand::Value(match given {
            Some(TargetUnion::Value(given)) => given,
            _ => bytes::Bytes::new(),
        }),
        Ok(CompareTarget::Lease) => Operand::Lease(match given {
            Some(TargetUnion::Lease(given)) => given,
            _ => 0,
        }),
        Err(_) => Operand::Unrecognized(request.target),
    };
    Compare { key: request.key, range_end: request.range_end, relation: request.result.into(), operand }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mvcc::{Command, Relation, SortOrder, SortTarget, ValidateError};
    use pb::compare::TargetUnion;
    use pb::request_op::Request;

    use super::*;

    fn range_request(serializable: bool) -> pb::RequestOp {
        let range = pb::RangeRequest { key: "k".into(), serializable, ..pb::RangeRequest::default() };
        pb::RequestOp { request: Some(Request::RequestRange(range)) }
    }

    #[test]
    fn every_option_of_a_range_is_translated() {
        let request = pb::RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: 1,
            revision: 2,
            sort_order: pb::range_request::SortOrder::Descend as i32,
            sort_target: pb::range_request::SortTarget::Mod as i32,
            serializable: true,
            keys_only: true,
            count_only: true,
            min_mod_revision: 3,
            max_mod_revision: 4,
            min_create_revision: 5,
            max_create_revision: 6,
        };
        let expected = Range {
            key: "a".into(),
            range_end: "b".into(),
            limit: 1,
            revision: 2,
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Mod,
            keys_only: true,
            count_only: true,
            min_mod_revision: 3,
            max_mod_revision: 4,
            min_create_revision: 5,
            max_create_revision: 6,
        };
        assert_eq!(range(request), expected);
    }

    #[test]
    fn unknown_enum_numbers_are_kept_and_refused_by_validation() {
        let request = pb::RangeRequest { key: "k".into(), sort_order: 7, ..pb::RangeRequest::default() };
        assert_eq!(range(request).validate(), Err(ValidateError::InvalidSortOption));
        let request = pb::RangeRequest { key: "k".into(), sort_target: -1, ..pb::RangeRequest::default() };
        assert_eq!(range(request).validate(), Err(ValidateError::InvalidSortOption));
    }

    #[test]
    fn a_transaction_is_serializable_only_if_each_of_its_ranges_is() {
        let parsed = |success, failure| txn(pb::TxnRequest { compare: vec![], success, failure }).1;
        assert_eq!(parsed(vec![], vec![]), Consistency::Serializable);
        assert_eq!(parsed(vec![range_request(true)], vec![range_request(true)]), Consistency::Serializable);
        assert_eq!(parsed(vec![range_request(true)], vec![range_request(false)]), Consistency::Linearizable);
        let nested = pb::TxnRequest { compare: vec![], success: vec![range_request(false)], failure: vec![] };
        let nested = pb::RequestOp { request: Some(Request::RequestTxn(nested)) };
        assert_eq!(parsed(vec![nested], vec![]), Consistency::Linearizable);
    }

    #[test]
    fn an_operation_without_content_is_refused() {
        let (txn, _) =
            txn(pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..pb::TxnRequest::default() });
        assert_eq!(Command::Txn(txn).validate(), Err(ValidateError::EmptyOp));
    }

    #[test]
    fn a_comparison_uses_only_the_operand_of_its_target() {
        let parsed = |target, target_union| {
            compare(pb::Compare { key: "k".into(), target, target_union, ..pb::Compare::default() }).operand
        };
        assert_eq!(parsed(0, Some(TargetUnion::Version(3))), Operand::Version(3));
        assert_eq!(parsed(1, Some(TargetUnion::CreateRevision(3))), Operand::CreateRevision(3));
        assert_eq!(parsed(2, Some(TargetUnion::ModRevision(3))), Operand::ModRevision(3));
        assert_eq!(parsed(3, Some(TargetUnion::Value("v".into()))), Operand::Value("v".into()));
        assert_eq!(parsed(4, Some(TargetUnion::Lease(3))), Operand::Lease(3));
        assert_eq!(parsed(0, Some(TargetUnion::Lease(3))), Operand::Version(0));
        assert_eq!(parsed(3, None), Operand::Value(Bytes::new()));
        assert_eq!(parsed(9, None), Operand::Unrecognized(9));
    }

    #[test]
    fn a_comparison_keeps_key_interval_and_relation() {
        let request = pb::Compare { key: "a".into(), range_end: "b".into(), result: 3, target: 2, target_union: None };
        let expected = Compare {
            key: "a".into(),
            range_end: "b".into(),
            relation: Relation::NotEqual,
            operand: Operand::ModRevision(0),
        };
        assert_eq!(compare(request), expected);
    }
}
