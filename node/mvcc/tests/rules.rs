//! A test for each rule of `node/mvcc/docs/etcd_rules.md`. The comment of a test begins with the section of the rule.

#[path = "rules/requests.rs"]
mod requests;
#[path = "rules/transactions.rs"]
mod transactions;

use mvcc::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, Command, CommandError, FeatureLevel, KeyValue, Op, Outcome, Put, Range,
    RangeError, RangeResult, Removal, Response, Revision, SortOrder, SortTarget, Store, TxnResult, ValidateError,
};
use requests::{all, apply, compact, delete, delete_range, get, op, put, range_of, refused, txn};

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

/// §2: a put increments the counters of a key, and a delete ends the key's generation.
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

/// §2: the header has the store's revision, even if the read is at an older revision.
#[test]
fn an_old_read_has_the_newest_revision_in_its_header() {
    let mut store = Store::new();
    apply(&mut store, put("k", "1"));
    apply(&mut store, put("k", "2"));
    let old = read(&store, &Range { revision: 2, ..range_of("k", "") });
    assert_eq!((old.revision, old.kvs[0].value()), (Revision(3), &b"1"[..]));
}

/// §2: a compaction at or below the mark or above the store's revision is refused, and reads at or above the mark still work.
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

/// §2: the mark is −1 before the first compaction, so a compaction at 0 succeeds once.
#[test]
fn compaction_at_0_succeeds_once() {
    let mut store = Store::new();
    assert_eq!(refused(&mut store, compact(-1)), CommandError::Compacted);
    apply(&mut store, compact(0));
    assert_eq!(refused(&mut store, compact(0)), CommandError::Compacted);
}

/// §2: compaction keeps the newest version of a key at or below the mark. A tombstone exactly at the mark stays until the next
/// compaction.
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

/// §2: compacted versions are removed in slices, and the removal is visible only in the size.
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

/// §1: `range_end` selects one key, an interval, or all following keys.
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

/// §3: a read at a revision of 0 or less returns the newest content. A read at a future revision is refused.
#[test]
fn a_negative_revision_reads_the_newest_content_outside_transactions() {
    let mut store = Store::new();
    apply(&mut store, put("k", "1"));
    assert_eq!(read(&store, &Range { revision: -7, ..all() }).count, 1);
    assert_eq!(store.view().range(&Range { revision: 3, ..all() }), Err(RangeError::FutureRevision));
}

/// §3: inside a transaction, a negative revision is compared with the compaction mark, which is −1 before the first
/// compaction.
#[test]
fn a_negative_revision_is_compacted_inside_transactions() {
    let mut store = Store::new();
    let reading = |revision| txn(vec![], vec![Op::Range(Range { revision, ..all() })], vec![]);
    apply(&mut store, reading(-1));
    assert_eq!(refused(&mut store, reading(-2)), CommandError::Compacted);
    apply(&mut store, compact(0));
    assert_eq!(refused(&mut store, reading(-1)), CommandError::Compacted);
}

/// §1, §3: empty keys and unknown sort options are refused.
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

/// §3: the count covers the whole interval. `more` is true if the keys that pass the filters exceed the limit.
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

/// §3: with `count_only` the answer has no keys, and `more` is false.
#[test]
fn count_only_answers_with_the_count_and_nothing_else() {
    let counted = read(&five_keys(), &Range { count_only: true, limit: 2, ..all() });
    assert_eq!((counted.count, counted.kvs.len(), counted.more), (5, 0, false));
}

/// §3: without an order, a target other than KEY sorts the answer in ascending order. At most `limit` + 1 keys, the
/// first in key order, are sorted. All other keys are dropped before the sort.
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

/// §3: every sort target sorts in ascending and in descending order.
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

/// §4, put: with `prev_kv` the answer has the version that was replaced.
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

/// §4, put: `ignore_value` keeps the value, `ignore_lease` keeps the lease, and an unknown lease is refused.
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

/// §4, delete: the answer has the number of deleted keys and, with `prev_kv`, their versions in key order.
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

fn alarm(action: AlarmAction, kind: AlarmKind) -> Command {
    Command::Alarm(AlarmChange { action, alarm: Alarm { kind, member: 9 } })
}

/// §6: raising an alarm twice and clearing it twice succeed. If there is nothing to clear, the answer has no alarm.
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

/// The level grows or stays. It is no part of the keyspace, so neither the revision nor the hash changes, and no alarm
/// refuses it.
#[test]
fn the_feature_level_only_grows() {
    let mut store = five_keys();
    assert_eq!(store.view().level(), FeatureLevel::FIRST);
    apply(&mut store, alarm(AlarmAction::Activate, AlarmKind::Corrupt));
    let before = store.view();
    for (to, level) in [(3, 3), (2, 3), (0, 3), (3, 3), (4, 4)] {
        let outcome = apply(&mut store, Command::RaiseFeatureLevel { to: FeatureLevel(to) });
        assert_eq!((outcome.revision, outcome.response), (before.revision(), Response::RaiseFeatureLevel));
        assert_eq!(store.view().level(), FeatureLevel(level));
    }
    assert_eq!(store.view().hash_kv(0), before.hash_kv(0));
    assert_eq!(before.level(), FeatureLevel::FIRST, "a view does not change");
}

/// §6: while NOSPACE is raised, a command with a put in any branch is refused, and all other commands work.
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

/// §6: while CORRUPT is raised, writes and compaction are refused, and reads work.
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

/// §6: a put costs 256 plus the lengths of key and value. A transaction costs as much as its more expensive branch.
#[test]
fn the_quota_charges_what_etcd_charges() {
    assert_eq!(put("key", "value").cost_bytes(), 256 + 3 + 5);
    assert_eq!(delete("key").cost_bytes(), 0);
    let nested = op(txn(vec![], vec![op(put("k", "")), op(put("l", ""))], vec![]));
    assert_eq!(txn(vec![], vec![op(put("k", "1"))], vec![nested, get("k")]).cost_bytes(), 2 * 257);
}

/// §2: the size grows with puts and falls when compacted versions are removed.
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
