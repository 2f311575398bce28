//! Owns the measuring of a transaction's answer before the transaction runs. Does not own its cost (`txn_cost`), nor its
//! execution (`txn`).

use crate::command::{Op, Range, Txn};
use crate::keyspace::Keyspace;
use crate::meter::{Meter, ReadFailure};
use crate::range;
use crate::txn::{branch, check, compare_metered};

/// Measures the answer of a transaction on the present content. The content may change before a transaction that writes
/// is applied, and its own operations change it.
pub(crate) fn measure(space: &Keyspace, txn: &Txn, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
    if txn.is_read_only() {
        let path = compare_metered(space, txn, meter)?;
        check(space, txn, &path)?;
        return measure_all(space, branch(txn, path[0]), meter);
    }
    measure_larger(space, txn, meter)
}

/// Measures both branches, because which one a transaction takes is known when it is applied.
fn measure_larger(space: &Keyspace, txn: &Txn, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
    let before = meter.measured();
    measure_all(space, &txn.success, meter)?;
    let success = meter.measured();
    meter.set_measured(before);
    measure_all(space, &txn.failure, meter)?;
    meter.set_measured(success.max(meter.measured()));
    Ok(())
}

fn measure_all(space: &Keyspace, ops: &[Op], meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
    ops.iter().try_for_each(|op| match op {
        // What is refused is refused when it runs, as the path may not lead there.
        Op::Range(range) => match range::measure(space, range, space.revision, meter) {
            Err(ReadFailure::Refused(_)) => Ok(()),
            measured => measured,
        },
        Op::DeleteRange(delete) if delete.prev_kv => {
            let (key, range_end) = (delete.key.clone(), delete.range_end.clone());
            range::measure(space, &Range { key, range_end, ..Range::default() }, space.revision, meter)
        }
        Op::Txn(nested) => measure_larger(space, nested, meter),
        Op::Put(_) | Op::DeleteRange(_) | Op::Empty => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::command::{Command, Compare, DeleteRange, Operand, Put, Relation};
    use crate::meter::{Measured, ReadLimits};

    const VALUE_BYTES: usize = 1_000;

    fn store(keys: usize) -> Store {
        let mut store = Store::new();
        for number in 0..keys {
            let (key, value) = (format!("k{number:02}").into(), vec![7; VALUE_BYTES].into());
            store.apply(0, &Command::Put(Put { key, value, ..Put::default() })).expect("a plain put succeeds");
        }
        store
    }

    fn all() -> Range {
        Range { key: "k".into(), range_end: "l".into(), ..Range::default() }
    }

    fn measured(store: &Store, txn: &Txn) -> Measured {
        let mut meter = Meter::unlimited();
        measure(&store.space, txn, &mut meter).expect("a meter without limits stops nothing");
        meter.measured()
    }

    /// The measuring pass and the read itself measure the same, and what they measure is what is answered.
    #[test]
    fn a_read_is_as_large_as_it_was_measured() {
        let store = store(20);
        let limited = Range { limit: 7, ..all() };
        let ranges = [
            all(),
            limited.clone(),
            Range { keys_only: true, ..all() },
            Range { count_only: true, ..all() },
            Range { revision: 9, ..all() },
            Range { keys_only: true, revision: 9, ..limited },
        ];
        for range in ranges {
            let mut before = Meter::unlimited();
            store.view().measure_range(&range, &mut before).expect("it is measured");
            let mut meter = Meter::unlimited();
            let result = store.view().range_metered(&range, &mut meter).expect("it is read");
            assert_eq!(before.measured(), meter.measured(), "{range:?}");
            let bytes: usize = result.kvs.iter().map(|kv| kv.encoded().len()).sum();
            assert_eq!(meter.measured().bytes, bytes as u64, "{range:?}");
        }
    }

    #[test]
    fn many_ranges_are_refused_when_their_sum_passes_the_limit() {
        let store = store(20);
        let txn = Txn { success: vec![Op::Range(all()); 128], ..Txn::default() };
        let one = measured(&store, &Txn { success: vec![Op::Range(all())], ..Txn::default() }).bytes;
        assert_eq!(measured(&store, &txn).bytes, 128 * one);
        let limits = ReadLimits { answer_bytes: 2 * one, ..ReadLimits::NONE };
        let mut meter = Meter::new(limits, &|| true);
        let refused = measure(&store.space, &txn, &mut meter).expect_err("it is too large");
        let ReadFailure::TooLarge { bytes } = refused else { panic!("refused for another reason: {refused}") };
        assert!(bytes > 2 * one && bytes <= 2 * one + one / 20, "it stops at the first key too many: {bytes}");
        assert_eq!(store.view().txn_metered(&txn, &mut Meter::new(limits, &|| true)), Err(refused));
    }

    #[test]
    fn a_read_is_as_large_as_the_branch_that_it_takes_and_a_write_as_its_larger_one() {
        let store = store(10);
        let compare = Compare {
            key: "k00".into(),
            range_end: "".into(),
            relation: Relation::Equal,
            operand: Operand::Version(7),
        };
        let small = Op::Range(Range { limit: 1, ..all() });
        let large = Op::DeleteRange(DeleteRange { key: "k".into(), range_end: "l".into(), prev_kv: true });
        let read =
            Txn { compare: vec![compare.clone()], success: vec![Op::Range(all())], failure: vec![small.clone()] };
        assert_eq!(measured(&store, &read).versions, 2, "one more than the limit is collected");
        let write = Txn { compare: vec![compare], success: vec![large], failure: vec![small] };
        let nested = Txn { success: vec![Op::Txn(write.clone()), Op::Txn(write)], ..Txn::default() };
        assert_eq!(measured(&store, &nested).versions, 20);
    }
}
