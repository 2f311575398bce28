//! The rules of `node/mvcc/docs/etcd_rules.md`, a test for each. The number in front of a test's comment is the section.

#[path = "rules/requests.rs"]
mod requests;

use bytes::Bytes;
use mvcc::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, Command, CommandError, Compare, KeyValue, Op, OpResult, Operand,
    Outcome, Put, Range, RangeError, RangeResult, Relation, Removal, Response, Revision, SortOrder, SortTarget, Store,
    TxnResult, ValidateError,
};
use requests::{all, apply, compact, compare, delete, delete_range, get, op, put, range_of, refused, txn};

fn keys(result: &RangeResult) -> Vec<&[u8]> {
    result.kvs.iter().map(KeyValue::key).collect()
}

fn read(store: &Store, range: &Range) -> RangeResult {
    store.view().range(range).expect("a valid range")
}

fn txn_result(outcome: Outcome) -> TxnResult {
    match outcome.response {
        Response::Txn(result) => result,
        other => panic!("not a transaction's answer: {other:?}"),
    }
}

/// §2: a new store has revision 1.
#[test]
fn a_fresh_store_has_revision_1_and_was_never_compacted() {
    let view = Store::new().view();
    assert_eq!((view.revision(), view.compact_revision()), (Revision(1), Revision(-1)));
}

/// §2: a command raises the revision by one if it changed a key, otherwise not at all.
#[test]
fn a_write_adds_one_revision_if_it_changed_a_key() {
    let mut store = Store::new();
    assert_eq!(apply(&mut store, put("a", "1")).revision, Revision(2));
    assert_eq!(apply(&mut store, delete("missing")).revision, Revision(2));
    assert_eq!(apply(&mut store, txn(vec![], vec![], vec![])).revision, Revision(2));
    assert_eq!(apply(&mut store, txn(vec![], vec![get("a")], vec![])).revision, Revision(2));
    assert_eq!(apply(&mut store, txn(vec![], vec![op(put("b", "")), op(put("c", ""))], vec![])).revision, Revision(3));
    assert_eq!(apply(&mut store, delete_range("a", "z")).revision, Revision(4), "three keys, one revision");
}

/// §2: the counters of a key; a delete ends the generation.
#[test]
fn counters_of_a_key_follow_its_generation() {
    let mut store = Store::new();
    let mut seen = Vec::new();
    for command in [put("k", "1"), put("k", "2"), delete("k"), put("k", "3")] {
        apply(&mut store, command);
        seen.push(store.view().get(b"k").map(|kv| {
            let fields = kv.fields();
            (fields.create_revision, fields.mod_revision, fields.version)
        }));
    }
    assert_eq!(seen, [Some((2, 2, 1)), Some((2, 3, 2)), None, Some((5, 5, 1))]);
}

/// §2: the header has the store's revision, also for a read of an older one.
#[test]
fn an_old_read_has_the_newest_revision_in_its_header() {
    let mut store = Store::new();
    apply(&mut store, put("k", "1"));
    apply(&mut store, put("k", "2"));
    let old = read(&store, &Range { revision: 2, ..range_of("k", "") });
    assert_eq!((old.revision, old.kvs[0].value()), (Revision(3), &b"1"[..]));
}

/// §2: refusals of a compaction, and the reads that still work.
#[test]
fn compaction_at_or_below_the_mark_or_above_the_revision_is_refused() {
    let mut store = Store::new();
    for value in ["1", "2", "3"] {
        apply(&mut store, put("k", value));
    }
    assert_eq!(refused(&mut store, compact(5)), CommandError::FutureRevision);
    apply(&mut store, compact(3));
    assert_eq!(refused(&mut store, compact(3)), CommandError::Compacted);
    assert_eq!(refused(&mut store, compact(2)), CommandError::Compacted);
    assert_eq!(read(&store, &Range { revision: 3, ..range_of("k", "") }).kvs[0].value(), b"2");
    let below = store.view().range(&Range { revision: 2, ..range_of("k", "") });
    assert_eq!(below, Err(RangeError::Compacted));
    apply(&mut store, compact(4));
    assert_eq!(read(&store, &range_of("k", "")).kvs[0].value(), b"3", "compaction at the revision is allowed");
}

/// §2: the mark is −1 at first, so a compaction at 0 succeeds once.
#[test]
fn compaction_at_0_succeeds_once() {
    let mut store = Store::new();
    assert_eq!(refused(&mut store, compact(-1)), CommandError::Compacted);
    apply(&mut store, compact(0));
    assert_eq!(refused(&mut store, compact(0)), CommandError::Compacted);
}

/// §2: compaction keeps the newest version of a key at or below the mark; a tombstone exactly there stays until the next one.
#[test]
fn compaction_keeps_the_newest_version_and_a_tombstone_exactly_at_the_mark() {
    let mut store = Store::new();
    for command in [put("a", "1"), put("a", "2"), put("b", "1"), delete("b"), put("c", "1"), delete("a")] {
        apply(&mut store, command);
    }
    let count_after = |store: &mut Store, mark: i64| {
        apply(store, compact(mark));
        assert_eq!(store.compact_slice(100), Removal::Done);
        store.view().version_count()
    };
    assert_eq!(count_after(&mut store, 5), 4, "a/3, the tombstone b/5, and what is newer");
    assert_eq!(count_after(&mut store, 6), 3, "the tombstone b/5 is below the mark now");
    assert_eq!(count_after(&mut store, 7), 2, "c/6 and the tombstone a/7");
}

/// §2: removal takes time and shows in the size only.
#[test]
fn removal_in_slices_changes_no_read() {
    let mut store = Store::new();
    for round in 0..50 {
        for key in ["a", "b", "c"] {
            apply(&mut store, put(key, &round.to_string()));
        }
    }
    let size_before = store.view().size_bytes();
    apply(&mut store, compact(100));
    let view = store.view();
    let mut slices = 0;
    while store.compact_slice(10) == Removal::Pending {
        slices += 1;
        for revision in [100, 120, 0] {
            assert_eq!(read(&store, &Range { revision, ..all() }), view.range(&Range { revision, ..all() }).unwrap());
        }
    }
    assert!(slices >= 9, "99 versions at or below the mark, 10 at a time");
    assert_eq!(store.removal(), Removal::Done);
    assert_eq!(store.view().version_count(), 54, "3 at the mark and 51 above it");
    assert!(store.view().size_bytes() < size_before);
}

/// §1: the kinds of interval.
#[test]
fn range_end_names_a_key_an_interval_or_all_that_follow() {
    let mut store = Store::new();
    for key in ["a", "aa", "b", "c"] {
        apply(&mut store, put(key, ""));
    }
    let found = |key: &'static str, range_end: &'static str| {
        let result = read(&store, &range_of(key, range_end));
        keys(&result).into_iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("a", ""), "a");
    assert_eq!(found("aa", "\0"), "aa b c");
    assert_eq!(found("a", "b"), "a aa");
    assert_eq!(found("c", "a"), "");
}

/// §3: a revision of 0 or less reads the newest content; a future one is refused.
#[test]
fn a_negative_revision_reads_the_newest_content_outside_transactions() {
    let mut store = Store::new();
    apply(&mut store, put("k", "1"));
    assert_eq!(read(&store, &Range { revision: -7, ..all() }).count, 1);
    assert_eq!(store.view().range(&Range { revision: 3, ..all() }), Err(RangeError::FutureRevision));
}

/// §3: inside a transaction a negative revision is compared with the mark, which is −1 before the first compaction.
#[test]
fn a_negative_revision_is_compacted_inside_transactions() {
    let mut store = Store::new();
    let reading = |revision| txn(vec![], vec![Op::Range(Range { revision, ..all() })], vec![]);
    apply(&mut store, reading(-1));
    assert_eq!(refused(&mut store, reading(-2)), CommandError::Compacted);
    apply(&mut store, compact(0));
    assert_eq!(refused(&mut store, reading(-1)), CommandError::Compacted);
}

/// §1, §3: empty keys and unknown sort options.
#[test]
fn empty_keys_and_unknown_sort_options_are_not_valid() {
    assert_eq!(range_of("", "z").validate(), Err(ValidateError::EmptyKey));
    assert_eq!(put("", "v").validate(), Err(ValidateError::EmptyKey));
    assert_eq!(delete("").validate(), Err(ValidateError::EmptyKey));
    let unknown = Range { sort_order: SortOrder::from(7), ..all() };
    assert_eq!(unknown.validate(), Err(ValidateError::InvalidSortOption));
    assert_eq!(Store::new().view().range(&unknown), Err(RangeError::Invalid(ValidateError::InvalidSortOption)));
    let unknown = Range { sort_target: SortTarget::from(-1), ..all() };
    assert_eq!(unknown.validate(), Err(ValidateError::InvalidSortOption));
}

fn five_keys() -> Store {
    let mut store = Store::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "5"), ("d", "2"), ("e", "4")] {
        apply(&mut store, put(key, value));
    }
    store
}

/// §3: the count is that of the whole interval; `more` says that the filtered keys exceed the limit.
#[test]
fn count_ignores_limit_and_filters_and_more_does_not() {
    let store = five_keys();
    let cut = read(&store, &Range { limit: 2, ..all() });
    assert_eq!((keys(&cut), cut.count, cut.more), (vec![&b"a"[..], b"b"], 5, true));
    let filtered = read(&store, &Range { limit: 2, min_mod_revision: 5, ..all() });
    assert_eq!((keys(&filtered), filtered.count, filtered.more), (vec![&b"d"[..], b"e"], 5, false));
    let exact = read(&store, &Range { limit: 5, ..all() });
    assert_eq!((exact.kvs.len(), exact.more), (5, false));
    let created = read(&store, &Range { max_create_revision: 3, ..all() });
    assert_eq!(keys(&created), [b"a", b"b"]);
}

/// §3: `count_only` gives no keys, and `more` is false.
#[test]
fn count_only_answers_with_the_count_and_nothing_else() {
    let counted = read(&five_keys(), &Range { count_only: true, limit: 2, ..all() });
    assert_eq!((counted.count, counted.kvs.len(), counted.more), (5, 0, false));
}

/// §3: without an order, a target other than KEY sorts ascending after the cut at limit + 1 in key order.
#[test]
fn a_sort_target_without_order_sorts_after_the_cut() {
    let store = five_keys();
    let by_value = Range { sort_target: SortTarget::Value, limit: 2, ..all() };
    let cut_first = read(&store, &by_value);
    assert_eq!((keys(&cut_first), cut_first.more), (vec![&b"b"[..], b"a"], true), "of a, b and c");
    let ordered = read(&store, &Range { sort_order: SortOrder::Ascend, ..by_value.clone() });
    assert_eq!((keys(&ordered), ordered.more), (vec![&b"b"[..], b"d"], true), "of all");
    let filtered = read(&store, &Range { min_mod_revision: 1, ..by_value });
    assert_eq!(keys(&filtered), [b"b", b"d"], "a filter makes etcd fetch all");
}

/// §3: sort orders and targets.
#[test]
fn every_target_sorts_both_ways() {
    let mut store = five_keys();
    apply(&mut store, put("b", "0"));
    apply(&mut store, put("a", "9"));
    apply(&mut store, put("a", "9"));
    for (target, ascending) in [
        (SortTarget::Key, "abcde"),
        (SortTarget::Version, "cdeba"),
        (SortTarget::Create, "abcde"),
        (SortTarget::Mod, "cdeba"),
        (SortTarget::Value, "bdeca"),
    ] {
        let sorted = |sort_order| keys(&read(&store, &Range { sort_target: target, sort_order, ..all() })).concat();
        assert_eq!(sorted(SortOrder::Ascend), ascending.as_bytes(), "{target:?}");
        if target != SortTarget::Version {
            let descending: Vec<u8> = ascending.bytes().rev().collect();
            assert_eq!(sorted(SortOrder::Descend), descending, "{target:?}");
        }
    }
}

/// §3: `keys_only` leaves out value and lease.
#[test]
fn keys_only_leaves_values_out() {
    let mut store = five_keys();
    let whole = read(&store, &all());
    for sort_target in [SortTarget::Key, SortTarget::Value] {
        let bare = read(&store, &Range { keys_only: true, sort_order: SortOrder::Ascend, sort_target, ..all() });
        assert!(bare.kvs.iter().all(|kv| kv.value().is_empty() && kv.fields().lease == 0 && kv.fields().version == 1));
        assert_eq!(bare.count, whole.count);
    }
    apply(&mut store, put("a", "9"));
    let old = read(&store, &Range { keys_only: true, revision: 6, ..all() });
    assert_eq!(old.kvs[0].fields().mod_revision, 2, "also of an older revision");
}

/// §4, put: `prev_kv`.
#[test]
fn put_answers_with_the_replaced_version_if_asked() {
    let mut store = Store::new();
    let asking = |value: &'static str| {
        Command::Put(Put { key: "k".into(), value: value.into(), prev_kv: true, ..Put::default() })
    };
    let previous = |outcome: Outcome| match outcome.response {
        Response::Put(result) => result.prev_kv.map(|kv| kv.value().to_vec()),
        other => panic!("not a put's answer: {other:?}"),
    };
    assert_eq!(previous(apply(&mut store, asking("1"))), None);
    assert_eq!(previous(apply(&mut store, asking("2"))), Some(b"1".to_vec()));
    assert_eq!(previous(apply(&mut store, put("k", "3"))), None, "not asked");
}

/// §4, put: `ignore_value`, `ignore_lease`, unknown leases.
#[test]
fn put_keeps_the_value_or_lease_if_asked_and_refuses_unknown_leases() {
    let mut store = Store::new();
    let keep_value = |key: &'static str| Put { key: key.into(), ignore_value: true, ..Put::default() };
    assert_eq!(refused(&mut store, Command::Put(keep_value("k"))), CommandError::KeyNotFound);
    apply(&mut store, put("k", "v"));
    apply(&mut store, Command::Put(keep_value("k")));
    let kv = store.view().get(b"k").expect("it was put");
    assert_eq!((kv.value(), kv.fields().version), (&b"v"[..], 2));
    let keep_lease = Put { key: "k".into(), value: "w".into(), ignore_lease: true, ..Put::default() };
    apply(&mut store, Command::Put(keep_lease.clone()));
    assert_eq!(store.view().get(b"k").expect("it was put").value(), b"w");
    let missing = Command::Put(Put { key: "m".into(), ..keep_lease.clone() });
    assert_eq!(refused(&mut store, missing), CommandError::KeyNotFound);

    let both = Put { value: "x".into(), ..keep_value("k") };
    assert_eq!(Command::Put(both).validate(), Err(ValidateError::ValueProvided));
    let both = Put { lease: 1, ..keep_lease };
    assert_eq!(Command::Put(both).validate(), Err(ValidateError::LeaseProvided));
    let leased = Put { key: "k".into(), lease: 1, ..Put::default() };
    assert_eq!(refused(&mut store, Command::Put(leased)), CommandError::LeaseNotFound);
}

/// §4, delete: the number of deleted keys, and their versions in key order.
#[test]
fn delete_answers_with_the_number_and_versions_of_deleted_keys() {
    let mut store = five_keys();
    let Command::DeleteRange(mut request) = delete_range("b", "e") else { panic!("not a delete") };
    request.prev_kv = true;
    let Response::DeleteRange(result) = apply(&mut store, Command::DeleteRange(request)).response else {
        panic!("not a delete's answer")
    };
    assert_eq!((result.deleted, result.revision), (3, Revision(7)));
    assert_eq!(result.prev_kvs.iter().map(KeyValue::key).collect::<Vec<_>>(), [b"b", b"c", b"d"]);
    assert_eq!(keys(&read(&store, &all())), [b"a", b"e"]);
}

/// §4, transaction: all comparisons, also nested ones, are evaluated before any operation.
#[test]
fn nested_comparisons_do_not_see_changes_of_their_transaction() {
    let mut store = Store::new();
    let missing = compare("k", Relation::Equal, Operand::Version(0));
    let nested = txn(vec![missing], vec![op(put("then", ""))], vec![op(put("else", ""))]);
    let result = txn_result(apply(&mut store, txn(vec![], vec![op(put("k", "v")), op(nested)], vec![])));
    assert!(matches!(&result.responses[1], OpResult::Txn(nested) if nested.succeeded));
    assert_eq!(keys(&read(&store, &all())), [&b"k"[..], b"then"]);
}

/// §4, transaction: operations run in order and see earlier changes. §2: each reports the revision of its moment.
#[test]
fn operations_see_earlier_changes_at_the_next_revision() {
    let mut store = Store::new();
    let ops = vec![get("k"), op(put("k", "1")), get("k"), op(delete("x")), op(delete_range("l", "z"))];
    let outcome = apply(&mut store, txn(vec![], ops, vec![]));
    assert_eq!(outcome.revision, Revision(2));
    let result = txn_result(outcome);
    let seen = result.responses.iter().map(|response| match response {
        OpResult::Range(range) => (range.revision.0, range.count),
        OpResult::Put(put) => (put.revision.0, 1),
        OpResult::DeleteRange(delete) => (delete.revision.0, delete.deleted),
        OpResult::Txn(_) => panic!("none was nested"),
    });
    assert_eq!(seen.collect::<Vec<_>>(), [(1, 0), (2, 1), (2, 1), (2, 0), (2, 0)]);
}

/// §4, transaction: for a missing key VALUE never holds, and other targets compare with 0.
#[test]
fn a_missing_key_compares_as_0_but_has_no_value() {
    let mut store = Store::new();
    let mut holds = |relation, operand| {
        txn_result(apply(&mut store, txn(vec![compare("missing", relation, operand)], vec![], vec![]))).succeeded
    };
    for operand in [Operand::Version(0), Operand::CreateRevision(0), Operand::ModRevision(0), Operand::Lease(0)] {
        assert!(holds(Relation::Equal, operand));
    }
    for relation in [Relation::Equal, Relation::NotEqual, Relation::Greater, Relation::Less, Relation::from(9)] {
        assert!(!holds(relation, Operand::Value(Bytes::new())));
    }
    assert!(holds(Relation::from(9), Operand::Version(5)), "etcd lets an unknown relation hold");
}

/// §4, transaction: a comparison must hold for every key of its interval; an empty interval counts as a missing key.
#[test]
fn a_comparison_of_an_interval_holds_if_it_holds_for_every_key() {
    let mut store = five_keys();
    let mut holds = |key: &'static str, range_end: &'static str, given| {
        let operand = Operand::CreateRevision(given);
        let interval = Compare { range_end: range_end.into(), ..compare(key, Relation::Greater, operand) };
        txn_result(apply(&mut store, txn(vec![interval], vec![], vec![]))).succeeded
    };
    assert!(holds("a", "c", 1));
    assert!(!holds("a", "c", 2));
    assert!(holds("b", "\0", 2));
    assert!(!holds("x", "z", 0), "0 is not greater than 0");
    assert!(holds("x", "z", -1));
}

/// §4, transaction: the branch taken is checked before it runs; the first error aborts all; the other branch is not checked.
#[test]
fn an_error_in_the_branch_taken_aborts_everything() {
    let mut store = Store::new();
    let future = || Op::Range(Range { revision: 99, ..all() });
    let leased = Op::Put(Put { key: "l".into(), lease: 3, ..Put::default() });
    let keeping = Op::Put(Put { key: "m".into(), ignore_value: true, ..Put::default() });
    for (bad, error) in [
        (future(), CommandError::FutureRevision),
        (leased, CommandError::LeaseNotFound),
        (keeping, CommandError::KeyNotFound),
        (op(txn(vec![], vec![future()], vec![])), CommandError::FutureRevision),
    ] {
        assert_eq!(refused(&mut store, txn(vec![], vec![op(put("k", "v")), bad.clone()], vec![])), error);
        assert_eq!((store.view().revision(), store.view().version_count()), (Revision(1), 0));
        apply(&mut store, txn(vec![], vec![], vec![bad]));
    }
}

/// §4: a transaction of ranges only does not go through the log: a view gives the same answer.
#[test]
fn a_view_runs_transactions_of_ranges_only() {
    let mut store = five_keys();
    let compares = vec![compare("a", Relation::Equal, Operand::Value("3".into()))];
    let Command::Txn(reading) = txn(compares, vec![get("a"), get("c")], vec![get("b")]) else { panic!("not a txn") };
    assert!(reading.is_read_only());
    let through_view = store.view().txn(&reading).expect("it is valid");
    assert_eq!(txn_result(apply(&mut store, Command::Txn(reading))), through_view);

    let Command::Txn(nesting) = txn(vec![], vec![op(txn(vec![], vec![], vec![]))], vec![]) else { panic!("not a txn") };
    assert!(!nesting.is_read_only(), "etcd counts a nested transaction as a write");
    assert!(store.view().txn(&nesting).is_err());
}

/// §4, transaction: at most 128 in each list; for a nested one, 128 less the largest count of its parent.
#[test]
fn validation_limits_operations() {
    let puts = |count: usize| -> Vec<Op> { (0..count).map(|number| op(put(&format!("k{number}"), ""))).collect() };
    let compares = vec![compare("k", Relation::Equal, Operand::Version(0)); 129];
    assert_eq!(txn(vec![], puts(128), puts(128)).validate(), Ok(()));
    assert_eq!(txn(vec![], puts(129), vec![]).validate(), Err(ValidateError::TooManyOps));
    assert_eq!(txn(vec![], vec![], puts(129)).validate(), Err(ValidateError::TooManyOps));
    assert_eq!(txn(compares, vec![], vec![]).validate(), Err(ValidateError::TooManyOps));

    let nesting = |inside: usize| {
        let mut ops = vec![op(txn(vec![], puts(inside), vec![]))];
        ops.extend((0..27).map(|_| get("k")));
        txn(vec![], ops, vec![])
    };
    assert_eq!(nesting(100).validate(), Ok(()));
    assert_eq!(nesting(101).validate(), Err(ValidateError::TooManyOps));
}

/// §4, transaction: limits are checked first, then empty keys and operations in their order, then duplicates.
#[test]
fn validation_checks_in_order() {
    let too_many_and_empty = txn(vec![], vec![op(put("", "")); 129], vec![]);
    assert_eq!(too_many_and_empty.validate(), Err(ValidateError::TooManyOps));
    let empty_compare = txn(vec![compare("", Relation::Equal, Operand::Version(0))], vec![Op::Empty], vec![]);
    assert_eq!(empty_compare.validate(), Err(ValidateError::EmptyKey));
    assert_eq!(txn(vec![], vec![Op::Empty], vec![]).validate(), Err(ValidateError::EmptyOp));
    let twice_and_empty = txn(vec![], vec![op(put("k", "")), op(put("k", ""))], vec![Op::Empty]);
    assert_eq!(twice_and_empty.validate(), Err(ValidateError::EmptyOp));
}

/// §4, transaction: a key is not put twice, nor put and deleted, at any depth along one path of branches.
#[test]
fn validation_refuses_a_key_that_is_written_twice() {
    let refuses = |ops: Vec<Op>| match txn(vec![], ops, vec![]).validate() {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error, ValidateError::DuplicateKey);
            true
        }
    };
    let nested = |success: Vec<Op>, failure: Vec<Op>| op(txn(vec![], success, failure));
    let put_k = || op(put("k", ""));

    assert!(refuses(vec![put_k(), put_k()]));
    assert!(refuses(vec![put_k(), op(delete("k"))]));
    assert!(refuses(vec![op(delete_range("a", "z")), put_k()]));
    assert!(refuses(vec![put_k(), nested(vec![put_k()], vec![])]));
    assert!(refuses(vec![put_k(), nested(vec![], vec![nested(vec![put_k()], vec![])])]));
    assert!(refuses(vec![op(delete("k")), nested(vec![], vec![put_k()])]));
    assert!(refuses(vec![nested(vec![op(delete_range("j", "l"))], vec![]), put_k()]));
    assert!(refuses(vec![nested(vec![put_k()], vec![]), nested(vec![put_k()], vec![])]));

    assert!(!refuses(vec![nested(vec![put_k()], vec![put_k()])]), "only one branch runs");
    assert!(
        !refuses(vec![op(delete_range("a", "z")), op(delete("k")), op(delete_range("b", "l"))]),
        "deletes may overlap"
    );
    assert!(!refuses(vec![op(delete_range("a", "k")), put_k(), op(delete_range("l", "m"))]), "the end is not deleted");
    assert!(!refuses(vec![put_k(), op(delete_range("a", "\0"))]), "etcd overlooks this one");
}

/// §4, transaction: the overlap that etcd 3.7.3 overlooks. Both changes happen, in order, at one revision.
#[test]
fn a_key_put_and_deleted_in_one_transaction_is_gone() {
    let mut store = Store::new();
    let outcome = apply(&mut store, txn(vec![], vec![op(put("k", "1")), op(delete_range("k", "\0"))], vec![]));
    assert_eq!(outcome.revision, Revision(2));
    assert_eq!((store.view().get(b"k"), store.view().version_count()), (None, 2));
    let again = txn(vec![], vec![op(put("k", "2")), op(delete_range("a", "\0"))], vec![]);
    apply(&mut store, again);
    apply(&mut store, put("k", "3"));
    assert_eq!(read(&store, &Range { revision: 3, ..all() }).count, 0);
    apply(&mut store, compact(4));
    store.compact_slice(100);
    assert_eq!((store.view().version_count(), read(&store, &all()).count), (1, 1));
}

fn alarm(action: AlarmAction, kind: AlarmKind) -> Command {
    Command::Alarm(AlarmChange { action, alarm: Alarm { kind, member: 9 } })
}

/// §6: raising twice and clearing twice succeed; clearing nothing answers without an alarm.
#[test]
fn alarms_are_raised_and_cleared_once() {
    let mut store = Store::new();
    let no_space = Alarm { kind: AlarmKind::NoSpace, member: 9 };
    for (action, answer) in [
        (AlarmAction::Deactivate, None),
        (AlarmAction::Activate, Some(no_space)),
        (AlarmAction::Activate, Some(no_space)),
        (AlarmAction::Deactivate, Some(no_space)),
        (AlarmAction::Deactivate, None),
    ] {
        let outcome = apply(&mut store, alarm(action, AlarmKind::NoSpace));
        assert_eq!((outcome.revision, outcome.response), (Revision(1), Response::Alarm(answer)));
    }
    assert_eq!(store.view().alarms().len(), 0);
}

/// §6: NOSPACE refuses commands with a put, in whichever branch; the rest works.
#[test]
fn no_space_refuses_commands_with_a_put_and_nothing_else() {
    let mut store = five_keys();
    apply(&mut store, alarm(AlarmAction::Activate, AlarmKind::NoSpace));
    assert_eq!(refused(&mut store, put("a", "")), CommandError::NoSpace);
    let in_failure = txn(vec![], vec![], vec![op(txn(vec![], vec![op(put("x", ""))], vec![]))]);
    assert_eq!(refused(&mut store, in_failure), CommandError::NoSpace);
    apply(&mut store, delete("a"));
    apply(&mut store, txn(vec![], vec![op(delete("b"))], vec![get("c")]));
    apply(&mut store, compact(7));
    assert_eq!(store.view().alarms().collect::<Vec<_>>(), [Alarm { kind: AlarmKind::NoSpace, member: 9 }]);
    apply(&mut store, alarm(AlarmAction::Deactivate, AlarmKind::NoSpace));
    apply(&mut store, put("a", ""));
}

/// §6: CORRUPT refuses writes and compaction; reads work.
#[test]
fn corrupt_refuses_every_write() {
    let mut store = five_keys();
    apply(&mut store, alarm(AlarmAction::Activate, AlarmKind::Corrupt));
    for command in [put("a", ""), delete("a"), txn(vec![], vec![], vec![]), compact(3)] {
        assert_eq!(refused(&mut store, command), CommandError::Corrupt);
    }
    assert_eq!(read(&store, &all()).count, 5);
    apply(&mut store, alarm(AlarmAction::Deactivate, AlarmKind::Corrupt));
    apply(&mut store, delete("a"));
}

/// §6: a put costs 256 + key + value, a transaction as much as its more expensive branch.
#[test]
fn the_quota_charges_what_etcd_charges() {
    assert_eq!(put("key", "value").cost_bytes(), 256 + 3 + 5);
    assert_eq!(delete("key").cost_bytes(), 0);
    let nested = op(txn(vec![], vec![op(put("k", "")), op(put("l", ""))], vec![]));
    assert_eq!(txn(vec![], vec![op(put("k", "1"))], vec![nested, get("k")]).cost_bytes(), 2 * 257);
}

/// §2: removal shows in the size.
#[test]
fn size_follows_the_content() {
    let mut store = Store::new();
    let empty = store.view().size_bytes();
    let mut last = empty;
    for number in 0..100 {
        apply(&mut store, put(&format!("k{number}"), &"v".repeat(1000)));
        let size = store.view().size_bytes();
        assert!((1000..1400).contains(&(size - last)), "the overhead is small");
        last = size;
    }
    apply(&mut store, delete_range("k", "\0"));
    apply(&mut store, put("other", ""));
    apply(&mut store, compact(103));
    store.compact_slice(1000);
    apply(&mut store, delete("other"));
    apply(&mut store, put("last", ""));
    apply(&mut store, compact(105));
    store.compact_slice(1000);
    assert_eq!(store.view().version_count(), 1);
    assert!(store.view().size_bytes() < 300);
}
