//! Owns what all formats of an image share: the first bytes, the choice of a format, and the facts about an image.

use crate::apply::Store;
use crate::level::FeatureLevel;
use crate::revision::Revision;

/// The first bytes of every image. The very first byte is not ASCII, so that no text file begins like an image.
pub(super) const MAGIC: [u8; 8] = *b"\x89RFTKV\r\n";

/// Kind of the first chunk, in every format. Its payload begins with the format version, so that every reader can name
/// a version that it does not know.
pub(super) const HEADER: u8 = 1;

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
    /// Keyspace hash at the revision, as [`crate::View::hash_kv`] returns it.
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
