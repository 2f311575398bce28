//! Versions of the segment format. Owns the unit in which each version aligns batches. Does not own the layout of headers
//! (`segment.rs`) and frames (`record.rs`), which all versions share.

use crate::disk::{PAGE, SECTOR};

/// Format of new segments of the log. One log may hold segments of several formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogFormat {
    /// Version 1: batches start at sectors. Several batches may share a page, so if the power fails while a batch is written, a
    /// medium that writes whole pages may destroy acknowledged batches.
    #[default]
    V1,
    /// Version 2: batches start at pages, so no page holds an acknowledged batch and a later write. A program that knows only
    /// version 1 refuses the directory.
    V2,
}

impl LogFormat {
    /// Size in bytes of the unit at whose multiples batches start.
    #[must_use]
    pub const fn unit(self) -> usize {
        match self {
            Self::V1 => SECTOR,
            Self::V2 => PAGE,
        }
    }
}
