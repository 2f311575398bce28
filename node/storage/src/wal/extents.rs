//! Where the entries of the log stand on disk: the latest place of each index, known to within an extent. Owns this list, which
//! costs a few dozen bytes for each [`EXTENT_BYTES`] of the log. Does not own the reading (`read.rs`).
//!
//! An extent is a run of batches in one segment in which indexes only go forward. Where indexes go back, the extents at or above
//! the index are dropped and a new extent begins, so that no extent leads to a superseded entry.

use raft::{Entry, Index};

use crate::wal::record::Place;

/// Number of bytes of a segment after which a new extent begins. The first read of a reader decodes at most as much in vain, and
/// what its first batch holds before the entry.
pub(crate) const EXTENT_BYTES: u64 = 256 * 1024;

/// Run of batches in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First index in the extent. The last one is before the first index of the next extent.
    pub(crate) first: Index,
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Place of the first batch.
    pub(crate) place: Place,
    /// Weight of all entries that were added before the extent, in bytes. Superseded entries count as well, so the difference
    /// between two extents is at least the weight of the entries between them.
    pub(crate) weight_before: u64,
}

/// Extents of a log, oldest first. Both their indexes and their places strictly ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    list: Vec<Extent>,
    /// Weight of all entries that were ever added, in bytes.
    weight: u64,
}

impl Extents {
    /// First index of the log; `None` if the log holds no entry.
    pub(crate) fn first(&self) -> Option<Index> {
        self.list.first().map(|extent| extent.first)
    }

    /// Weight of all entries that were ever added, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.list.iter()
    }

    /// Adds a batch to a log that ended at `last`.
    pub(crate) fn add<'a>(
        &mut self,
        last: Index,
        segment: u64,
        place: Place,
        batch: impl Iterator<Item = &'a Entry> + Clone,
    ) {
        // A batch that supersedes entries of its own leaves the entries from its lowest index on.
        let Some(first) = batch.clone().map(|entry| entry.id.index).min() else { return };
        let above = self.list.partition_point(|extent| extent.first < first);
        self.list.truncate(above);
        let continues = first > last
            && self
                .list
                .last()
                .is_some_and(|extent| extent.segment == segment && place.offset - extent.place.offset < EXTENT_BYTES);
        if !continues {
            self.list.push(Extent { first, segment, place, weight_before: self.weight });
        }
        self.weight += batch.map(weight).sum::<u64>();
        self.assert_ascending();
    }

    /// The extent that holds `index`, and the first index of the extent after it. The caller checks that the log does not end
    /// before `index`.
    pub(crate) fn find(&self, index: Index) -> Option<(Extent, Option<Index>)> {
        let after = self.list.partition_point(|extent| extent.first <= index);
        let extent = self.list.get(after.checked_sub(1)?)?;
        Some((*extent, self.list.get(after).map(|next| next.first)))
    }

    /// Drops the extents in segments up to the one with this number.
    pub(crate) fn purge_through(&mut self, segment: u64) {
        let purged = self.list.partition_point(|extent| extent.segment <= segment);
        self.list.drain(..purged);
    }

    /// Drops all extents, because the log starts anew.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    fn assert_ascending(&self) {
        let [.., one, two] = &self.list[..] else { return };
        let is_later = (one.segment, one.place.number) < (two.segment, two.place.number);
        assert!(one.first < two.first && is_later, "the latest place of an index is the last one: {one:?}, {two:?}");
    }
}

/// Bytes by which the core counts an entry in its limits: the payload and a surcharge.
pub(crate) fn weight(entry: &Entry) -> u64 {
    const SURCHARGE: u64 = 64;
    entry.payload.len() as u64 + SURCHARGE
}

#[cfg(test)]
mod tests {
    use raft::{EntryId, Payload, Term};

    use super::*;

    fn place(number: u64, offset: u64) -> Place {
        Place { salt: 7, number, unit: 4096, offset, chain: 0 }
    }

    fn batch(indexes: &[u64]) -> Vec<Entry> {
        let entry = |index: &u64| Entry {
            id: EntryId { term: Term(1), index: Index(*index) },
            time_ms: 0,
            payload: Payload::Normal(vec![0; 36].into()),
        };
        indexes.iter().map(entry).collect()
    }

    /// First index, segment and batch of each extent.
    fn listed(extents: &Extents) -> Vec<(u64, u64, u64)> {
        extents.iter().map(|extent| (extent.first.0, extent.segment, extent.place.number)).collect()
    }

    #[test]
    fn an_extent_begins_with_a_segment_after_its_length_and_where_indexes_go_back() {
        let mut extents = Extents::default();
        let mut add = |last: u64, segment, number, offset, indexes: &[u64]| {
            extents.add(Index(last), segment, place(number, offset), batch(indexes).iter());
            listed(&extents)
        };
        assert_eq!(add(0, 1, 1, 4096, &[1, 2]), [(1, 1, 1)]);
        assert_eq!(add(2, 1, 2, 8192, &[3]), [(1, 1, 1)]);
        assert_eq!(add(3, 1, 3, 4096 + EXTENT_BYTES, &[4, 5]), [(1, 1, 1), (4, 1, 3)]);
        assert_eq!(add(5, 2, 4, 4096, &[6]), [(1, 1, 1), (4, 1, 3), (6, 2, 4)]);
        assert_eq!(add(6, 2, 5, 8192, &[5, 6]), [(1, 1, 1), (4, 1, 3), (5, 2, 5)]);
        assert_eq!(add(6, 2, 6, 12_288, &[7, 8, 4, 5]), [(1, 1, 1), (4, 2, 6)]);
        assert_eq!(add(5, 2, 7, 16_384, &[1]), [(1, 2, 7)]);
        assert_eq!(extents.weight(), 1300);
    }

    #[test]
    fn the_extent_of_an_index_is_the_last_one_that_begins_at_or_before_it() {
        let mut extents = Extents::default();
        extents.add(Index(0), 1, place(1, 4096), batch(&[3, 4, 5]).iter());
        extents.add(Index(5), 2, place(2, 4096), batch(&[6]).iter());
        let find = |index| extents.find(Index(index)).map(|(extent, next)| (extent.segment, next.map(|next| next.0)));
        assert_eq!([2, 3, 5, 6].map(find), [None, Some((1, Some(6))), Some((1, Some(6))), Some((2, None))]);
        extents.purge_through(1);
        assert_eq!((extents.first(), listed(&extents)), (Some(Index(6)), vec![(6, 2, 2)]));
    }

    #[test]
    #[should_panic(expected = "the latest place of an index is the last one")]
    fn a_planted_earlier_place_is_caught() {
        let mut extents = Extents::default();
        extents.add(Index(0), 2, place(2, 4096), batch(&[1]).iter());
        extents.add(Index(1), 1, place(3, 4096), batch(&[2]).iter());
    }
}
