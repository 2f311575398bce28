//! Owns images: the whole content as bytes, for snapshots and backups. Does not own files, names or transfer: the caller passes
//! in the reader or writer. `node/docs/snapshot_format.md` describes the formats.

mod chunk;
mod error;
mod summary;

mod loading;
mod numbers;
mod writing;

mod full;
mod sections;

use std::io::{self, Read, Write};

pub use error::{ReadError, WriteError};
pub use summary::{ImageFormat, ImageSummary, LoadedImage};

use chunk::{ChunkReader, HEADER_SIZE};
use full::Full;
use loading::{Layout, Loading, Payload, Wrong};
use sections::Sections;
use summary::{HEADER, MAGIC};

use crate::apply::Store;
use crate::level::FeatureLevel;
use crate::outcome::CommandError;
use crate::revision::Revision;
use crate::view::View;

/// Writes the content of a view. In one format, equal content makes equal bytes, no matter how many compacted versions
/// a member has removed. `applied_index` is the index of the newest log entry in the view. `out` receives chunks of
/// about 256 KiB, and is flushed at the end.
///
/// # Errors
/// Returns [`WriteError`] if the writer fails, or if a version or the alarms do not fit into a chunk. The bytes so far
/// are not an image.
///
/// # Panics
/// Panics if the format is [`ImageFormat::V1`] and the view has a higher feature level than the first one, which would
/// be lost.
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

/// Reads and checks an image, and reads no byte after the end of the image. `input` should be buffered, because some
/// reads are small.
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
    let mut begun: Option<(Loading, Box<dyn Layout>)> = None;
    loop {
        let (kind, payload) = chunks.next_chunk()?;
        image_bytes += (HEADER_SIZE + payload.len()) as u64;
        let mut payload = Payload(payload);
        let step = match (kind, &mut begun) {
            (HEADER, None) => begin(&mut payload).map(|loading| begun = Some(loading)),
            (kind, Some((loading, layout))) if kind != HEADER => layout.take(loading, kind, &mut payload),
            _ => Err(Wrong::Content("its kind does not belong here")),
        };
        match step {
            Ok(()) => {}
            Err(Wrong::Version(version)) => return Err(ReadError::UnknownVersion(version)),
            Err(Wrong::Section(tag)) => return Err(ReadError::UnknownSection(tag)),
            Err(Wrong::Base(revision)) => return Err(ReadError::NeedsBase { revision }),
            Err(Wrong::Content(what)) => return Err(ReadError::Damaged { chunk: chunks.number(), what }),
        }
        if begun.as_ref().is_some_and(|(_, layout)| kind == layout.end()) {
            let (loading, _) = begun.expect("the end is recognized only after a header");
            return loading.finish(image_bytes);
        }
    }
}

fn begin(payload: &mut Payload<'_>) -> Result<(Loading, Box<dyn Layout>), Wrong> {
    match u16::from_le_bytes(payload.array()?) {
        Full::VERSION => Full::begin(payload).map(|(loading, layout)| (loading, Box::new(layout) as Box<dyn Layout>)),
        Sections::VERSION => {
            Sections::begin(payload).map(|(loading, layout)| (loading, Box::new(layout) as Box<dyn Layout>))
        }
        other => Err(Wrong::Version(other)),
    }
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
