//! Random requests, valid and invalid. The requests use few keys, so that requests affect each other. Does not own the
//! comparison of responses (`compare.rs`).
//!
//! At most twelve keys are used, because etcd's sort is stable only up to that number of keys: with more keys, the
//! order of equal ones is undefined.

use bytes::Bytes;
use proto::etcdserverpb as pb;

use pb::compare::TargetUnion;
use pb::request_op::Request as Op;

use crate::chance::Chance;

/// One request.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Range(pb::RangeRequest),
    RangeStream(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    HashKv(pb::HashKvRequest),
    Alarm(pb::AlarmRequest),
}

/// Returns a random request. `revision` is the newest revision of the store.
pub(crate) fn request(chance: &mut Chance, revision: i64) -> Request {
    match chance.below(100) {
        0..30 => Request::Put(put(chance)),
        30..55 => Request::Range(range(chance, revision)),
        55..60 => Request::RangeStream(range(chance, revision)),
        60..70 => Request::DeleteRange(delete_range(chance)),
        70..93 => Request::Txn(txn(chance, revision, 2)),
        93..96 => Request::HashKv(pb::HashKvRequest { revision: at(chance, revision) }),
        96..98 => Request::Compact(pb::CompactionRequest { revision: at(chance, revision), physical: true }),
        98 => Request::Txn(too_many(chance)),
        _ => Request::Alarm(alarm(chance)),
    }
}

const KEYS: [&[u8]; 10] = [b"a", b"a\0", b"aa", b"ab", b"b", b"b\xff", b"ba", b"c", b"\xff", b"\xff\xff"];

fn key(chance: &mut Chance) -> Bytes {
    if chance.percent(2) { Bytes::new() } else { Bytes::copy_from_slice(chance.one_of(&KEYS)) }
}

fn range_end(chance: &mut Chance) -> Bytes {
    match chance.below(10) {
        0..5 => Bytes::new(),
        5 | 6 => Bytes::from_static(b"\0"),
        _ => Bytes::copy_from_slice(chance.one_of(&KEYS)),
    }
}

fn value(chance: &mut Chance) -> Bytes {
    match chance.below(5) {
        0 => Bytes::new(),
        1 => vec![b'v'; 300].into(),
        choice => Bytes::from(choice.to_string()),
    }
}

/// Returns either a revision near the existing ones, or 0, which stands for the newest revision.
fn at(chance: &mut Chance, revision: i64) -> i64 {
    match chance.below(10) {
        0..5 => 0,
        5 => chance.between(-2, 2),
        6 => revision + chance.between(0, 2),
        _ => chance.between((revision - 40).max(0), revision),
    }
}

/// Returns a bound on revisions: usually 0, which means no bound, otherwise a revision near the existing ones.
fn bound(chance: &mut Chance, revision: i64) -> i64 {
    if chance.percent(85) { 0 } else { chance.between(-1, revision + 1) }
}

fn enumeration(chance: &mut Chance, members: i64) -> i32 {
    let number = if chance.percent(1) { chance.between(members, members + 3) } else { chance.between(0, members - 1) };
    i32::try_from(number).expect("enumerations are small")
}

fn range(chance: &mut Chance, revision: i64) -> pb::RangeRequest {
    let sorted = chance.percent(30);
    pb::RangeRequest {
        key: key(chance),
        range_end: range_end(chance),
        limit: if chance.percent(40) { chance.between(-1, 6) } else { 0 },
        revision: at(chance, revision),
        sort_order: if sorted { enumeration(chance, 3) } else { 0 },
        sort_target: if sorted { enumeration(chance, 5) } else { 0 },
        serializable: chance.percent(30),
        keys_only: chance.percent(15),
        count_only: chance.percent(10),
        min_mod_revision: bound(chance, revision),
        max_mod_revision: bound(chance, revision),
        min_create_revision: bound(chance, revision),
        max_create_revision: bound(chance, revision),
    }
}

fn put(chance: &mut Chance) -> pb::PutRequest {
    let ignore_value = chance.percent(8);
    pb::PutRequest {
        key: key(chance),
        value: if ignore_value && chance.percent(80) { Bytes::new() } else { value(chance) },
        lease: if chance.percent(3) { chance.between(-1, 2) } else { 0 },
        prev_kv: chance.percent(30),
        ignore_value,
        ignore_lease: chance.percent(8),
    }
}

fn delete_range(chance: &mut Chance) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key(chance), range_end: range_end(chance), prev_kv: chance.percent(40) }
}

fn txn(chance: &mut Chance, revision: i64, depth_left: u32) -> pb::TxnRequest {
    let compares = if chance.percent(20) { 0 } else { chance.below(3) };
    let ops = |chance: &mut Chance| (0..chance.below(4)).map(|_| op(chance, revision, depth_left)).collect();
    pb::TxnRequest {
        compare: (0..compares).map(|_| compare(chance, revision)).collect(),
        success: ops(chance),
        failure: ops(chance),
    }
}

/// Returns whether a request may end etcd's process, so that it must not be sent.
///
/// etcd refuses a transaction that writes a key twice, but its check overlooks a range without an end. If such a range
/// deletes a key, a later put in the same transaction that keeps the key's value or lease does not find the key while
/// etcd applies it, and etcd panics: "index out of range [0] with length 0" (etcd 3.7.3).
pub(crate) fn ends_etcd(request: &Request) -> bool {
    let Request::Txn(txn) = request else { return false };
    let mut ends = false;
    follow(txn, None, &mut ends);
    ends
}

/// Follows both branches of a transaction. A delete of a range without an end may remove every key at or above the
/// range's first key. `deleted_from` is the lowest first key of all such deletes before the transaction. Returns the
/// lowest first key of all such deletes before the transaction and in its two branches. Sets `ends` if a put keeps the
/// value or the lease of a key that one of these deletes may have removed before the put.
fn follow<'a>(txn: &'a pb::TxnRequest, deleted_from: Option<&'a [u8]>, ends: &mut bool) -> Option<&'a [u8]> {
    let lower = |one: Option<&'a [u8]>, other: Option<&'a [u8]>| one.into_iter().chain(other).min();
    let mut after = None;
    for branch in [&txn.success, &txn.failure] {
        let mut deleted = deleted_from;
        for op in branch {
            match &op.request {
                Some(Op::RequestDeleteRange(delete)) if delete.range_end.as_ref() == b"\0" => {
                    deleted = lower(deleted, Some(&delete.key));
                }
                Some(Op::RequestPut(put)) if put.ignore_value || put.ignore_lease => {
                    *ends |= deleted.is_some_and(|from| put.key.as_ref() >= from);
                }
                Some(Op::RequestTxn(inner)) => deleted = lower(deleted, follow(inner, deleted, ends)),
                Some(Op::RequestDeleteRange(_) | Op::RequestPut(_) | Op::RequestRange(_)) | None => {}
            }
        }
        after = lower(after, deleted);
    }
    after
}

fn op(chance: &mut Chance, revision: i64, depth_left: u32) -> pb::RequestOp {
    let request = match chance.below(20) {
        0 if chance.percent(20) => None,
        0..7 => Some(Op::RequestRange(range(chance, revision))),
        7..14 => Some(Op::RequestPut(put(chance))),
        14..17 => Some(Op::RequestDeleteRange(delete_range(chance))),
        _ if depth_left > 0 => Some(Op::RequestTxn(txn(chance, revision, depth_left - 1))),
        _ => Some(Op::RequestPut(put(chance))),
    };
    pb::RequestOp { request }
}

fn compare(chance: &mut Chance, revision: i64) -> pb::Compare {
    let target = enumeration(chance, 5);
    let union = if chance.percent(5) { enumeration(chance, 5) } else { target };
    let target_union = match union {
        0 => Some(TargetUnion::Version(chance.between(0, 3))),
        1 => Some(TargetUnion::CreateRevision(bound(chance, revision))),
        2 => Some(TargetUnion::ModRevision(bound(chance, revision))),
        3 => Some(TargetUnion::Value(value(chance))),
        4 => Some(TargetUnion::Lease(chance.between(0, 1))),
        _ => None,
    };
    let range_end = if chance.percent(70) { Bytes::new() } else { range_end(chance) };
    pb::Compare { result: enumeration(chance, 4), target, key: key(chance), range_end, target_union }
}

fn too_many(chance: &mut Chance) -> pb::TxnRequest {
    let ops = (0..chance.between(127, 130)).map(|_| pb::RequestOp { request: Some(Op::RequestPut(put(chance))) });
    pb::TxnRequest { success: ops.collect(), ..pb::TxnRequest::default() }
}

/// Returns a random alarm request. More of these requests clear the NOSPACE alarm than raise the alarm, because most
/// writes are refused while the alarm is raised.
fn alarm(chance: &mut Chance) -> pb::AlarmRequest {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    let action = match chance.below(10) {
        0 => Activate,
        1..4 => Get,
        _ => Deactivate,
    };
    let alarm = if chance.percent(20) { pb::AlarmType::None } else { pb::AlarmType::Nospace };
    pb::AlarmRequest { action: action as i32, member_id: 7, alarm: alarm as i32 }
}
