//! Frames made smaller when that pays. Owns the decision: bodies of 1 KiB and more are tried, kept compressed if a tenth is
//! saved; after a failure the next ones are not even tried for a while, as random values do not get better.

use bytes::Bytes;

/// Below this size nothing is tried.
const BYTES_MIN: usize = 1_024;
/// Fastest level: the network is rarely the bottleneck, the processor often is.
const LEVEL: i32 = 1;
/// At most so many frames in a row go untried.
const SKIP_MAX: u32 = 64;
/// A frame larger than this is refused rather than unpacked.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// Compresses one lane's frames.
#[derive(Default)]
pub(crate) struct Compression {
    /// Frames left to skip, and how many to skip after the next failure.
    skip: u32,
    next_skip: u32,
}

impl Compression {
    /// `Some` if the compressed form is worth it.
    pub(crate) fn compress(&mut self, frame: &[u8]) -> Option<Bytes> {
        if frame.len() < BYTES_MIN {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let compressed = zstd::bulk::compress(frame, LEVEL).ok()?;
        if compressed.len() > frame.len() - frame.len() / 10 {
            self.next_skip = (self.next_skip * 2).clamp(1, SKIP_MAX);
            self.skip = self.next_skip;
            return None;
        }
        self.next_skip = 0;
        Some(compressed.into())
    }
}

/// Unpacks a frame; `None` if it is damaged or larger than [`FRAME_BYTES_MAX`].
pub(crate) fn decompress(frame: &[u8]) -> Option<Bytes> {
    let announced = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    let capacity = usize::try_from(announced).ok().filter(|size| *size <= FRAME_BYTES_MAX)?;
    zstd::bulk::decompress(frame, capacity).ok().map(Bytes::from)
}
