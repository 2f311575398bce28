//! The replicated key-value store. The content of the store is a pure function of the log.
//!
//! One thread owns a [`Store`] and applies committed [`Command`]s to it, in log order. The thread publishes a [`View`] after each
//! batch. Any number of readers use views without locks and without a time limit. The crate has no IO, no clock, no thread and no
//! randomness: equal logs make stores that are equal, byte for byte.
//!
//! `docs/etcd_rules.md` lists the rules that the store implements, and the store's invariants.
//!
//! ```
//! use mvcc::{Command, Put, Range, Store};
//!
//! let mut store = Store::new();
//! let put = Command::Put(Put { key: "k".into(), value: "v".into(), ..Put::default() });
//! put.validate()?;
//! let outcome = store.apply(1_700_000_000_000, &put)?;
//! assert_eq!(outcome.revision.0, 2);
//!
//! let view = store.view();
//! let answer = view.range(&Range { key: "k".into(), ..Range::default() })?;
//! assert_eq!((answer.count, answer.kvs[0].value()), (1, &b"v"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod level;

mod command;
mod outcome;
mod revision;

mod apply;
mod txn;
mod txn_cost;
mod txn_measure;
mod write;

mod compaction;
mod history;
mod index;
mod invariants;
mod key_value;
mod keyspace;
mod sequence;

mod hash;
mod meter;

pub mod image;
mod range;
mod view;

pub use apply::Store;
pub use command::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, Batch, BatchBuilder, BatchError, BatchFormat, Command, Compact,
    Compare, DecodeError, DeleteRange, HeaderError, MAX_TXN_OPS, Op, Operand, Put, Range, Relation, SortOrder,
    SortTarget, Txn, ValidateError,
};
pub use compaction::Removal;
pub use hash::HashResult;
pub use key_value::{Fields, KeyValue};
pub use level::FeatureLevel;
pub use meter::{Measured, Meter, ReadFailure, ReadLimits};
pub use outcome::{
    CommandError, DeleteRangeResult, OpResult, Outcome, PutResult, RangeError, RangeResult, Response, TxnResult,
};
pub use revision::Revision;
pub use view::View;
