//! Owns what the index knows of one key, and which keys a request names. Does not own the ordered collection (`index`).

use crate::revision::Revision;
use crate::sequence::Place;

/// What is known of a key without its versions: enough for counts, keys-only reads and most comparisons.
///
/// By one example, with `k` put at 2, put at 4, deleted at 6, put at 9:
///
/// ```text
/// at revision   modified  created  version
/// 2             2         2        1
/// 4             4         2        2         the same generation
/// 6             6         0        0         a tombstone: the generation is over
/// 9             9         9        1         a new generation
/// ```
///
/// The older versions are found through the links of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    /// Where the newest version is in the history, tombstones included.
    pub(crate) place: Place,
    /// The revision that made it.
    pub(crate) modified: Revision,
    /// The revision that began its generation; 0 if the newest version is a tombstone.
    pub(crate) created: Revision,
    /// How many times the key was put in its generation; 0 if the newest version is a tombstone.
    pub(crate) version: i64,
}

const _: () = assert!(size_of::<KeyEntry>() == 32, "the index copies many of them for each write");

impl KeyEntry {
    pub(crate) fn is_live(&self) -> bool {
        self.version != 0
    }
}

/// What is known of many keys together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subtree {
    /// How many of them are live.
    pub(crate) live: u64,
    /// Where the history ended after the newest change among them.
    pub(crate) end: Place,
}

impl Subtree {
    pub(crate) const EMPTY: Subtree = Subtree { live: 0, end: Place(0) };

    pub(crate) fn add_entry(&mut self, entry: &KeyEntry) {
        self.live += u64::from(entry.is_live());
        self.end = self.end.max(entry.place.next());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.live += other.live;
        self.end = self.end.max(other.end);
    }
}

/// The keys that a request names by `key` and `range_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval<'a> {
    /// This one.
    Key(&'a [u8]),
    /// This one and all that follow: `range_end` is `"\0"`.
    From(&'a [u8]),
    /// From the first, up to and without the second. Empty if they stand in the wrong order.
    Between(&'a [u8], &'a [u8]),
}

impl<'a> Interval<'a> {
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Interval<'a> {
        match range_end {
            [] => Interval::Key(key),
            [0] => Interval::From(key),
            end => Interval::Between(key, end),
        }
    }

    /// Its start, and its end if it has one, which is not below the start. A single key has no bounds.
    pub(crate) fn bounds(self) -> (&'a [u8], Option<&'a [u8]>) {
        match self {
            Interval::Key(key) => (key, Some(key)),
            Interval::From(key) => (key, None),
            Interval::Between(key, end) => (key, Some(end.max(key))),
        }
    }
}
