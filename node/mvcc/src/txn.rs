//! Owns transactions: first all comparisons, then all checks, then the operations of the branches taken. Does not own the effect
//! of a single operation (`write`, `range`).

use std::cmp::Ordering;

use crate::command::{Compare, Op, Operand, Put, Range, Relation, Txn, ValidateError};
use crate::index::{Interval, KeyEntry};
use crate::keyspace::Keyspace;
use crate::meter::{Meter, ReadFailure};
use crate::outcome::{Answer, CommandError, OpResult, RangeResult, TxnResult};
use crate::range::{self, Extent};
use crate::revision::Revision;
use crate::write::Write;

/// The branch that each transaction takes; true means `success`. The order is depth-first: the outermost transaction
/// comes first, and each transaction comes before the transactions nested in the branch that it takes.
pub(crate) type Path = Vec<bool>;

/// Evaluates the comparisons of a transaction, and of the nested transactions in the branches taken, before any
/// operation runs. Returns the branches taken.
pub(crate) fn compare(space: &Keyspace, txn: &Txn) -> Path {
    compare_metered(space, txn, &mut Meter::unlimited()).expect("a meter without limits stops nothing")
}

/// The same, for a read that a meter may stop.
pub(crate) fn compare_metered(space: &Keyspace, txn: &Txn, meter: &mut Meter<'_>) -> Result<Path, ReadFailure> {
    let mut path = Path::new();
    compare_into(space, txn, &mut path, meter)?;
    debug_assert!(!path.is_empty(), "the path has a step for each transaction on it");
    Ok(path)
}

fn compare_into(space: &Keyspace, txn: &Txn, path: &mut Path, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
    let mut holds = true;
    for compare in &txn.compare {
        holds = compare_holds(space, compare, meter)?;
        if !holds {
            break;
        }
    }
    path.push(holds);
    for op in branch(txn, holds) {
        if let Op::Txn(nested) = op {
            compare_into(space, nested, path, meter)?;
        }
    }
    Ok(())
}

pub(crate) fn branch(txn: &Txn, success: bool) -> &[Op] {
    if success { &txn.success } else { &txn.failure }
}

fn compare_holds(space: &Keyspace, compare: &Compare, meter: &mut Meter<'_>) -> Result<bool, ReadFailure> {
    let mut is_empty = true;
    for (_, entry) in space.index.scan_live(Interval::new(&compare.key, &compare.range_end)) {
        is_empty = false;
        meter.visit()?;
        if !compare_holds_for(space, compare, Some(entry)) {
            return Ok(false);
        }
    }
    Ok(!is_empty || compare_holds_for(space, compare, None))
}

/// Returns whether a comparison holds for a live key, or for a missing key (`None`).
fn compare_holds_for(space: &Keyspace, compare: &Compare, entry: Option<KeyEntry>) -> bool {
    ordering(space, &compare.operand, entry).is_some_and(|ordering| match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Unrecognized(_) => true,
    })
}

/// The lease of every key, because [`check_put`] refuses all others.
const NO_LEASE: i64 = 0;

/// Returns the order of the stored field and the given value; `None` for the value of a missing key. All fields except
/// the value are read from the index, so that a comparison of an interval does not look up the version of each key.
fn ordering(space: &Keyspace, operand: &Operand, entry: Option<KeyEntry>) -> Option<Ordering> {
    let number = |field: fn(KeyEntry) -> i64| entry.map_or(0, field);
    Some(match operand {
        Operand::Version(given) => number(|entry| entry.version).cmp(given),
        Operand::CreateRevision(given) => number(|entry| entry.created.0).cmp(given),
        Operand::ModRevision(given) => number(|entry| entry.modified.0).cmp(given),
        Operand::Value(given) => space.version(entry?).value().cmp(given),
        Operand::Lease(given) => NO_LEASE.cmp(given),
        Operand::Unrecognized(_) => Ordering::Equal,
    })
}

/// Checks whether the present content allows every operation in the branches taken. Called before the first operation
/// runs, so that no operation can fail after an earlier operation has changed something.
pub(crate) fn check(space: &Keyspace, txn: &Txn, path: &[bool]) -> Result<(), CommandError> {
    let mut steps = path.iter();
    check_along(space, txn, &mut steps)?;
    assert!(steps.next().is_none(), "the path has a step for each transaction on it, and no more");
    Ok(())
}

type Steps<'a> = std::slice::Iter<'a, bool>;

fn next_branch<'t>(txn: &'t Txn, steps: &mut Steps<'_>) -> (bool, &'t [Op]) {
    let success = *steps.next().expect("the path has a step for each transaction on it");
    (success, branch(txn, success))
}

fn check_along(space: &Keyspace, txn: &Txn, steps: &mut Steps<'_>) -> Result<(), CommandError> {
    let (_, ops) = next_branch(txn, steps);
    ops.iter().try_for_each(|op| match op {
        Op::Range(range) => check_range(space, range),
        Op::Put(put) => check_put(space, put),
        Op::Txn(nested) => check_along(space, nested, steps),
        Op::DeleteRange(_) => Ok(()),
        Op::Empty => Err(CommandError::Invalid(ValidateError::EmptyOp)),
    })
}

/// Checks a range inside a transaction. Inside a transaction a negative revision is compared with the compaction mark, which is
/// −1 before the first compaction. Outside a transaction a negative revision means the newest revision (`docs/etcd_rules.md`
/// §3).
fn check_range(space: &Keyspace, range: &Range) -> Result<(), CommandError> {
    range.validate_sort()?;
    match range.revision {
        0 => Ok(()),
        asked if asked > space.revision.0 => Err(CommandError::FutureRevision),
        asked if asked < space.compacted.0 => Err(CommandError::Compacted),
        _ => Ok(()),
    }
}

/// Checks a put against the content.
pub(crate) fn check_put(space: &Keyspace, put: &Put) -> Result<(), CommandError> {
    if put.lease != NO_LEASE {
        return Err(CommandError::LeaseNotFound);
    }
    let needs_key = put.ignore_value || put.ignore_lease;
    if needs_key && !space.index.get(&put.key).is_some_and(|entry| entry.is_live()) {
        return Err(CommandError::KeyNotFound);
    }
    Ok(())
}

/// Runs the operations of the branches taken, in order. Each operation sees the changes of earlier operations.
pub(crate) fn run(write: &mut Write<'_>, txn: &Txn, path: &[bool]) -> TxnResult {
    let mut steps = path.iter();
    let result = run_along(write, txn, &mut steps);
    assert!(steps.next().is_none(), "the path has a step for each transaction on it, and no more");
    result
}

fn run_along(write: &mut Write<'_>, txn: &Txn, steps: &mut Steps<'_>) -> TxnResult {
    let (succeeded, ops) = next_branch(txn, steps);
    let responses = ops
        .iter()
        .map(|op| match op {
            Op::Range(range) => OpResult::Range(match write.answer {
                Answer::Wanted => run_range(write.space, range, write.revision()),
                Answer::Discarded => RangeResult::empty(write.revision()),
            }),
            Op::Put(put) => OpResult::Put(write.put(put)),
            Op::DeleteRange(delete) => OpResult::DeleteRange(write.delete_range(delete)),
            Op::Txn(nested) => OpResult::Txn(run_along(write, nested, steps)),
            Op::Empty => unreachable!("checked before the first operation"),
        })
        .collect::<Vec<_>>();
    debug_assert_eq!(responses.len(), ops.len(), "each operation that ran has an answer");
    TxnResult { succeeded, responses }
}

fn run_range(space: &Keyspace, range: &Range, now: Revision) -> RangeResult {
    let result = range::run(space, range, now, Extent::Whole, &mut Meter::unlimited());
    result.expect("its revision and sort option were checked before the first operation")
}

/// Runs a transaction that consists of ranges only.
pub(crate) fn read(space: &Keyspace, txn: &Txn, meter: &mut Meter<'_>) -> Result<TxnResult, ReadFailure> {
    let path = compare_metered(space, txn, meter)?;
    check(space, txn, &path)?;
    let succeeded = path[0];
    let responses = branch(txn, succeeded)
        .iter()
        .map(|op| match op {
            Op::Range(range) => range::run(space, range, space.revision, Extent::Whole, meter).map(OpResult::Range),
            _ => Err(CommandError::Invalid(ValidateError::EmptyOp).into()),
        })
        .collect::<Result<_, _>>()?;
    Ok(TxnResult { succeeded, responses })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::Store;
    use crate::command::{Command, DeleteRange};
    use crate::history::reads;
    use crate::key_value::KeyValue;

    fn key() -> impl Strategy<Value = Bytes> {
        prop::sample::select(vec!["a", "b", "ba", "c", "d"]).prop_map(Bytes::from)
    }

    fn change() -> impl Strategy<Value = Command> {
        let put = (key(), prop::sample::select(vec!["", "1", "2"]))
            .prop_map(|(key, value)| Command::Put(Put { key, value: value.into(), ..Put::default() }));
        let delete = key().prop_map(|key| Command::DeleteRange(DeleteRange { key, ..DeleteRange::default() }));
        prop_oneof![3 => put, 1 => delete]
    }

    fn comparison() -> impl Strategy<Value = Compare> {
        let operand = prop_oneof![
            (0..3i64).prop_map(Operand::Version),
            (0..12i64).prop_map(Operand::CreateRevision),
            (0..12i64).prop_map(Operand::ModRevision),
            prop::sample::select(vec!["", "1"]).prop_map(|value| Operand::Value(value.into())),
            (-1..2i64).prop_map(Operand::Lease),
            Just(Operand::Unrecognized(9)),
        ];
        let range_end = prop_oneof![Just(Bytes::new()), Just(Bytes::from("\0")), key()];
        (key(), range_end, (0..5i32).prop_map(Relation::from), operand)
            .prop_map(|(key, range_end, relation, operand)| Compare { key, range_end, relation, operand })
    }

    /// Evaluates a comparison on the stored versions, and does not use the counters of the index.
    fn holds_by_versions(space: &Keyspace, compare: &Compare) -> bool {
        let interval = Interval::new(&compare.key, &compare.range_end);
        let newest = space.index.scan(interval).filter_map(|(_, entry)| space.history.get(entry.place));
        let live: Vec<&KeyValue> = newest.filter(|version| !version.is_tombstone()).collect();
        let holds = |version: Option<&KeyValue>| {
            let fields = version.map(KeyValue::fields).unwrap_or_default();
            let ordering = match &compare.operand {
                Operand::Version(given) => fields.version.cmp(given),
                Operand::CreateRevision(given) => fields.create_revision.cmp(given),
                Operand::ModRevision(given) => fields.mod_revision.cmp(given),
                Operand::Value(_) if version.is_none() => return false,
                Operand::Value(given) => fields.value.cmp(given),
                Operand::Lease(given) => fields.lease.cmp(given),
                Operand::Unrecognized(_) => Ordering::Equal,
            };
            match compare.relation {
                Relation::Equal => ordering == Ordering::Equal,
                Relation::Greater => ordering == Ordering::Greater,
                Relation::Less => ordering == Ordering::Less,
                Relation::NotEqual => ordering != Ordering::Equal,
                Relation::Unrecognized(_) => true,
            }
        };
        if live.is_empty() { holds(None) } else { live.iter().all(|version| holds(Some(version))) }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

        #[test]
        fn comparison_by_the_index_equals_comparison_by_versions(
            changes in prop::collection::vec(change(), 0..12),
            comparisons in prop::collection::vec(comparison(), 1..20),
        ) {
            let mut store = Store::new();
            for change in &changes {
                store.apply(0, change).expect("plain puts and deletes succeed");
            }
            for compare in &comparisons {
                let (holds, read) = reads::counted(|| compare_holds(&store.space, compare, &mut Meter::unlimited()));
                prop_assert_eq!(holds, Ok(holds_by_versions(&store.space, compare)), "{:?}", compare);
                let reads_versions = matches!(compare.operand, Operand::Value(_));
                prop_assert!(reads_versions || read == 0, "{:?} read {} versions", compare, read);
            }
        }
    }
}
