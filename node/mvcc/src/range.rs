//! Owns reads: selection, limit, filters, order and count of keys at a revision, as in etcd. Does not own comparisons (`txn`).

use crate::command::{Range, SortOrder, SortTarget};
use crate::history::Moment;
use crate::index::{Interval, KeyEntry};
use crate::key_value::{Fields, KeyValue};
use crate::keyspace::Keyspace;
use crate::outcome::{RangeError, RangeResult};
use crate::revision::Revision;

/// Runs a read. `now` is the revision of the newest content, and the revision in the answer's header.
pub(crate) fn run(space: &Keyspace, range: &Range, now: Revision) -> Result<RangeResult, RangeError> {
    range.validate_sort()?;
    let moment = match range.revision {
        ..=0 => None,
        asked if asked > now.0 => return Err(RangeError::FutureRevision),
        asked if asked < space.compacted.0 => return Err(RangeError::Compacted),
        asked if asked == now.0 => None,
        asked => Some(space.history.moment(Revision(asked))),
    };
    let interval = Interval::new(&range.key, &range.range_end);
    let mut result = RangeResult { count: space.count(interval, moment), ..RangeResult::empty(now) };
    if range.count_only || result.count == 0 {
        return Ok(result);
    }

    let shape = Shape::of(range);
    result.kvs = collect(space, range, interval, moment, shape.collect_max);
    if let Some(order) = shape.sort {
        sort(&mut result.kvs, range.sort_target, order);
    }
    debug_assert!(result.kvs.len() as u64 <= result.count, "the count covers every key that was found");
    if result.kvs.len() > shape.limit {
        result.kvs.truncate(shape.limit);
        result.more = true;
    }
    if range.keys_only && range.sort_target == SortTarget::Value {
        for kv in &mut result.kvs {
            *kv = KeyValue::detached(&Fields { value: &[], ..kv.fields() });
        }
    }
    Ok(result)
}

/// Maximum number of leaves of the index with keys of its interval that a read visits.
pub(crate) fn visited_max(range: &Range) -> u64 {
    if range.revision > 0 {
        // The count at an older revision visits every key that has changed since that revision.
        u64::MAX
    } else if range.count_only {
        1
    } else if has_filters(range) {
        u64::MAX
    } else {
        Shape::of(range).collect_max as u64
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Ascend,
    Descend,
}

/// Limits and order of an answer, as the request implies them.
struct Shape {
    /// Maximum number of keys to collect, in key order, before sorting.
    collect_max: usize,
    sort: Option<Direction>,
    /// Maximum number of keys to return.
    limit: usize,
}

impl Shape {
    /// Without an order and without filters, etcd collects at most `limit` + 1 keys, in key order, *before* it sorts.
    /// Clients can observe this behaviour, so this store does the same (`docs/etcd_rules.md` §3).
    fn of(range: &Range) -> Shape {
        let limit = match range.limit {
            ..=0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        debug_assert!(limit > 0, "a limit of 0 means all keys");
        let sort = match (range.sort_target, range.sort_order) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
            (_, SortOrder::Descend) => Some(Direction::Descend),
            _ => Some(Direction::Ascend),
        };
        let cut_before_sort = range.sort_order == SortOrder::None && !has_filters(range);
        let collect_max = if sort.is_none() || cut_before_sort { limit.saturating_add(1) } else { usize::MAX };
        Shape { collect_max, sort, limit }
    }
}

fn has_filters(range: &Range) -> bool {
    [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision]
        .iter()
        .any(|&bound| bound != 0)
}

fn passes_filters(range: &Range, modified: i64, created: i64) -> bool {
    let within = |min: i64, value: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(range.min_mod_revision, modified, range.max_mod_revision)
        && within(range.min_create_revision, created, range.max_create_revision)
}

fn collect(
    space: &Keyspace,
    range: &Range,
    interval: Interval<'_>,
    moment: Option<Moment>,
    max: usize,
) -> Vec<KeyValue> {
    let from_index_alone = range.keys_only && range.sort_target != SortTarget::Value;
    let passes = |modified: i64, created: i64| passes_filters(range, modified, created);
    let kvs: Vec<KeyValue> = match moment {
        None => {
            let live = space.index.scan_live(interval).filter(|(_, entry)| passes(entry.modified.0, entry.created.0));
            let version = |(key, entry)| {
                if from_index_alone { key_alone(key, entry) } else { space.version(entry).clone() }
            };
            live.map(version).take(max).collect()
        }
        Some(moment) => {
            let then = |(key, entry): (&[u8], KeyEntry)| {
                if entry.place >= moment.end {
                    let version = space.live_at(moment, entry)?;
                    let fields = version.fields();
                    if !passes(fields.mod_revision, fields.create_revision) {
                        return None;
                    }
                    return Some(if from_index_alone { without_value(fields) } else { version.clone() });
                }
                if !entry.is_live() || !passes(entry.modified.0, entry.created.0) {
                    return None;
                }
                Some(if from_index_alone { key_alone(key, entry) } else { space.version(entry).clone() })
            };
            space.index.scan(interval).filter_map(then).take(max).collect()
        }
    };
    debug_assert!(kvs.is_sorted_by(|a, b| a.key() < b.key()), "keys are collected in key order, each once");
    kvs
}

fn key_alone(key: &[u8], entry: KeyEntry) -> KeyValue {
    KeyValue::detached(&Fields {
        key,
        create_revision: entry.created.0,
        mod_revision: entry.modified.0,
        version: entry.version,
        ..Fields::default()
    })
}

fn without_value(fields: Fields<'_>) -> KeyValue {
    KeyValue::detached(&Fields { value: &[], lease: 0, ..fields })
}

fn sort(kvs: &mut [KeyValue], target: SortTarget, direction: Direction) {
    let number = |kv: &KeyValue| -> i64 {
        let fields = kv.fields();
        match target {
            SortTarget::Version => fields.version,
            SortTarget::Create => fields.create_revision,
            _ => fields.mod_revision,
        }
    };
    match (target, direction) {
        // The keys were collected in ascending order, so they need no sorting.
        (SortTarget::Key | SortTarget::Unrecognized(_), Direction::Ascend) => {}
        (SortTarget::Key | SortTarget::Unrecognized(_), Direction::Descend) => kvs.reverse(),
        (SortTarget::Value, Direction::Ascend) => kvs.sort_by(|a, b| a.value().cmp(b.value())),
        (SortTarget::Value, Direction::Descend) => kvs.sort_by(|a, b| b.value().cmp(a.value())),
        (_, Direction::Ascend) => kvs.sort_by_cached_key(number),
        (_, Direction::Descend) => kvs.sort_by_cached_key(|kv| std::cmp::Reverse(number(kv))),
    }
}
