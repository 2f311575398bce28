//! Owns the index entry of one key, and the interval of keys that a request names. Does not own the ordered collection
//! (`index`).

use crate::revision::Revision;
use crate::sequence::Place;

/// Facts about a key that the index holds, so that counts and keys-only reads of the newest content need not look up
/// versions in the history.
///
/// As an example, the key `k` is put at revisions 2 and 4, deleted at revision 6, and put at revision 9:
///
/// ```text
/// at revision   modified  created  version
/// 2             2         2        1
/// 4             4         2        2         the same generation
/// 6             6         0        0         a tombstone: the generation is over
/// 9             9         9        1         a new generation
/// ```
///
/// The links of the newest version lead to the older versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    /// Place of the newest version in the history. The version may be a tombstone.
    pub(crate) place: Place,
    /// Revision of the change that made the newest version.
    pub(crate) modified: Revision,
    /// Revision at which the present generation began; 0 if the newest version is a tombstone.
    pub(crate) created: Revision,
    /// Number of puts in the present generation; 0 if the newest version is a tombstone.
    pub(crate) version: i64,
}

const _: () = assert!(size_of::<KeyEntry>() == 32, "a write copies whole leaves of these, so they stay small");

impl KeyEntry {
    pub(crate) fn is_live(&self) -> bool {
        self.version != 0
    }
}

/// Summary of the keys in a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subtree {
    /// Number of keys, including keys whose newest version is a tombstone.
    pub(crate) keys: u64,
    /// Number of live keys.
    pub(crate) live: u64,
    /// Place after the newest of all versions of these keys.
    pub(crate) end: Place,
}

impl Subtree {
    pub(crate) const EMPTY: Subtree = Subtree { keys: 0, live: 0, end: Place(0) };

    pub(crate) fn add_entry(&mut self, entry: &KeyEntry) {
        self.keys += 1;
        self.live += u64::from(entry.is_live());
        self.end = self.end.max(entry.place.next());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.live += other.live;
        self.end = self.end.max(other.end);
    }
}

/// The keys that a request names by `key` and `range_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval<'a> {
    /// One key.
    Key(&'a [u8]),
    /// The key and all keys after it. `range_end` is `"\0"`.
    From(&'a [u8]),
    /// The keys at or after the first bound and before the second bound. Empty if the second bound is not above the first bound.
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

    /// The start of the interval, and its end if it has one. The end is at or above the start. For a single key, start
    /// and end are equal, which describes an empty interval. Callers therefore look up a single key without this
    /// method.
    pub(crate) fn bounds(self) -> (&'a [u8], Option<&'a [u8]>) {
        match self {
            Interval::Key(key) => (key, Some(key)),
            Interval::From(key) => (key, None),
            Interval::Between(key, end) => (key, Some(end.max(key))),
        }
    }
}
