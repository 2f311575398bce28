//! Owns short constructors of requests, for tests.

#![allow(dead_code, reason = "each test that includes it uses its own part")]

use bytes::Bytes;
use mvcc::{
    Command, CommandError, Compact, Compare, DeleteRange, Op, Operand, Outcome, Put, Range, Relation, Store, Txn,
};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Put(Put { key: bytes(key), value: bytes(value), ..Put::default() })
}

pub(crate) fn delete(key: &str) -> Command {
    delete_range(key, "")
}

pub(crate) fn delete_range(key: &str, range_end: &str) -> Command {
    Command::DeleteRange(DeleteRange { key: bytes(key), range_end: bytes(range_end), prev_kv: false })
}

pub(crate) fn compact(revision: i64) -> Command {
    Command::Compact(Compact { revision, physical: false })
}

pub(crate) fn txn(compare: Vec<Compare>, success: Vec<Op>, failure: Vec<Op>) -> Command {
    Command::Txn(Txn { compare, success, failure })
}

pub(crate) fn compare(key: &str, relation: Relation, operand: Operand) -> Compare {
    Compare { key: bytes(key), range_end: Bytes::new(), relation, operand }
}

pub(crate) fn get(key: &str) -> Op {
    Op::Range(range_of(key, ""))
}

pub(crate) fn range_of(key: &str, range_end: &str) -> Range {
    Range { key: bytes(key), range_end: bytes(range_end), ..Range::default() }
}

pub(crate) fn all() -> Range {
    range_of("\0", "\0")
}

/// Converts a command to an operation of a transaction.
pub(crate) fn op(command: Command) -> Op {
    match command {
        Command::Put(put) => Op::Put(put),
        Command::DeleteRange(delete) => Op::DeleteRange(delete),
        Command::Txn(txn) => Op::Txn(txn),
        Command::Compact(_) | Command::Alarm(_) | Command::RaiseFeatureLevel { .. } => panic!("not an operation"),
    }
}

/// Applies a command that must succeed.
pub(crate) fn apply(store: &mut Store, command: Command) -> Outcome {
    store.apply(0, &command).unwrap_or_else(|error| panic!("{command:?} failed: {error}"))
}

/// Applies a command that must be refused.
pub(crate) fn refused(store: &mut Store, command: Command) -> CommandError {
    match store.apply(0, &command) {
        Ok(outcome) => panic!("{command:?} succeeded: {outcome:?}"),
        Err(error) => error,
    }
}
