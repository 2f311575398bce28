//! Owns the estimate of how much work a transaction causes, and the limit of this work. Does not own the execution of
//! transactions (`txn`) or the cost that the quota charges (`command`).
//!
//! The unit of cost is one key of the index that is visited. Other work is a multiple of this unit.

use crate::command::{Compare, Op, Operand, Range, Txn};
use crate::index::Interval;
use crate::keyspace::Keyspace;
use crate::range;

/// Cost of a key whose version is read or written.
const VERSION_COST: u64 = 8;
/// Factor of the cost of a key whose value is compared, where the time of one read matters. Values may be long and begin
/// alike.
pub(crate) const LONG_VALUES: u64 = 256;
/// Factor of the same cost for values of usual lengths.
const USUAL_VALUES: u64 = 1;
/// Cost that is allowed in every store. Such a transaction runs for some tens of milliseconds.
const ALLOWED_COST: u64 = 4_000_000;
/// Number of operations on all keys that one transaction may have in every store.
const ALLOWED_PASSES: u64 = 3;

/// Returns whether a transaction would visit too many keys. The cost of this check is logarithmic in the number of keys
/// for each operation on an interval.
pub(crate) fn is_too_expensive(space: &Keyspace, txn: &Txn) -> bool {
    let cost = cost(space, txn, USUAL_VALUES);
    cost > ALLOWED_COST && cost > cost_max(keys(space, Interval::From(&[])))
}

/// Maximum cost of a transaction in a store of this many keys.
fn cost_max(keys: u64) -> u64 {
    ALLOWED_COST + ALLOWED_PASSES * VERSION_COST * keys
}

/// Cost of a transaction that takes the more expensive of its branches, also in nested transactions. `values` is the
/// factor of the cost of keys whose values are compared.
pub(crate) fn cost(space: &Keyspace, txn: &Txn, values: u64) -> u64 {
    let compare: u64 = txn.compare.iter().map(|compare| compare_cost(space, compare, values)).sum();
    let branch = |ops: &[Op]| ops.iter().map(|op| op_cost(space, op, values)).sum::<u64>();
    compare + branch(&txn.success).max(branch(&txn.failure))
}

fn compare_cost(space: &Keyspace, compare: &Compare, values: u64) -> u64 {
    let keys = keys(space, Interval::new(&compare.key, &compare.range_end));
    match compare.operand {
        Operand::Value(_) if keys > 1 => VERSION_COST * keys * values,
        Operand::Value(_) => VERSION_COST,
        _ => keys,
    }
}

fn op_cost(space: &Keyspace, op: &Op, values: u64) -> u64 {
    match op {
        Op::Range(range) => range_cost(space, range, values),
        Op::Put(_) => VERSION_COST,
        Op::DeleteRange(delete) => VERSION_COST * keys(space, Interval::new(&delete.key, &delete.range_end)),
        Op::Txn(nested) => cost(space, nested, values),
        Op::Empty => 0,
    }
}

/// Estimate of the cost of a range.
pub(crate) fn range_cost(space: &Keyspace, range: &Range, values: u64) -> u64 {
    let keys = keys(space, Interval::new(&range.key, &range.range_end));
    let cost = VERSION_COST * keys.min(range::visited_max(space, range));
    if keys > 1 && range::compares_values(range) { values * cost } else { cost }
}

/// Number of keys that a scan of an interval visits. Keys that were deleted count until the index drops them.
fn keys(space: &Keyspace, interval: Interval<'_>) -> u64 {
    match interval {
        // The most frequent case needs no lookup.
        Interval::Key(_) => 1,
        interval => space.index.count_keys(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::command::{Command, DeleteRange, Put, Relation, SortOrder, SortTarget};

    const KEYS: u64 = 100;

    /// Returns a store of 100 keys, half of which are deleted.
    fn store() -> Store {
        let mut store = Store::new();
        for number in 0..KEYS {
            let put = Put { key: format!("k{number:02}").into(), ..Put::default() };
            store.apply(0, &Command::Put(put)).expect("a plain put succeeds");
        }
        let delete = DeleteRange { key: "k50".into(), range_end: "l".into(), prev_kv: false };
        store.apply(0, &Command::DeleteRange(delete)).expect("a delete succeeds");
        store
    }

    fn of_ops(success: Vec<Op>) -> Txn {
        Txn { success, ..Txn::default() }
    }

    fn all() -> Range {
        Range { key: "k".into(), range_end: "l".into(), ..Range::default() }
    }

    fn delete_all() -> Op {
        Op::DeleteRange(DeleteRange { key: "k".into(), range_end: "l".into(), prev_kv: false })
    }

    fn compare_all(operand: Operand) -> Compare {
        Compare { key: "k".into(), range_end: "l".into(), relation: Relation::Greater, operand }
    }

    #[test]
    fn an_operation_costs_what_it_visits() {
        let store = store();
        let read = |range| cost(&store.space, &of_ops(vec![Op::Range(range)]), USUAL_VALUES);
        assert_eq!(read(Range { range_end: "".into(), ..all() }), 8, "one key, whether or not it exists");
        assert_eq!(read(all()), 800, "deleted keys are visited until the index drops them");
        assert_eq!(read(Range { key: "k90".into(), ..all() }), 80);
        assert_eq!(read(Range { limit: 4, ..all() }), 40, "one key more shows whether more follow");
        assert_eq!(read(Range { limit: 4, min_mod_revision: 7, ..all() }), 800, "a filter visits keys that it omits");
        assert_eq!(read(Range { limit: 4, revision: 7, ..all() }), 800, "changed keys are visited to count them");
        let now = store.space.revision.0;
        assert_eq!(read(Range { limit: 4, revision: now, ..all() }), 40, "no key has changed since");
        let by_value = Range { sort_target: SortTarget::Value, sort_order: SortOrder::Ascend, ..all() };
        assert_eq!(read(by_value.clone()), 800);
        assert_eq!(range_cost(&store.space, &by_value, LONG_VALUES), 800 * LONG_VALUES);
        assert_eq!(read(Range { count_only: true, ..all() }), 8, "the index counts subtrees");
        assert_eq!(cost(&store.space, &of_ops(vec![delete_all()]), USUAL_VALUES), 800);
        assert_eq!(cost(&store.space, &of_ops(vec![Op::Put(Put::default())]), USUAL_VALUES), 8);

        let compare = |operand| Txn { compare: vec![compare_all(operand)], ..Txn::default() };
        assert_eq!(cost(&store.space, &compare(Operand::Version(0)), USUAL_VALUES), 100);
        let by_value = compare(Operand::Value("v".into()));
        assert_eq!(cost(&store.space, &by_value, USUAL_VALUES), 800);
        assert_eq!(cost(&store.space, &by_value, LONG_VALUES), 800 * LONG_VALUES);
    }

    #[test]
    fn a_transaction_costs_its_comparisons_and_its_more_expensive_branch() {
        let store = store();
        let nested = Txn {
            compare: vec![compare_all(Operand::Version(0))],
            success: vec![],
            failure: vec![delete_all(), Op::Put(Put::default())],
        };
        assert_eq!(cost(&store.space, &nested, USUAL_VALUES), 100 + 808);
        let outer = Txn {
            compare: vec![compare_all(Operand::Lease(0))],
            success: vec![Op::Txn(nested.clone()), Op::Txn(nested)],
            failure: vec![Op::Range(all())],
        };
        assert_eq!(cost(&store.space, &outer, USUAL_VALUES), 100 + 2 * 908);
    }

    #[test]
    fn three_operations_on_all_keys_are_allowed_in_every_store() {
        let store = store();
        let passes = cost(&store.space, &of_ops(vec![delete_all(), Op::Range(all()), Op::Range(all())]), USUAL_VALUES);
        assert_eq!(passes, ALLOWED_PASSES * VERSION_COST * KEYS);
        assert!(cost_max(1_000_000) > ALLOWED_PASSES * VERSION_COST * 1_000_000, "beside other operations");
        assert!(!is_too_expensive(&store.space, &of_ops(vec![delete_all(); 128])), "a small store allows more passes");
    }

    #[test]
    fn many_comparisons_of_all_keys_are_too_expensive_in_a_large_store() {
        let store = store();
        let txn = Txn { compare: vec![compare_all(Operand::Version(0)); 128], ..Txn::default() };
        assert!(cost(&store.space, &txn, USUAL_VALUES) / KEYS * 1_000_000 > cost_max(1_000_000));
    }
}
