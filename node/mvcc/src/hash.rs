//! Owns the hash of the keyspace, which members compare with each other. etcd computes the same hash for the same commands. Does
//! not own the time at which members compare hashes.
//!
//! etcd and this store differ in two cases. First, a transaction can delete a key and put it again through an overlap
//! that etcd's check misses (an interval that ends in `"\0"`, or nested transactions). etcd's hash treats the key as
//! deleted at the transaction's revision, and etcd panics when it compacts at this revision; in this store the key is
//! live. Second, for the revision of a past compaction etcd returns the hash that it stored during that compaction,
//! computed under the mark in force then; this store computes the hash under the present mark.

use crate::history::Replaced;
use crate::index::Interval;
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::meter::{Meter, ReadFailure};
use crate::outcome::CommandError;
use crate::revision::Revision;
use crate::sequence::Place;

/// The answer to a hash request (etcd API `HashKVResponse`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashResult {
    /// CRC-32C of the keyspace up to `hash_revision`.
    pub hash: u32,
    /// Revision up to which the hash was computed.
    pub hash_revision: Revision,
    /// Compaction mark under which the hash was computed. Hashes under different marks must not be compared.
    pub compact_revision: Revision,
    /// The store's revision, which is also the revision in the response header.
    pub revision: Revision,
}

pub(crate) fn run(space: &Keyspace, asked: i64, meter: &mut Meter<'_>) -> Result<HashResult, ReadFailure> {
    if asked > 0 && asked < space.compacted.0 {
        return Err(CommandError::Compacted.into());
    }
    if asked > space.revision.0 {
        return Err(CommandError::FutureRevision.into());
    }
    let at = if asked == 0 { space.revision } else { Revision(asked) };
    Ok(HashResult {
        hash: up_to(space, at, meter)?,
        hash_revision: at,
        compact_revision: space.compacted,
        revision: space.revision,
    })
}

/// The hash at the newest revision.
pub(crate) fn of_all(space: &Keyspace) -> u32 {
    up_to(space, space.revision, &mut Meter::unlimited()).expect("a meter without limits stops nothing")
}

fn up_to(space: &Keyspace, at: Revision, meter: &mut Meter<'_>) -> Result<u32, ReadFailure> {
    let mut hasher = Hasher::new(space, at);
    let end = hasher.end;
    for (place, version) in space.surviving_versions().take_while(|(place, _)| *place < end) {
        meter.visit()?;
        hasher.add(place, version);
    }
    Ok(hasher.finish())
}

/// Hashes the versions that compaction keeps. The caller must add them in revision order.
pub(crate) struct Hasher {
    /// Place after the last version that is at or below the hash's revision.
    end: Place,
    /// Place after the last version that is at or below the compaction mark.
    mark_end: Place,
    /// Versions at or below the compaction mark that were replaced by changes above the mark, up to and including the
    /// hash's revision. The hash omits these versions. Empty if no key is live at the hash's revision.
    replaced: Replaced,
    /// Place after the version that was added last.
    next: Place,
    crc: u32,
}

impl Hasher {
    pub(crate) fn new(space: &Keyspace, at: Revision) -> Hasher {
        /// The name of the bucket in which etcd keeps versions.
        const BUCKET: &[u8] = b"key";
        let (moment, mark_end) = (space.history.moment(at), space.mark_end());
        // At or below the mark, etcd hashes only the versions that are still live at the hash's revision. Members therefore
        // agree, no matter how many versions they have removed. If no key is live at the hash's revision, etcd hashes all
        // versions that compaction keeps. Without a version at or below the mark there is nothing to omit, so that the
        // history need not be searched.
        let omits_replaced = mark_end > Place(0) && space.count(Interval::From(&[]), Some(moment)) > 0;
        let replacing_end = if omits_replaced { moment.end } else { mark_end };
        let replaced = space.history.replaced_before(mark_end, mark_end..replacing_end);
        Hasher { end: moment.end, mark_end, replaced, next: Place(0), crc: crc32c::crc32c(BUCKET) }
    }

    pub(crate) fn add(&mut self, place: Place, version: &KeyValue) {
        debug_assert!(place >= self.next, "versions are hashed in revision order");
        self.next = place.next();
        // Compaction keeps tombstones exactly at the mark, and no tombstones below the mark. etcd's hash omits the kept
        // tombstones.
        if place < self.mark_end && (version.is_tombstone() || self.replaced.contains(place)) {
            return;
        }
        let revision = version.revision();
        let mut key = [0; 18];
        key[..8].copy_from_slice(&revision.main.0.to_be_bytes());
        key[8] = b'_';
        key[9..17].copy_from_slice(&u64::from(revision.sub).to_be_bytes());
        key[17] = b't';
        let key_length = if version.is_tombstone() { 18 } else { 17 };
        self.crc = crc32c::crc32c_append(self.crc, &key[..key_length]);
        self.crc = crc32c::crc32c_append(self.crc, version.encoded());
    }

    pub(crate) fn finish(self) -> u32 {
        self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::command::{Command, Compact, Put};
    use crate::history::reads;

    /// Returns a store in which each of 100 keys was put ten times.
    fn store() -> Store {
        let mut store = Store::new();
        for number in 0..1_000 {
            let put = Put { key: format!("k{}", number % 100).into(), value: "v".into(), ..Put::default() };
            store.apply(0, &Command::Put(put)).expect("a plain put succeeds");
        }
        store
    }

    /// A hash finds its end by a search that reads a few versions.
    const SEARCH_READS_MAX: usize = 10;

    #[test]
    fn hash_of_a_store_that_was_never_compacted_reads_each_version_once() {
        let store = store();
        for (asked, versions) in [(0, 1_000), (500, 499)] {
            let (result, read) = reads::counted(|| run(&store.space, asked, &mut Meter::unlimited()));
            assert!(result.is_ok());
            assert!(read <= versions + SEARCH_READS_MAX, "{read} reads of {versions} versions");
        }
        let hasher = Hasher::new(&store.space, store.space.revision);
        assert_eq!(hasher.replaced.len(), 0, "no version is at or below the mark");
    }

    #[test]
    fn hash_holds_only_the_places_of_replaced_versions_below_the_mark() {
        let mut store = store();
        // The mark is at the first put of the 50th key.
        store.apply(0, &Command::Compact(Compact { revision: 51, physical: false })).expect("the revision is kept");
        let hasher = Hasher::new(&store.space, store.space.revision);
        assert_eq!(hasher.replaced.len(), 50, "each of 50 versions was replaced once, and all later ones are above");
    }
}
