//! The weights of entries that are not in memory. Owns the sums at some of these entries, from which the weight of a
//! range is estimated. Does not own which entries leave the memory (`state/log/memory.rs`).

use crate::ids::Index;

/// Weight of the entries between two marks, in bytes. Bounds the error of an estimate, unless one entry is heavier.
const DISTANCE: u64 = 1 << 20;

/// Sums of weights, as in [`super::Held::end`], at the purge mark and at some of the evicted entries.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    /// The purge mark, then later entries. Indexes strictly increase, sums never decrease.
    placed: Vec<(Index, u64)>,
}

impl Marks {
    /// Returns the marks of a log in which no entry is evicted. `end` is the sum at the purge mark.
    pub(super) fn at(floor: Index, end: u64) -> Self {
        Self { placed: vec![(floor, end)] }
    }

    /// Returns the sum at the last mark at or before `index`. This is at most the sum at `index`, and less by the
    /// weight between two marks at most. Before the purge mark, returns the sum at the purge mark.
    pub(super) fn end_at(&self, index: Index) -> u64 {
        let after = self.placed.partition_point(|(at, _)| *at <= index);
        self.placed[after.saturating_sub(1)].1
    }

    /// Places a mark at `index`, whatever the distance to the last mark. Does nothing unless the mark comes after it.
    pub(super) fn place(&mut self, index: Index, end: u64) {
        let (at, last) = self.placed[self.placed.len() - 1];
        if index > at && end >= last {
            self.placed.push((index, end));
        }
    }

    /// Records that the entry at `index`, whose sum is `end`, was evicted.
    pub(super) fn evicted(&mut self, index: Index, end: u64) {
        if end - self.placed[self.placed.len() - 1].1 >= DISTANCE {
            self.place(index, end);
        }
    }

    /// Records that the log was truncated from `index` on.
    pub(super) fn truncated(&mut self, index: Index) {
        let kept = self.placed.partition_point(|(at, _)| *at < index);
        self.placed.truncate(kept.max(1));
    }

    /// Records that the entry at `floor` became the purge mark.
    pub(super) fn purged(&mut self, floor: Index) {
        let end = self.end_at(floor);
        let kept = self.placed.partition_point(|(at, _)| *at <= floor);
        self.placed.splice(..kept, [(floor, end)]);
    }

    /// Returns the last mark after `from` up to which the entries after `from` weigh at most `bytes`, or else the first
    /// mark after `from`; `None` if there is no mark after `from`.
    pub(super) fn within(&self, from: Index, bytes: u64) -> Option<Index> {
        let end = self.end_at(from).saturating_add(bytes);
        let later = &self.placed[self.placed.partition_point(|(at, _)| *at <= from)..];
        let fitting = later.partition_point(|(_, sum)| *sum <= end);
        later.get(fitting.saturating_sub(1)).map(|(at, _)| *at)
    }

    /// Returns the marks as distances from `end`, for a digest: where the sums begin has no effect.
    #[cfg(feature = "fingerprint")]
    pub(super) fn distances(&self, end: u64) -> impl Iterator<Item = (Index, u64)> {
        self.placed.iter().map(move |(at, sum)| (*at, end - sum))
    }
}

#[cfg(test)]
mod tests {
    use super::{DISTANCE, Marks};
    use crate::ids::Index;

    /// Returns marks at the indexes 10, 20, 30 and 40, with the sums 0, 100, 250 and 900.
    fn marks() -> Marks {
        let mut marks = Marks::at(Index(10), 0);
        for (index, end) in [(20, 100), (30, 250), (40, 900)] {
            marks.place(Index(index), end);
        }
        marks
    }

    #[test]
    fn a_sum_is_that_of_the_mark_before() {
        let marks = marks();
        let ends = [5, 10, 19, 20, 39, 40, 99].map(|index| marks.end_at(Index(index)));
        assert_eq!(ends, [0, 0, 0, 100, 250, 900, 900]);
    }

    #[test]
    fn a_range_ends_at_the_last_mark_that_fits() {
        let marks = marks();
        assert_eq!(marks.within(Index(10), 250), Some(Index(30)));
        assert_eq!(marks.within(Index(10), 249), Some(Index(20)));
        assert_eq!(marks.within(Index(10), 1), Some(Index(20)), "at least up to the next mark");
        assert_eq!(marks.within(Index(32), 1), Some(Index(40)));
        assert_eq!(marks.within(Index(40), 1), None);
    }

    #[test]
    fn truncation_and_purge_keep_the_purge_mark() {
        let mut marks = marks();
        marks.truncated(Index(30));
        assert_eq!(marks.placed, [(Index(10), 0), (Index(20), 100)]);
        marks.purged(Index(25));
        assert_eq!(marks.placed, [(Index(25), 100)]);
        marks.truncated(Index(20));
        assert_eq!(marks.placed, [(Index(25), 100)]);
    }

    #[test]
    fn marks_are_placed_at_a_distance() {
        let mut marks = Marks::at(Index(0), 0);
        for index in 1..=100 {
            marks.evicted(Index(index), index * DISTANCE / 4);
        }
        assert_eq!(marks.placed.len(), 26, "one in four entries, and the purge mark");
    }
}
