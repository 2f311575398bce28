//! Compares the hash of the keyspace (HashKV) with the hashes that a real etcd 3.7.3 returned after the same commands.

#[path = "rules/requests.rs"]
mod requests;

use mvcc::{RangeError, Store};
use requests::{apply, compact, delete, delete_range, op, put, txn};

/// Asserts the hash both before and after compacted versions are removed.
fn assert_hash(store: &mut Store, revision: i64, hash: u32) {
    for _ in 0..2 {
        let result = store.view().hash_kv(revision).expect("it can be read");
        assert_eq!((result.hash, result.compact_revision), (hash, store.view().compact_revision()), "at {revision}");
        store.compact_slice(1000);
    }
}

#[test]
fn hashes_are_those_of_etcd() {
    let mut store = Store::new();
    assert_hash(&mut store, 0, 1_084_519_789);
    for command in [put("a", "1"), put("b", &"2".repeat(300)), put("a", "")] {
        apply(&mut store, command);
    }
    assert_hash(&mut store, 0, 2_423_376_648);
    assert_hash(&mut store, 2, 2_587_454_935);
    assert_hash(&mut store, 3, 2_061_581_818);
    apply(&mut store, delete("a"));
    assert_hash(&mut store, 0, 2_242_647_341);
    let ops = [put("c", "x"), put("d", "y"), delete("b"), put("a", "again")].map(op).to_vec();
    apply(&mut store, txn(vec![], ops, vec![]));
    assert_hash(&mut store, 0, 3_065_953_557);
    apply(&mut store, put("c", "z"));
    apply(&mut store, delete_range("c", "e"));
    assert_hash(&mut store, 0, 802_256_850);

    apply(&mut store, compact(5));
    assert_hash(&mut store, 0, 996_218_656);
    assert_hash(&mut store, 6, 3_477_519_683);
    assert_eq!(store.view().hash_kv(4), Err(RangeError::Compacted));
    apply(&mut store, compact(6));
    assert_hash(&mut store, 0, 3_408_363_868);
    assert_hash(&mut store, 7, 2_240_882_774);
    apply(&mut store, compact(8));
    assert_hash(&mut store, 0, 3_432_259_566);

    apply(&mut store, delete_range("\0", "\0"));
    assert_hash(&mut store, 0, 2_806_585_111);
    apply(&mut store, put("e", "1"));
    assert_hash(&mut store, 9, 2_806_585_111);
    assert_hash(&mut store, 10, 12_254_728);
    apply(&mut store, compact(10));
    apply(&mut store, delete("e"));
    assert_hash(&mut store, 0, 2_193_943_185);
    apply(&mut store, compact(11));
    assert_hash(&mut store, 0, 1_084_519_789);
    apply(&mut store, txn(vec![], vec![op(put("k", "1")), op(delete_range("k", "\0"))], vec![]));
    assert_hash(&mut store, 0, 4_225_786_085);
    assert_eq!(store.view().hash_kv(13), Err(RangeError::FutureRevision));
}
