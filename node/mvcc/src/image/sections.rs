//! Owns version 2 of the image: tagged sections, to which later programs add. Does not own chunks (`chunk`), nor what
//! it shares with version 1 (`loading`, `writing`).
//!
//! ```text
//! image    := magic 8 bytes, chunk 0 (kind 1: header), chunk (0x90: alarms), chunks (0x91: versions) ...,
//!             chunks (0x92: order) ..., last chunk (0x9f: end)
//!
//! header   := as in version 1 up to the time, with format version 2, then
//!             offset size
//!                 34    8  base revision, signed; 0: the image is full
//!                 42    4  keyspace hash of the base; 0 if the image is full
//!                 46    4  feature level
//! alarms   := number of alarms u32, then for each: kind u8, member u64
//! versions := for each, in revision order:
//!             flags u8: 1 tombstone | 2 short: the main revision is that of the KeyValue and the sub revision is 0
//!             main revision, signed, 8 bytes, and sub revision, 4 bytes: both only without the flag short
//!             previous varint: distance to the version of the same key before it, in versions of this image; 0: none
//!             length varint, KeyValue as etcd marshals it
//! order    := number of keys u64 (first chunk only), then for each key, in key order: number of its newest version
//!             varint
//! end      := number of versions u64, bytes of all KeyValues u64, keyspace hash u32, number of chunks before it u32
//! ```
//!
//! Numbers of versions count from 0. A kind from 0x80 on must be understood: a reader that does not know it refuses the
//! image. A reader skips an unknown kind from 0x10 to 0x7f.
//!
//! Links and order are for readers that build the index in one pass. This reader finds them by itself and compares.

use std::io::Write;

use super::error::WriteError;
use super::loading::{Layout, Loading, Payload, Wrong};
use super::numbers::{Numbers, put_varint};
use super::summary::{HEADER, ImageSummary};
use super::writing::Writing;
use crate::index::Interval;
use crate::key_value::{Fields, KeyValue};
use crate::keyspace::Keyspace;
use crate::level::FeatureLevel;
use crate::revision::{FullRevision, Revision};

const ALARMS: u8 = 0x90;
const VERSIONS: u8 = 0x91;
const ORDER: u8 = 0x92;
const END: u8 = 0x9f;

/// Kinds from this one on must be understood.
const MUST_UNDERSTAND: u8 = 0x80;
/// Kinds below this one belong to version 1 and to the header.
const FIRST_OPTIONAL: u8 = 0x10;

const TOMBSTONE: u8 = 1;
const SHORT: u8 = 2;

/// Writes the content after the magic.
pub(super) fn write(space: &Keyspace, applied_index: u64, out: &mut impl Write) -> Result<ImageSummary, WriteError> {
    let mut writing = Writing::begin(space, applied_index, Sections::VERSION, out);
    let header = writing.payload();
    header.extend_from_slice(&0i64.to_le_bytes());
    header.extend_from_slice(&0u32.to_le_bytes());
    header.extend_from_slice(&space.level.0.to_le_bytes());
    writing.finish_chunk(HEADER)?;
    writing.put_alarms()?;
    writing.finish_chunk(ALARMS)?;

    let mut numbers = Numbers::default();
    let versions = writing.put_versions(VERSIONS, |out, place, version| {
        let linked = version.link().previous.and_then(|previous| numbers.of(previous));
        let previous = linked.map_or(0, |number| numbers.len() - number);
        numbers.push(place);
        put_version(out, version, previous);
    })?;

    // The index also has keys whose tombstone is compacted but not removed yet. The keys are visited twice, because their
    // number stands before them, and a list of them would take memory besides the store.
    let newest = || space.index.scan(Interval::From(&[])).filter_map(|(_, entry)| numbers.of(entry.place));
    writing.payload().extend_from_slice(&(newest().count() as u64).to_le_bytes());
    let mut order = 0;
    for number in newest() {
        put_varint(writing.payload(), number);
        order += u32::from(writing.finish_full_chunk(ORDER)?);
    }
    order += u32::from(writing.finish_started_chunk(ORDER)?);

    writing.put_totals();
    let (header, alarms) = (1, 1);
    writing.payload().extend_from_slice(&(header + alarms + versions + order).to_le_bytes());
    writing.finish(END)
}

fn put_version(out: &mut Vec<u8>, version: &KeyValue, previous: u64) {
    let revision = version.revision();
    let encoded = version.encoded();
    if version.is_tombstone() {
        out.push(TOMBSTONE);
    } else if revision.sub == 0 {
        out.push(SHORT);
    } else {
        out.push(0);
    }
    if version.is_tombstone() || revision.sub != 0 {
        out.extend_from_slice(&revision.main.0.to_le_bytes());
        out.extend_from_slice(&revision.sub.to_le_bytes());
    }
    put_varint(out, previous);
    put_varint(out, encoded.len() as u64);
    out.extend_from_slice(encoded);
}

/// Reads version 2.
pub(super) struct Sections {
    /// Kind of the last known chunk. Known kinds never descend.
    last: u8,
    chunks: u32,
    order: Order,
}

/// How far the order of keys was compared.
enum Order {
    /// Its first chunk has not arrived.
    Ahead,
    /// The next number is that of this key.
    From(Vec<u8>),
    /// All keys were compared.
    Whole,
}

impl Sections {
    pub(super) const VERSION: u16 = 2;

    pub(super) fn begin(payload: &mut Payload<'_>) -> Result<(Loading, Sections), Wrong> {
        let mut loading = Loading::begin(payload)?;
        let base = Revision(i64::from_le_bytes(payload.array()?));
        let base_hash = u32::from_le_bytes(payload.array()?);
        let level = FeatureLevel(u32::from_le_bytes(payload.array()?));
        payload.end()?;
        if base != Revision(0) {
            return Err(Wrong::Base(base));
        }
        if base_hash != 0 || level < FeatureLevel::FIRST {
            return Err(Wrong::Content("its header contradicts itself"));
        }
        loading.space.level = level;
        Ok((loading, Sections { last: HEADER, chunks: 1, order: Order::Ahead }))
    }

    fn compare_order(&mut self, loading: &Loading, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        const OTHER: Wrong = Wrong::Content("its order is not that of its keys");
        let index = &loading.space.index;
        if let Order::Ahead = self.order {
            if u64::from_le_bytes(payload.array()?) != index.count_keys(Interval::From(&[])) {
                return Err(OTHER);
            }
            self.order = Order::From(Vec::new());
        }
        let Order::From(from) = std::mem::replace(&mut self.order, Order::Whole) else {
            return if payload.0.is_empty() { Ok(()) } else { Err(OTHER) };
        };
        let mut keys = index.scan(Interval::From(&from));
        while !payload.0.is_empty() {
            let number = payload.varint()?;
            if keys.next().is_none_or(|(_, entry)| entry.place.0 != number) {
                return Err(OTHER);
            }
        }
        if let Some((key, _)) = keys.next() {
            self.order = Order::From(key.to_vec());
        }
        Ok(())
    }
}

impl Layout for Sections {
    fn take(&mut self, loading: &mut Loading, kind: u8, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        const MISPLACED: Wrong = Wrong::Content("its kind does not belong here");
        match (self.last, kind) {
            (HEADER, ALARMS) => {
                loading.read_alarms(payload)?;
                payload.end()?;
            }
            (ALARMS | VERSIONS, VERSIONS) => add_versions(loading, payload)?,
            (ALARMS | VERSIONS | ORDER, ORDER) => self.compare_order(loading, payload)?,
            (ORDER, END) => {
                loading.read_totals(payload)?;
                let chunks = u32::from_le_bytes(payload.array()?);
                payload.end()?;
                if chunks != self.chunks || !matches!(self.order, Order::Whole) {
                    return Err(Wrong::Content("sections are missing"));
                }
            }
            (_, ALARMS | VERSIONS | ORDER | END) => return Err(MISPLACED),
            (_, FIRST_OPTIONAL..MUST_UNDERSTAND) => {
                self.chunks += 1;
                return Ok(());
            }
            (_, MUST_UNDERSTAND..) => return Err(Wrong::Section(kind)),
            (_, _) => return Err(MISPLACED),
        }
        self.last = kind;
        self.chunks += 1;
        Ok(())
    }

    fn end(&self) -> u8 {
        END
    }
}

fn add_versions(loading: &mut Loading, payload: &mut Payload<'_>) -> Result<(), Wrong> {
    while !payload.0.is_empty() {
        let [flags] = payload.array()?;
        let explicit = match flags {
            SHORT => None,
            0 | TOMBSTONE => {
                let main = Revision(i64::from_le_bytes(payload.array()?));
                Some(FullRevision { main, sub: u32::from_le_bytes(payload.array()?) })
            }
            _ => return Err(Wrong::Content("a flag is unknown")),
        };
        if flags == 0 && explicit.is_some_and(|revision| revision.sub == 0) {
            return Err(Wrong::Content("a revision is not in its shortest form"));
        }
        let previous = payload.varint()?;
        let length = usize::try_from(payload.varint()?).map_err(|_| Wrong::Content("it ends inside a field"))?;
        let encoded = payload.take(length)?;
        let revision = match explicit {
            Some(revision) => revision,
            None => FullRevision { main: modified(encoded)?, sub: 0 },
        };
        let place = loading.space.history.end();
        loading.add(revision, flags == TOMBSTONE, encoded)?;
        let added = loading.space.history.get(place).and_then(|version| version.link().previous);
        if added.map_or(0, |before| place.0 - before.0) != previous {
            return Err(Wrong::Content("a link leads elsewhere"));
        }
    }
    Ok(())
}

fn modified(encoded: &[u8]) -> Result<Revision, Wrong> {
    let fields = Fields::parse(encoded).ok_or(Wrong::Content("a version does not parse"))?;
    Ok(Revision(fields.mod_revision))
}
