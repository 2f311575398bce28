//! Owns the reasons why an image was not written or not loaded.

use std::io;

use super::chunk::ChunkError;
use crate::revision::Revision;

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
    /// A newer version of this program wrote the image, with a section that a reader must understand.
    #[error("section {0:#04x} of the image is unknown: load it with a newer version")]
    UnknownSection(u8),
    /// The image holds only what was changed after a base.
    #[error("the image holds changes after revision {revision}: load the image of that revision first")]
    NeedsBase {
        /// Revision of the base.
        revision: Revision,
    },
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

impl ReadError {
    /// Returns whether a newer version of this program wrote the image. Otherwise the image is damaged, incomplete, or
    /// none.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, ReadError::UnknownVersion(_) | ReadError::UnknownSection(_) | ReadError::NeedsBase { .. })
    }
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
