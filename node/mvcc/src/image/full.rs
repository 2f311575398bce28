//! Owns version 1 of the image: every version that compaction keeps, the marks and the alarms. Does not own chunks
//! (`chunk`), nor what it shares with later formats (`loading`, `writing`).
//!
//! ```text
//! image    := magic 8 bytes, chunk 0 (kind 1: header), chunks (kind 2: versions) ..., last chunk (kind 3: end)
//!
//! header   := offset size
//!                  0    2  format version = 1
//!                  2    8  applied index
//!                 10    8  revision, signed
//!                 18    8  compaction mark, signed; −1 for never
//!                 26    8  latest time of a command, ms since the Unix epoch
//!                 34    4  number of alarms, then for each: kind u8, member u64
//! versions := for each, in revision order:
//!                  0    8  main revision, signed
//!                  8    4  sub revision
//!                 12    1  flags: 1 tombstone
//!                 13    4  length of the KeyValue, bytes
//!                 17    .  KeyValue, as etcd marshals it
//! end      := offset size
//!                  0    8  number of versions
//!                  8    8  bytes of all KeyValues
//!                 16    4  keyspace hash at the revision
//! ```
//!
//! All numbers are little-endian.

use std::io::Write;

use super::error::WriteError;
use super::loading::{Layout, Loading, Payload, Wrong};
use super::summary::{HEADER, ImageSummary};
use super::writing::Writing;
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::revision::{FullRevision, Revision};

const VERSIONS: u8 = 2;
const END: u8 = 3;

const TOMBSTONE: u8 = 1;

/// Writes the content after the magic.
pub(super) fn write(space: &Keyspace, applied_index: u64, out: &mut impl Write) -> Result<ImageSummary, WriteError> {
    let mut writing = Writing::begin(space, applied_index, Full::VERSION, out);
    writing.put_alarms()?;
    writing.finish_chunk(HEADER)?;
    writing.put_versions(VERSIONS, |out, _, version| put_version(out, version))?;
    writing.put_totals();
    writing.finish(END)
}

fn put_version(out: &mut Vec<u8>, version: &KeyValue) {
    let revision = version.revision();
    let encoded = version.encoded();
    out.extend_from_slice(&revision.main.0.to_le_bytes());
    out.extend_from_slice(&revision.sub.to_le_bytes());
    out.push(if version.is_tombstone() { TOMBSTONE } else { 0 });
    out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
    out.extend_from_slice(encoded);
}

/// Reads version 1.
pub(super) struct Full;

impl Full {
    pub(super) const VERSION: u16 = 1;

    pub(super) fn begin(payload: &mut Payload<'_>) -> Result<(Loading, Full), Wrong> {
        let mut loading = Loading::begin(payload)?;
        loading.read_alarms(payload)?;
        payload.end()?;
        Ok((loading, Full))
    }
}

impl Layout for Full {
    fn take(&mut self, loading: &mut Loading, kind: u8, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        match kind {
            VERSIONS => add_versions(loading, payload),
            END => {
                loading.read_totals(payload)?;
                payload.end()
            }
            _ => Err(Wrong::Content("its kind does not belong here")),
        }
    }

    fn end(&self) -> u8 {
        END
    }
}

fn add_versions(loading: &mut Loading, payload: &mut Payload<'_>) -> Result<(), Wrong> {
    while !payload.0.is_empty() {
        let main = Revision(i64::from_le_bytes(payload.array()?));
        let revision = FullRevision { main, sub: u32::from_le_bytes(payload.array()?) };
        let [flags] = payload.array()?;
        let length = u32::from_le_bytes(payload.array()?);
        let encoded = payload.take(length as usize)?;
        if flags & !TOMBSTONE != 0 {
            return Err(Wrong::Content("a flag is unknown"));
        }
        loading.add(revision, flags == TOMBSTONE, encoded)?;
    }
    Ok(())
}
