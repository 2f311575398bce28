//! Tests of the rules of transactions (section 4 of `node/mvcc/docs/etcd_rules.md`).

use bytes::Bytes;
use mvcc::{
    Command, CommandError, Compare, Op, OpResult, Operand, Put, Range, Relation, Revision, Store, ValidateError,
};

use super::requests::{all, apply, compact, compare, delete, delete_range, get, op, put, refused, txn};
use super::{five_keys, keys, read, txn_result};

/// §4, transaction: all comparisons, including comparisons of nested transactions, are evaluated before any operation runs.
#[test]
fn nested_comparisons_do_not_see_changes_of_their_transaction() {
    let mut store = Store::new();
    let missing = compare("k", Relation::Equal, Operand::Version(0));
    let nested = txn(vec![missing], vec![op(put("then", ""))], vec![op(put("else", ""))]);
    let result = txn_result(apply(&mut store, txn(vec![], vec![op(put("k", "v")), op(nested)], vec![])));
    assert!(matches!(&result.responses[1], OpResult::Txn(nested) if nested.succeeded));
    assert_eq!(keys(&read(&store, &all())), [&b"k"[..], b"then"]);
}

/// §4, transaction: operations run in order and see earlier changes. §2: each operation reports the store's revision when the
/// operation runs.
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

/// §4, transaction: for a missing key, a comparison of VALUE never holds, and the other targets count as 0.
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

/// §4, transaction: a comparison must hold for every key of its interval. An interval without keys counts as a missing key.
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

/// §4, transaction: the branch taken is checked before it runs, and the first error aborts the whole transaction. The other
/// branch is not checked.
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

/// §4: a transaction whose operations are all ranges does not go through the log, because a view gives the same answer.
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

/// §4, transaction: each list has at most 128 items. The limit of a nested transaction is the limit of its parent minus
/// the length of the parent's longest list.
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

/// §4, transaction: validation first checks the limits. Then it checks, in the order of the request, that no key is
/// empty and no operation is empty. Last, it checks that no key is written twice.
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

/// §4, transaction: along one path of branches, at any depth, no key may be put twice or be both put and deleted.
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

/// §4, transaction: etcd 3.7.3 does not notice this overlap of a put and a delete. Both changes happen, in order, at the same
/// revision.
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
