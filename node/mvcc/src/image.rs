//! Owns images: the whole content as bytes, for snapshots and backups. Does not own files, names or transfer: the caller passes
//! in the reader or writer. `node/docs/snapshot_format.md` describes the formats.

mod chunk;
mod error;

mod loading;
mod writing;

mod full;
mod sections;

use std::io::{self, Read, Write};

pub use error::{ReadError, WriteError};

use crate::apply::Store;
use crate::level::FeatureLevel;
use crate::outcome::CommandError;
use crate::revision::Revision;
use crate::view::View;

/// The first bytes of every image. The very first byte is not ASCII, so that no text file begins like an image.
const MAGIC: [u8; 8] = *b"\x89RFTKV\r\n";

/// Kind of the first chunk, in every format. Its payload begins with the format version, so that every reader can name a
/// version that it does not know.
const HEADER: u8 = 1;

/// Format of an image that is written. A reader reads every format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// Version 1: one header, versions, end. Has no place for a feature level, so that it can hold only the first one.
    V1,
    /// Version 2: tagged sections. A program that knows only version 1 refuses the image.
    V2,
}

impl ImageFormat {
    /// The format that may be written at a feature level.
    #[must_use]
    pub const fn of(level: FeatureLevel) -> Self {
        if level.0 <= FeatureLevel::FIRST.0 { ImageFormat::V1 } else { ImageFormat::V2 }
    }
}

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

/// A store that was loaded from an image.
#[derive(Debug)]
pub struct LoadedImage {
    /// The store. The next log entry to apply has the index after `summary.applied_index`.
    pub store: Store,
    /// Verified facts about the image.
    pub summary: ImageSummary,
}

/// Writes the content of a view. In one format, equal content makes equal bytes, no matter how many compacted versions a member
/// has removed. `applied_index` is the index of the newest log entry in the view. `out` receives chunks of about 256 KiB, and is
/// flushed at the end.
///
/// # Errors
/// Returns [`WriteError`] if the writer fails, or if a version or the alarms do not fit into a chunk. The bytes so far are not an image.
///
/// # Panics
/// Panics if the format is [`ImageFormat::V1`] and the view has a higher feature level than the first one, which would be lost.
pub fn write(
    view: &View,
    applied_index: u64,
    format: ImageFormat,
    out: &mut impl Write,
) -> Result<ImageSummary, WriteError> {
    let space = &view.space;
    out.write_all(&MAGIC)?;
    match format {
        ImageFormat::V1 => {
            assert_eq!(space.level, FeatureLevel::FIRST, "an image of version 1 holds no feature level");
            full::write(space, applied_index, out)
        }
        ImageFormat::V2 => sections::write(space, applied_index, out),
    }
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
    loading::read(input)
}

/// Treatment of the history when the revision is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BumpedHistory {
    /// The history stays readable.
    Kept,
    /// The history is compacted at the new revision. Every client that remembers an older revision must therefore list the keys
    /// again (etcdutl's `--mark-compacted`).
    MarkedCompacted,
}

impl Store {
    /// Raises the revision, so that a new cluster never reports a revision that the cluster of the image may have reported for
    /// different content (etcdutl's `--bump-revision`). A restore into a new cluster calls this method before the first command.
    ///
    /// # Errors
    /// Returns [`CommandError::FutureRevision`] if the revision would fall or leave its range. Nothing changed.
    pub fn bump_revision(&mut self, by: i64, history: BumpedHistory) -> Result<(), CommandError> {
        let bumped = self.space.revision.0.checked_add(by).map(Revision);
        let bumped = bumped.filter(|&bumped| by >= 0 && bumped <= Revision::MAX).ok_or(CommandError::FutureRevision)?;
        self.space.revision = bumped;
        if history == BumpedHistory::MarkedCompacted && self.space.compacted < self.space.revision {
            self.space.compact(self.space.revision)?;
            self.compact_slice(usize::MAX);
            assert!(self.space.removal.is_none(), "an unlimited slice removes everything that is compacted");
        }
        assert!(self.space.compacted <= self.space.revision, "compaction mark is at or below the revision");
        Ok(())
    }
}
