//! Owns the full image: every version that compaction keeps, the marks and the alarms. Does not own chunks (`chunk`).
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

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::chunk::{ChunkError, ChunkReader, ChunkWriter, HEADER_SIZE, PAYLOAD_BYTES_MAX};
use crate::apply::Store;
use crate::command::{Alarm, AlarmKind};
use crate::hash::{self, Hasher};
use crate::key_value::{Fields, KeyValue};
use crate::keyspace::Keyspace;
use crate::revision::{FullRevision, Revision};
use crate::view::View;

/// The first bytes of every image. The very first byte is not ASCII, so that no text file begins like an image.
const MAGIC: [u8; 8] = *b"\x89RFTKV\r\n";
const FORMAT_VERSION: u16 = 1;

const HEADER: u8 = 1;
const VERSIONS: u8 = 2;
const END: u8 = 3;

const TOMBSTONE: u8 = 1;
const VERSION_HEADER_SIZE: usize = 17;

/// A chunk is closed when its payload reaches this many bytes.
const CHUNK_BYTES: usize = 256 << 10;

const _: () = assert!(CHUNK_BYTES < PAYLOAD_BYTES_MAX, "a chunk is closed long before it is too large");

/// Facts about an image, collected while the image was written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// Index of the newest log entry in the image.
    pub applied_index: u64,
    /// The store's revision.
    pub revision: Revision,
    /// The store's compaction mark.
    pub compact_revision: Revision,
    /// Latest time of a command, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Number of versions, including tombstones.
    pub version_count: u64,
    /// Keyspace hash at the revision, as [`View::hash_kv`] returns it.
    pub hash: u32,
    /// Size of the image, in bytes.
    pub image_bytes: u64,
}

/// Why an image was not written completely. The bytes that were written are not an image.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The writer failed.
    #[error("the image could not be written")]
    Io(#[from] io::Error),
    /// A version does not fit into a chunk. The limit on the size of requests should have prevented such a version.
    #[error("the version of {bytes} bytes at revision {revision} does not fit into an image")]
    VersionTooLarge {
        /// Size of the version.
        bytes: usize,
        /// Revision of the version.
        revision: Revision,
    },
    /// The store has more alarms than fit into a chunk.
    #[error("{alarms} alarms do not fit into an image: disarm the alarms of members that do not exist")]
    TooManyAlarms {
        /// Number of alarms.
        alarms: usize,
    },
}

/// Why an image was not loaded. No store was made.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader failed.
    #[error("the image could not be read")]
    Io(#[source] io::Error),
    /// The bytes do not begin like an image.
    #[error("this is not an image of the store")]
    NotAnImage,
    /// A newer version of this program wrote the image.
    #[error("image format version {0} is unknown: load it with a newer version")]
    UnknownVersion(u16),
    /// The image ends inside a chunk.
    #[error("the image ends in chunk {chunk}: use another copy")]
    Truncated {
        /// Number of the incomplete chunk.
        chunk: u32,
    },
    /// A checksum or a number is wrong, or the chunks are in the wrong order.
    #[error("the image is damaged in chunk {chunk} ({what}): use another copy")]
    Damaged {
        /// Number of the chunk.
        chunk: u32,
        /// The contradiction that was found.
        what: &'static str,
    },
    /// Every chunk is intact, but the hash of the content differs from the hash that was written with the image.
    #[error("the image's content has hash {found:08x} and claims {claimed:08x}: use another copy")]
    WrongHash {
        /// Hash in the image.
        claimed: u32,
        /// Hash of the content.
        found: u32,
    },
}

impl From<ChunkError> for ReadError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Io(error) => ReadError::Io(error),
            ChunkError::Truncated { chunk } => ReadError::Truncated { chunk },
            ChunkError::Damaged { chunk } => ReadError::Damaged { chunk, what: "checksum" },
        }
    }
}

/// Writes the content of a view. Equal content makes equal bytes, no matter how many compacted versions a member has removed.
/// `applied_index` is the index of the newest log entry in the view. `out` receives chunks of about 256 KiB, and is flushed at
/// the end.
///
/// # Errors
/// Returns [`WriteError`] if the writer fails, or if a version or the alarms do not fit into a chunk. The bytes so far are not an image.
pub fn write(view: &View, applied_index: u64, out: &mut impl Write) -> Result<ImageSummary, WriteError> {
    let space = &view.space;
    out.write_all(&MAGIC)?;
    let mut image_bytes = MAGIC.len() as u64;
    let mut chunks = ChunkWriter::new(out);
    put_header(chunks.payload(), space, applied_index);
    if chunks.payload_len() > PAYLOAD_BYTES_MAX {
        return Err(WriteError::TooManyAlarms { alarms: space.alarms.len() });
    }
    image_bytes += chunks.finish_chunk(HEADER)?;

    let mut hasher = Hasher::new(space, space.revision);
    let mut version_count = 0u64;
    let mut version_bytes = 0u64;
    let mut newest = FullRevision { main: Revision(0), sub: 0 };
    for (place, version) in space.surviving_versions() {
        hasher.add(place, version);
        let encoded = version.encoded();
        if encoded.len() > PAYLOAD_BYTES_MAX - CHUNK_BYTES - VERSION_HEADER_SIZE {
            return Err(WriteError::VersionTooLarge { bytes: encoded.len(), revision: version.main() });
        }
        debug_assert!(
            version.revision() > newest && version.main() <= space.revision && is_sound(version),
            "an image holds only what its reader accepts: {version:?} after {newest:?}"
        );
        newest = version.revision();
        put_version(chunks.payload(), version);
        version_count += 1;
        version_bytes += encoded.len() as u64;
        if chunks.payload_len() >= CHUNK_BYTES {
            image_bytes += chunks.finish_chunk(VERSIONS)?;
        }
    }
    if chunks.payload_len() > 0 {
        image_bytes += chunks.finish_chunk(VERSIONS)?;
    }

    debug_assert!(
        space.removal.is_some() || version_count == space.history.len() as u64,
        "an image holds every version that compaction keeps"
    );
    let hash = hasher.finish();
    debug_assert_eq!(hash, hash::of_all(space), "an image names the hash of its content");
    let payload = chunks.payload();
    payload.extend_from_slice(&version_count.to_le_bytes());
    payload.extend_from_slice(&version_bytes.to_le_bytes());
    payload.extend_from_slice(&hash.to_le_bytes());
    image_bytes += chunks.finish_chunk(END)?;
    chunks.into_inner().flush()?;
    Ok(ImageSummary {
        applied_index,
        revision: space.revision,
        compact_revision: space.compacted,
        time_ms: space.time_ms,
        version_count,
        hash,
        image_bytes,
    })
}

fn put_header(out: &mut Vec<u8>, space: &Keyspace, applied_index: u64) {
    debug_assert!(
        are_revisions_sound(space),
        "an image holds only what its reader accepts: revision and compaction mark"
    );
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&applied_index.to_le_bytes());
    out.extend_from_slice(&space.revision.0.to_le_bytes());
    out.extend_from_slice(&space.compacted.0.to_le_bytes());
    out.extend_from_slice(&space.time_ms.to_le_bytes());
    out.extend_from_slice(&(space.alarms.len() as u32).to_le_bytes());
    for alarm in space.alarms.iter() {
        out.push(alarm.kind.code());
        out.extend_from_slice(&alarm.member.to_le_bytes());
    }
}

/// Returns whether the revision and the compaction mark are valid. Both the writer and the reader check them.
fn are_revisions_sound(space: &Keyspace) -> bool {
    (Revision::FIRST..=Revision::MAX).contains(&space.revision)
        && (Revision::NEVER..=space.revision).contains(&space.compacted)
}

/// Returns whether a reader of the image would accept the version.
fn is_sound(version: &KeyValue) -> bool {
    check_version(&version.fields(), version.revision(), flags_of(version)).is_ok()
}

fn flags_of(version: &KeyValue) -> u8 {
    if version.is_tombstone() { TOMBSTONE } else { 0 }
}

fn put_version(out: &mut Vec<u8>, version: &KeyValue) {
    let revision = version.revision();
    let encoded = version.encoded();
    out.extend_from_slice(&revision.main.0.to_le_bytes());
    out.extend_from_slice(&revision.sub.to_le_bytes());
    out.push(flags_of(version));
    out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
    out.extend_from_slice(encoded);
}

/// A store that was loaded from an image.
#[derive(Debug)]
pub struct LoadedImage {
    /// The store. The next log entry to apply has the index after `summary.applied_index`.
    pub store: Store,
    /// Verified facts about the image.
    pub summary: ImageSummary,
}

/// Reads and checks an image, and reads no byte after the end of the image. `input` should be buffered, because some reads are
/// small.
///
/// # Errors
/// Returns [`ReadError`] if the reader fails or the bytes are not a valid image. No store was made.
pub fn read(input: &mut impl Read) -> Result<LoadedImage, ReadError> {
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Truncated { chunk: 0 },
        _ => ReadError::Io(error),
    })?;
    if magic != MAGIC {
        return Err(ReadError::NotAnImage);
    }
    let mut image_bytes = magic.len() as u64;
    let mut chunks = ChunkReader::new(input);
    let mut loading: Option<Loading> = None;
    loop {
        let (kind, payload) = chunks.next_chunk()?;
        image_bytes += (HEADER_SIZE + payload.len()) as u64;
        let mut payload = Payload(payload);
        let step = match (kind, &mut loading) {
            (HEADER, None) => Loading::begin(&mut payload).map(|begun| loading = Some(begun)),
            (VERSIONS, Some(loading)) => loading.add_versions(&mut payload),
            (END, Some(loading)) => loading.check_end(&mut payload),
            _ => Err(Wrong::Content("its kind does not belong here")),
        };
        match step {
            Ok(()) => {}
            Err(Wrong::Version(version)) => return Err(ReadError::UnknownVersion(version)),
            Err(Wrong::Content(what)) => return Err(ReadError::Damaged { chunk: chunks.number(), what }),
        }
        if kind == END {
            let loading = loading.expect("an end is accepted only after a header");
            return loading.finish(image_bytes);
        }
    }
}

/// Reason why a chunk is refused although its checksum matches.
enum Wrong {
    Version(u16),
    Content(&'static str),
}

/// A store that is being filled from an image.
struct Loading {
    space: Keyspace,
    applied_index: u64,
    newest: FullRevision,
    version_count: u64,
    version_bytes: u64,
    claimed_hash: u32,
    scratch: Vec<u8>,
}

impl Loading {
    fn begin(payload: &mut Payload<'_>) -> Result<Loading, Wrong> {
        let format_version = u16::from_le_bytes(payload.array()?);
        if format_version != FORMAT_VERSION {
            return Err(Wrong::Version(format_version));
        }
        let applied_index = u64::from_le_bytes(payload.array()?);
        let mut space = Keyspace::new();
        space.revision = Revision(i64::from_le_bytes(payload.array()?));
        space.compacted = Revision(i64::from_le_bytes(payload.array()?));
        space.time_ms = u64::from_le_bytes(payload.array()?);
        if !are_revisions_sound(&space) {
            return Err(Wrong::Content("its revisions contradict each other"));
        }
        let alarm_count = u32::from_le_bytes(payload.array()?);
        let mut alarms = BTreeSet::new();
        for _ in 0..alarm_count {
            let [code] = payload.array()?;
            let kind = AlarmKind::from_code(code).ok_or(Wrong::Content("an alarm's kind is unknown"))?;
            alarms.insert(Alarm { kind, member: u64::from_le_bytes(payload.array()?) });
        }
        space.alarms = Arc::new(alarms);
        payload.end()?;
        Ok(Loading {
            space,
            applied_index,
            newest: FullRevision { main: Revision(0), sub: 0 },
            version_count: 0,
            version_bytes: 0,
            claimed_hash: 0,
            scratch: Vec::new(),
        })
    }

    fn add_versions(&mut self, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        while !payload.0.is_empty() {
            let main = Revision(i64::from_le_bytes(payload.array()?));
            let revision = FullRevision { main, sub: u32::from_le_bytes(payload.array()?) };
            let [flags] = payload.array()?;
            let length = u32::from_le_bytes(payload.array()?);
            let encoded = payload.take(length as usize)?;
            if revision <= self.newest || revision.main > self.space.revision {
                return Err(Wrong::Content("a revision is out of order"));
            }
            let fields = Fields::parse(encoded).ok_or(Wrong::Content("a version does not parse"))?;
            check_version(&fields, revision, flags)?;
            self.space.restore(&mut self.scratch, revision, &fields);
            self.newest = revision;
            self.version_count += 1;
            self.version_bytes += encoded.len() as u64;
        }
        Ok(())
    }

    fn check_end(&mut self, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        let version_count = u64::from_le_bytes(payload.array()?);
        let version_bytes = u64::from_le_bytes(payload.array()?);
        self.claimed_hash = u32::from_le_bytes(payload.array()?);
        payload.end()?;
        if (version_count, version_bytes) != (self.version_count, self.version_bytes) {
            return Err(Wrong::Content("versions are missing"));
        }
        Ok(())
    }

    fn finish(self, image_bytes: u64) -> Result<LoadedImage, ReadError> {
        let found = hash::of_all(&self.space);
        if found != self.claimed_hash {
            return Err(ReadError::WrongHash { claimed: self.claimed_hash, found });
        }
        debug_assert_eq!(
            self.space.history.len() as u64,
            self.version_count,
            "a store holds every version of its image"
        );
        let summary = ImageSummary {
            applied_index: self.applied_index,
            revision: self.space.revision,
            compact_revision: self.space.compacted,
            time_ms: self.space.time_ms,
            version_count: self.version_count,
            hash: found,
            image_bytes,
        };
        Ok(LoadedImage { store: Store::holding(self.space), summary })
    }
}

fn check_version(fields: &Fields<'_>, revision: FullRevision, flags: u8) -> Result<(), Wrong> {
    let sound = match flags {
        TOMBSTONE => *fields == Fields { key: fields.key, ..Fields::default() },
        0 => {
            (1..=Revision::MAX.0).contains(&fields.version)
                && fields.mod_revision == revision.main.0
                && (1..=fields.mod_revision).contains(&fields.create_revision)
        }
        _ => false,
    };
    if sound && !fields.key.is_empty() { Ok(()) } else { Err(Wrong::Content("a version contradicts itself")) }
}

/// The part of a payload that is not read yet.
struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Wrong::Content("it ends inside a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    fn end(&self) -> Result<(), Wrong> {
        if self.0.is_empty() { Ok(()) } else { Err(Wrong::Content("it holds more than it should")) }
    }
}
