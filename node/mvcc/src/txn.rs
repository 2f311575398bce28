//! Owns transactions: first all comparisons, then all checks, then the operations of the branches taken. Does not own the effect
//! of a single operation (`write`, `range`).

use std::cmp::Ordering;

use crate::command::{Compare, Op, Operand, Put, Range, Relation, Txn, ValidateError};
use crate::index::Interval;
use crate::key_value::Fields;
use crate::keyspace::Keyspace;
use crate::outcome::{CommandError, OpResult, RangeResult, TxnResult};
use crate::range;
use crate::revision::Revision;
use crate::write::Write;

/// The branch that each transaction takes; true means `success`. The order is depth-first: the outermost transaction
/// comes first, and each transaction comes before the transactions nested in the branch that it takes.
pub(crate) type Path = Vec<bool>;

/// Evaluates the comparisons of a transaction, and of the nested transactions in the branches taken, before any
/// operation runs. Returns the branches taken.
pub(crate) fn compare(space: &Keyspace, txn: &Txn) -> Path {
    let mut path = Path::new();
    compare_into(space, txn, &mut path);
    debug_assert!(!path.is_empty(), "the path has a step for each transaction on it");
    path
}

fn compare_into(space: &Keyspace, txn: &Txn, path: &mut Path) {
    let holds = txn.compare.iter().all(|compare| compare_holds(space, compare));
    path.push(holds);
    for op in branch(txn, holds) {
        if let Op::Txn(nested) = op {
            compare_into(space, nested, path);
        }
    }
}

fn branch(txn: &Txn, success: bool) -> &[Op] {
    if success { &txn.success } else { &txn.failure }
}

fn compare_holds(space: &Keyspace, compare: &Compare) -> bool {
    let mut live = space
        .index
        .scan(Interval::new(&compare.key, &compare.range_end))
        .filter(|(_, entry)| entry.is_live())
        .map(|(_, entry)| space.version(entry).fields())
        .peekable();
    if live.peek().is_none() {
        return match compare.operand {
            Operand::Value(_) => false,
            _ => fields_satisfy(&Fields::default(), compare),
        };
    }
    live.all(|fields| fields_satisfy(&fields, compare))
}

fn fields_satisfy(fields: &Fields<'_>, compare: &Compare) -> bool {
    let ordering = match &compare.operand {
        Operand::Version(given) => fields.version.cmp(given),
        Operand::CreateRevision(given) => fields.create_revision.cmp(given),
        Operand::ModRevision(given) => fields.mod_revision.cmp(given),
        Operand::Value(given) => fields.value.cmp(given),
        Operand::Lease(given) => fields.lease.cmp(given),
        Operand::Unrecognized(_) => Ordering::Equal,
    };
    match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Unrecognized(_) => true,
    }
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
    if put.lease != 0 {
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
            Op::Range(range) => OpResult::Range(run_range(write.space, range, write.revision())),
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
    range::run(space, range, now).expect("its revision and sort option were checked before the first operation")
}

/// Runs a transaction that consists of ranges only.
pub(crate) fn read(space: &Keyspace, txn: &Txn) -> Result<TxnResult, CommandError> {
    let path = compare(space, txn);
    check(space, txn, &path)?;
    let succeeded = path[0];
    let responses = branch(txn, succeeded)
        .iter()
        .map(|op| match op {
            Op::Range(range) => Ok(OpResult::Range(run_range(space, range, space.revision))),
            _ => Err(CommandError::Invalid(ValidateError::EmptyOp)),
        })
        .collect::<Result<_, _>>()?;
    Ok(TxnResult { succeeded, responses })
}
