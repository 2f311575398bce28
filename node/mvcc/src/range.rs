//! Owns reads: selection, limit, filters, order and count of keys at a revision, as in etcd. Does not own comparisons (`txn`).

use crate::command::{Range, SortOrder, SortTarget};
use crate::history::Moment;
use crate::index::{Interval, KeyEntry};
use crate::key_value::{Fields, KeyValue};
use crate::keyspace::Keyspace;
use crate::meter::{Meter, ReadFailure};
use crate::outcome::{CommandError, RangeResult};
use crate::revision::Revision;

/// How much a read answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// The answer ends with the key at which it reaches this size, and its count is 0. At an older revision, counting
    /// visits every key that has changed since.
    Page {
        bytes: u64,
    },
}

impl Extent {
    fn bytes(self) -> u64 {
        match self {
            Extent::Whole => u64::MAX,
            Extent::Page { bytes } => bytes,
        }
    }
}

/// Runs a read. `now` is the revision of the newest content, and the revision in the answer's header.
pub(crate) fn run(
    space: &Keyspace,
    range: &Range,
    now: Revision,
    extent: Extent,
    meter: &mut Meter<'_>,
) -> Result<RangeResult, ReadFailure> {
    let read = Read::new(space, range, now)?;
    let mut result = RangeResult::empty(now);
    if extent == Extent::Whole {
        result.count = read.count(space, meter)?;
        if result.count == 0 {
            return Ok(result);
        }
    }
    if range.count_only {
        return Ok(result);
    }
    let shape = Shape::of(range);
    (result.kvs, result.more) = collect(space, &read, &shape, extent, meter)?;
    if let Some(order) = shape.sort {
        sort(&mut result.kvs, range.sort_target, order);
    }
    debug_assert!(
        extent != Extent::Whole || result.kvs.len() as u64 <= result.count,
        "the count covers every key that was found"
    );
    if result.kvs.len() > shape.limit {
        result.kvs.truncate(shape.limit);
        result.more = true;
    }
    if shape.is_cut_after_sort() {
        meter.answer_all(&result.kvs)?;
    }
    if range.keys_only && range.sort_target == SortTarget::Value {
        for kv in &mut result.kvs {
            *kv = KeyValue::detached(&Fields { value: &[], ..kv.fields() });
        }
    }
    Ok(result)
}

/// Measures the answer of a read and collects nothing. The size of an answer that is cut after sorting is not known;
/// only what is collected for it counts.
pub(crate) fn measure(
    space: &Keyspace,
    range: &Range,
    now: Revision,
    meter: &mut Meter<'_>,
) -> Result<(), ReadFailure> {
    let read = Read::new(space, range, now)?;
    if range.count_only {
        return Ok(());
    }
    let shape = Shape::of(range);
    read.select(space, &shape, Extent::Whole, meter, |_| {}).map(drop)
}

/// Maximum number of leaves of the index with keys of its interval that a read visits.
pub(crate) fn visited_max(space: &Keyspace, range: &Range) -> u64 {
    if range.revision > 0 && range.revision != space.revision.0 {
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

/// Returns whether a read compares values, which may be long and alike.
pub(crate) fn compares_values(range: &Range) -> bool {
    !range.count_only && range.sort_target == SortTarget::Value
}

/// The content that a read looks at.
struct Read<'a> {
    range: &'a Range,
    interval: Interval<'a>,
    /// The moment of an older revision.
    moment: Option<Moment>,
    has_filters: bool,
    /// Whether neither the answer nor its order needs values.
    needs_no_value: bool,
}

/// What a read has found.
enum Found<'a> {
    Version(&'a KeyValue),
    /// A key without its value, which is copied.
    Alone(Fields<'a>),
}

impl<'a> Read<'a> {
    fn new(space: &Keyspace, range: &'a Range, now: Revision) -> Result<Self, ReadFailure> {
        range.validate_sort().map_err(CommandError::from)?;
        let moment = match range.revision {
            ..=0 => None,
            asked if asked > now.0 => return Err(CommandError::FutureRevision.into()),
            asked if asked < space.compacted.0 => return Err(CommandError::Compacted.into()),
            asked if asked == now.0 => None,
            asked => Some(space.history.moment(Revision(asked))),
        };
        Ok(Read {
            range,
            interval: Interval::new(&range.key, &range.range_end),
            moment,
            has_filters: has_filters(range),
            needs_no_value: range.keys_only && range.sort_target != SortTarget::Value,
        })
    }

    fn count(&self, space: &Keyspace, meter: &mut Meter<'_>) -> Result<u64, ReadFailure> {
        let mut stopped = Ok(());
        let count = space.count_while(self.interval, self.moment, || {
            if stopped.is_ok() {
                stopped = meter.visit();
            }
            stopped.is_ok()
        });
        stopped.map(|()| count)
    }

    /// Passes what the read finds to `each`, in key order, and measures it. Returns whether the extent cut off keys.
    fn select(
        &self,
        space: &'a Keyspace,
        shape: &Shape,
        extent: Extent,
        meter: &mut Meter<'_>,
        each: impl FnMut(Found<'a>),
    ) -> Result<bool, ReadFailure> {
        let mut selection = Selection::new(self.range, shape, extent, each);
        let Some(moment) = self.moment else {
            for (key, entry) in space.index.scan_live(self.interval) {
                meter.visit()?;
                if !self.add_newest(space, key, entry, &mut selection, meter)? {
                    break;
                }
            }
            return selection.end(meter);
        };
        for (key, entry) in space.index.scan(self.interval) {
            meter.visit()?;
            let goes_on = if entry.place >= moment.end {
                let Some(version) = space.live_at(moment, entry) else { continue };
                self.add_older(version, &mut selection, meter)?
            } else if entry.is_live() {
                self.add_newest(space, key, entry, &mut selection, meter)?
            } else {
                continue;
            };
            if !goes_on {
                break;
            }
        }
        selection.end(meter)
    }

    /// Adds the newest version of a live key if it passes the filters. Returns whether more keys may be added.
    #[inline]
    fn add_newest<E: FnMut(Found<'a>)>(
        &self,
        space: &'a Keyspace,
        key: &'a [u8],
        entry: KeyEntry,
        selection: &mut Selection<'a, '_, E>,
        meter: &mut Meter<'_>,
    ) -> Result<bool, ReadFailure> {
        if self.has_filters && !passes_filters(self.range, entry.modified.0, entry.created.0) {
            return Ok(true);
        }
        if self.needs_no_value {
            selection.add_alone(key_alone(key, entry), meter)
        } else {
            selection.add(space.version(entry), meter)
        }
    }

    /// Adds a version of a key that has newer ones, as [`Read::add_newest`] does.
    fn add_older<E: FnMut(Found<'a>)>(
        &self,
        version: &'a KeyValue,
        selection: &mut Selection<'a, '_, E>,
        meter: &mut Meter<'_>,
    ) -> Result<bool, ReadFailure> {
        let fields = version.fields();
        if !passes_filters(self.range, fields.mod_revision, fields.create_revision) {
            return Ok(true);
        }
        if self.needs_no_value {
            selection.add_alone(without_value(fields), meter)
        } else {
            selection.add(version, meter)
        }
    }
}

/// Number of versions that are found before the first of them is looked at. They lie far apart in memory, so a processor would
/// wait for each of them; this way it waits for many at a time.
const FOUND_AT_ONCE: usize = 32;

/// What a read has selected so far.
struct Selection<'a, 'r, E> {
    range: &'r Range,
    shape: &'r Shape,
    bytes_max: u64,
    each: E,
    /// Versions that were found and not looked at, with a place for their sizes in bytes.
    found: Vec<(&'a KeyValue, usize)>,
    /// Number of keys that were passed on.
    selected: usize,
    is_cut: bool,
}

impl<'a, 'r, E: FnMut(Found<'a>)> Selection<'a, 'r, E> {
    fn new(range: &'r Range, shape: &'r Shape, extent: Extent, each: E) -> Self {
        let found = Vec::with_capacity(FOUND_AT_ONCE.min(shape.collect_max));
        Self { range, shape, bytes_max: extent.bytes(), each, found, selected: 0, is_cut: false }
    }

    /// Adds a version. Returns whether more keys may be added.
    #[inline]
    fn add(&mut self, version: &'a KeyValue, meter: &mut Meter<'_>) -> Result<bool, ReadFailure> {
        self.found.push((version, 0));
        let is_last = self.selected + self.found.len() >= self.shape.collect_max;
        if is_last || self.found.len() == FOUND_AT_ONCE { self.pass_found(meter) } else { Ok(true) }
    }

    /// Adds a key without its value. Returns whether more keys may be added.
    fn add_alone(&mut self, fields: Fields<'a>, meter: &mut Meter<'_>) -> Result<bool, ReadFailure> {
        self.pass(Found::Alone(fields), fields.encoded_len(), meter)
    }

    /// Passes on what was found. Returns whether more keys may be added.
    fn pass_found(&mut self, meter: &mut Meter<'_>) -> Result<bool, ReadFailure> {
        let mut sum = 0;
        for (version, bytes) in &mut self.found {
            *bytes = version.encoded().len();
            sum += *bytes as u64;
        }
        let mut found = std::mem::take(&mut self.found);
        if self.passes_all(found.len(), sum, meter) {
            self.selected += found.len();
            found.drain(..).for_each(|(version, _)| (self.each)(Found::Version(version)));
            self.found = found;
            return Ok(self.selected < self.shape.collect_max);
        }
        let mut goes_on = true;
        for (version, bytes) in found.drain(..) {
            let of_key = || without_value(version.fields()).encoded_len();
            let bytes = if self.range.keys_only { of_key() } else { bytes };
            goes_on = self.pass(Found::Version(version), bytes, meter)?;
            if !goes_on {
                break;
            }
        }
        self.found = found;
        Ok(goes_on)
    }

    /// Measures so many versions, which have so many bytes together, if the answer has all of them as they are stored and stays
    /// below all limits. Returns whether it did.
    fn passes_all(&self, versions: usize, bytes: u64, meter: &mut Meter<'_>) -> bool {
        let is_answered = !self.range.keys_only && !self.shape.is_cut_after_sort();
        let is_within = self.selected + versions <= self.shape.limit && meter.answer_bytes() + bytes < self.bytes_max;
        is_answered && is_within && meter.answer_together(versions, bytes)
    }

    fn pass(&mut self, found: Found<'a>, bytes: usize, meter: &mut Meter<'_>) -> Result<bool, ReadFailure> {
        self.is_cut = self.selected > 0 && meter.answer_bytes() >= self.bytes_max;
        if self.is_cut {
            return Ok(false);
        }
        meter.collect();
        if self.range.keys_only {
            meter.copy(bytes)?;
        }
        // One key more than the limit shows whether more follow.
        if !self.shape.is_cut_after_sort() && self.selected < self.shape.limit {
            meter.answer(bytes)?;
        }
        (self.each)(found);
        self.selected += 1;
        Ok(self.selected < self.shape.collect_max)
    }

    /// Passes on the rest. Returns whether the extent cut off keys.
    fn end(mut self, meter: &mut Meter<'_>) -> Result<bool, ReadFailure> {
        self.pass_found(meter)?;
        Ok(self.is_cut)
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

    /// Returns whether more keys may be collected than one more than the answer has.
    fn is_cut_after_sort(&self) -> bool {
        self.collect_max > self.limit.saturating_add(1)
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

fn collect<'a>(
    space: &'a Keyspace,
    read: &Read<'a>,
    shape: &Shape,
    extent: Extent,
    meter: &mut Meter<'_>,
) -> Result<(Vec<KeyValue>, bool), ReadFailure> {
    let mut kvs = Vec::new();
    let is_cut = read.select(space, shape, extent, meter, |found| {
        kvs.push(match found {
            Found::Version(version) => version.clone(),
            Found::Alone(fields) => KeyValue::detached(&fields),
        });
    })?;
    debug_assert!(kvs.is_sorted_by(|a, b| a.key() < b.key()), "keys are collected in key order, each once");
    Ok((kvs, is_cut))
}

fn key_alone(key: &[u8], entry: KeyEntry) -> Fields<'_> {
    Fields {
        key,
        create_revision: entry.created.0,
        mod_revision: entry.modified.0,
        version: entry.version,
        ..Fields::default()
    }
}

fn without_value(fields: Fields<'_>) -> Fields<'_> {
    Fields { value: &[], lease: 0, ..fields }
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
