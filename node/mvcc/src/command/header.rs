//! Owns the header of one item of a batch of version 2: tagged fields, to which later programs add. This program knows no field and
//! writes none. Does not own the item (`command::batch`).
//!
//! ```text
//! header := length varint, fields in ascending order of their numbers
//! field  := tag varint, length varint, content
//! tag    := number * 2, plus 1 if a reader must understand the field
//! ```
//!
//! `node/docs/batch_format.md` lists the numbers that are reserved.

use bytes::Bytes;

use super::codec::Reader;

/// Bit of a tag whose field must be understood.
const MUST_UNDERSTAND: u64 = 1;

/// An encoded header without fields.
pub(super) const EMPTY: u8 = 0;

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The header has a field with this tag, which must be understood and is not known.
    #[error("a field with tag {0} is unknown: upgrade this member")]
    UnknownField(u64),
    /// The fields are not an encoding.
    #[error("{0}")]
    Malformed(&'static str),
}

impl HeaderError {
    /// Returns whether a newer version of this program wrote the header. Otherwise it is damaged.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            HeaderError::UnknownField(_) => true,
            HeaderError::Malformed(_) => false,
        }
    }
}

/// Checks the fields of a header, and skips those that need not be understood. A header is newer only if all of it is
/// well-formed.
pub(super) fn check(fields: Bytes) -> Result<(), HeaderError> {
    let mut reader = Reader { bytes: fields, at: 0 };
    let mut last = 0;
    let mut unknown = None;
    while reader.at < reader.bytes.len() {
        let tag = reader.varint().map_err(|_| HeaderError::Malformed("a tag is not a number in its shortest form"))?;
        let number = tag >> 1;
        // No field has the number 0, so the first number is above `last` too.
        if number <= last {
            return Err(HeaderError::Malformed("the numbers of its fields do not ascend"));
        }
        last = number;
        let length = reader.varint().map_err(|_| HeaderError::Malformed("a field has no length"))?;
        reader.take(length).map_err(|_| HeaderError::Malformed("a field is longer than the header"))?;
        if tag & MUST_UNDERSTAND != 0 {
            unknown = unknown.or(Some(tag));
        }
    }
    unknown.map_or(Ok(()), |tag| Err(HeaderError::UnknownField(tag)))
}
