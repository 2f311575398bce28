//! The numbers of the versions of an image, for links and for the order of keys. Owns the way from a place to its number. Does not
//! own which versions an image holds (`compaction`).
//!
//! An image may have tens of millions of versions, and the memory for this list counts besides that of the store. Places are
//! therefore kept as distances, which take a byte each unless many versions between them were removed.

use crate::sequence::Place;

/// Number of places that are found by one search and then counted one by one.
const BLOCK: u64 = if cfg!(test) { 3 } else { 64 };

/// Ascending places. The position of a place is the number of its version.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// First place of each block, and where the distances of its other places begin.
    blocks: Vec<(Place, usize)>,
    /// Distance of each other place to the one before it, as a varint.
    distances: Vec<u8>,
    last: Option<Place>,
    len: u64,
}

impl Numbers {
    /// Number of places.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a place above all others.
    pub(super) fn push(&mut self, place: Place) {
        debug_assert!(self.last.is_none_or(|last| last < place), "places ascend");
        match self.last {
            Some(last) if !self.len.is_multiple_of(BLOCK) => put_varint(&mut self.distances, place.0 - last.0),
            _ => self.blocks.push((place, self.distances.len())),
        }
        self.last = Some(place);
        self.len += 1;
    }

    /// Number of the version at a place; `None` if the version is not in the image.
    pub(super) fn of(&self, place: Place) -> Option<u64> {
        let block = self.blocks.partition_point(|(first, _)| *first <= place).checked_sub(1)?;
        let (mut at, begin) = self.blocks[block];
        let end = self.blocks.get(block + 1).map_or(self.distances.len(), |(_, end)| *end);
        let mut distances = &self.distances[begin..end];
        let mut number = block as u64 * BLOCK;
        while at < place {
            at = Place(at.0 + take_varint(&mut distances)?);
            number += 1;
        }
        (at == place).then_some(number)
    }
}

/// Appends a number, little-endian in base 128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number that [`put_varint`] has appended; `None` at the end.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_number_is_the_position_of_a_place(places in prop::collection::btree_set(0..400u64, 0..60), far in any::<u64>()) {
            let places: BTreeSet<u64> = places.into_iter().chain([far.max(500)]).collect();
            let mut numbers = Numbers::default();
            places.iter().for_each(|place| numbers.push(Place(*place)));
            prop_assert_eq!(numbers.len(), places.len() as u64);
            for place in (0..=401).chain([far, far.saturating_add(1)]) {
                let expected = places.iter().position(|one| *one == place).map(|number| number as u64);
                prop_assert_eq!(numbers.of(Place(place)), expected);
            }
        }
    }

    /// The budget of a member has no share for a list with eight bytes for each version.
    #[test]
    fn a_version_takes_about_a_byte() {
        const VERSIONS: usize = 100_000;
        let mut numbers = Numbers::default();
        (0..VERSIONS as u64).for_each(|number| numbers.push(Place(number * 2)));
        let of_blocks = numbers.blocks.len() / (64 / BLOCK as usize) * size_of::<(Place, usize)>();
        assert!(numbers.distances.len() + of_blocks <= VERSIONS + VERSIONS / 2, "{} bytes", numbers.distances.len());
    }
}
