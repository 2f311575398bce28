//! Owns the hash of the keyspace that members compare, the same that etcd computes over the same commands. Does not own
//! when it is compared.

use crate::index::Interval;
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::range::RangeError;
use crate::revision::Revision;
use crate::sequence::Place;

/// The answer to a hash request (etcd API `HashKVResponse`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashResult {
    /// CRC-32C of the keyspace up to `hash_revision`.
    pub hash: u32,
    /// The revision it was computed at.
    pub hash_revision: Revision,
    /// The compaction mark it was computed under; hashes under different marks do not compare.
    pub compact_revision: Revision,
    /// The store's revision: the header's.
    pub revision: Revision,
}

pub(crate) fn run(space: &Keyspace, asked: i64) -> Result<HashResult, RangeError> {
    if asked > 0 && asked < space.compacted.0 {
        return Err(RangeError::Compacted);
    }
    if asked > space.revision.0 {
        return Err(RangeError::FutureRevision);
    }
    let at = if asked == 0 { space.revision } else { Revision(asked) };
    Ok(HashResult {
        hash: up_to(space, at),
        hash_revision: at,
        compact_revision: space.compacted,
        revision: space.revision,
    })
}

/// The hash at the newest revision.
pub(crate) fn of_all(space: &Keyspace) -> u32 {
    up_to(space, space.revision)
}

fn up_to(space: &Keyspace, at: Revision) -> u32 {
    let mut hasher = Hasher::new(space, at);
    let end = hasher.end;
    for (place, version) in space.surviving_versions().take_while(|(place, _)| *place < end) {
        hasher.add(place, version);
    }
    hasher.finish()
}

/// Takes the versions that compaction leaves, in revision order.
pub(crate) struct Hasher<'a> {
    space: &'a Keyspace,
    /// Where the history ended at the hash's revision.
    end: Place,
    any_live: bool,
    crc: u32,
}

impl<'a> Hasher<'a> {
    pub(crate) fn new(space: &'a Keyspace, at: Revision) -> Hasher<'a> {
        /// The name of the bucket in which etcd keeps versions.
        const BUCKET: &[u8] = b"key";
        let end = space.history.end_at(at);
        let any_live = space.count(Interval::From(&[]), Some(end)) > 0;
        Hasher { space, end, any_live, crc: crc32c::crc32c(BUCKET) }
    }

    pub(crate) fn add(&mut self, place: Place, version: &KeyValue) {
        let revision = version.revision();
        if revision.main <= self.space.compacted && !self.counts_below_mark(place, version) {
            return;
        }
        let mut key = [0; 18];
        key[..8].copy_from_slice(&revision.main.0.to_be_bytes());
        key[8] = b'_';
        key[9..17].copy_from_slice(&u64::from(revision.sub).to_be_bytes());
        key[17] = b't';
        let key_length = if version.is_tombstone() { 18 } else { 17 };
        self.crc = crc32c::crc32c_append(self.crc, &key[..key_length]);
        self.crc = crc32c::crc32c_append(self.crc, version.encoded());
    }

    /// At or below the mark, etcd counts the versions that are still live at the hash's revision, so that members which
    /// have removed different amounts agree; unless no key is live there, when it counts all that are left. Of tombstones
    /// only one exactly at the mark can be left, and it is never counted.
    fn counts_below_mark(&self, place: Place, version: &KeyValue) -> bool {
        if version.is_tombstone() {
            return false;
        }
        if !self.any_live {
            return true;
        }
        let entry = self.space.index.get(version.key()).expect("a version that is remembered has its key in the index");
        self.space.history.newest_before(self.end, entry.place) == Some(place)
    }

    pub(crate) fn finish(self) -> u32 {
        self.crc
    }
}
