//! Owns what the index knows of one key, and which keys a request names. Does not own the ordered collection (`index`).

use std::ops::Bound;

use crate::revision::{FullRevision, Revision};

/// What is known of a key without its versions: enough for counts, keys-only reads and most comparisons.
///
/// By one example, with `k` put at 2, put at 4, deleted at 6, put at 9:
///
/// ```text
/// at revision   modified  created  version
/// 2             2/0       2        1
/// 4             4/0       2        2         the same generation
/// 6             6/0       0        0         a tombstone: the generation is over
/// 9             9/0       9        1         a new generation
/// ```
///
/// The older places are found through the links of the versions themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    /// Where the newest version is, tombstones included.
    pub(crate) modified: FullRevision,
    /// The revision that began its generation; 0 if the newest version is a tombstone.
    pub(crate) created: Revision,
    /// How many times the key was put in its generation; 0 if the newest version is a tombstone.
    pub(crate) version: i64,
}

impl KeyEntry {
    pub(crate) fn is_live(&self) -> bool {
        self.version != 0
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

    /// Never in the wrong order.
    pub(crate) fn bounds(self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        match self {
            Interval::Key(key) => (Bound::Included(key), Bound::Included(key)),
            Interval::From(key) => (Bound::Included(key), Bound::Unbounded),
            Interval::Between(key, end) => (Bound::Included(key), Bound::Excluded(end.max(key))),
        }
    }
}
