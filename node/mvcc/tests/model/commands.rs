//! Owns the random requests of the property tests. The requests use few keys and small revisions, so that they often concern the
//! same keys and existing revisions.

use bytes::Bytes;
use mvcc::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, Command, Compact, Compare, DeleteRange, FeatureLevel, Op, Operand, Put,
    Range, Relation, SortOrder, SortTarget, Txn,
};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "aa", "b", "c", "cc", "d"]).prop_map(Bytes::from)
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => Just(Bytes::new()),
        2 => Just(Bytes::from("\0")),
        3 => prop::sample::select(vec!["a", "b", "cc", "e"]).prop_map(Bytes::from),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2", "3"]).prop_map(Bytes::from)
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.15)
}

fn put() -> impl Strategy<Value = Put> {
    let lease = prop_oneof![30 => Just(0i64), 1 => Just(7)];
    (key(), value(), lease, any::<bool>(), rarely(), rarely()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| Put {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRange> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRange { key, range_end, prev_kv })
}

/// Generates the bound of a filter. The bound is mostly 0, which disables the filter.
fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0i64), 1 => 1..40i64]
}

pub(crate) fn range() -> impl Strategy<Value = Range> {
    let revision = prop_oneof![3 => Just(0i64), 1 => -2..0i64, 6 => 1..40i64];
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let targets = [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
    let target = prop_oneof![Just(SortTarget::Key), prop::sample::select(targets.to_vec())];
    let interval = prop_oneof![1 => (key(), range_end()), 1 => Just((Bytes::from("\0"), Bytes::from("\0")))];
    let bounds = (bound(), bound(), bound(), bound());
    (interval, -1..5i64, revision, order, target, rarely(), rarely(), bounds).prop_map(
        |((key, range_end), limit, revision, sort_order, sort_target, keys_only, count_only, bounds)| Range {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only,
            count_only,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation = prop::sample::select((0..5i32).map(Relation::from).collect::<Vec<_>>());
    let operand = prop_oneof![
        (0..3i64).prop_map(Operand::Version),
        (0..20i64).prop_map(Operand::CreateRevision),
        (0..20i64).prop_map(Operand::ModRevision),
        value().prop_map(Operand::Value),
        (0..2i64).prop_map(Operand::Lease),
        Just(Operand::Unrecognized(9)),
    ];
    (key(), range_end(), relation, operand).prop_map(|(key, range_end, relation, operand)| Compare {
        key,
        range_end,
        relation,
        operand,
    })
}

pub(crate) fn txn() -> impl Strategy<Value = Txn> {
    let flat = prop_oneof![range().prop_map(Op::Range), put().prop_map(Op::Put), delete().prop_map(Op::DeleteRange)];
    let op = flat.prop_recursive(2, 12, 3, |inner| txn_of(inner).prop_map(Op::Txn));
    txn_of(op)
}

fn txn_of(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    (prop::collection::vec(compare(), 0..3), prop::collection::vec(op.clone(), 0..4), prop::collection::vec(op, 0..3))
        .prop_map(|(compare, success, failure)| Txn { compare, success, failure })
}

/// Generates a transaction that consists of ranges only.
pub(crate) fn read_txn() -> impl Strategy<Value = Txn> {
    txn_of(range().prop_map(Op::Range).boxed())
}

fn alarm() -> impl Strategy<Value = AlarmChange> {
    let action = prop_oneof![1 => Just(AlarmAction::Activate), 5 => Just(AlarmAction::Deactivate)];
    let kind = prop::sample::select(vec![AlarmKind::NoSpace, AlarmKind::Corrupt]);
    (action, kind).prop_map(|(action, kind)| AlarmChange { action, alarm: Alarm { kind, member: 1 } })
}

/// Generates a valid command.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => put().prop_map(Command::Put),
        4 => delete().prop_map(Command::DeleteRange),
        5 => txn().prop_map(Command::Txn),
        2 => (0..40i64).prop_map(|revision| Command::Compact(Compact { revision, physical: false })),
        1 => alarm().prop_map(Command::Alarm),
        1 => (1..4u32).prop_map(|to| Command::RaiseFeatureLevel { to: FeatureLevel(to) }),
    ]
    .prop_filter("not valid", |command| command.validate().is_ok())
}
