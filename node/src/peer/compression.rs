//! Compression of frames between members. Owns the decision whether a frame is sent compressed: frames of at least 1
//! KiB are compressed, and the result is sent if it is at least a tenth smaller. If too little is saved, the next
//! frames are sent without an attempt to compress them, because values that do not compress are usually followed by
//! similar values.

use bytes::Bytes;

/// Minimum size in bytes of a frame that is compressed.
const BYTES_MIN: usize = 1_024;
/// zstd's fastest level, because the processor is the bottleneck more often than the network.
const LEVEL: i32 = 1;
/// Maximum number of consecutive frames sent without an attempt to compress them.
const SKIP_MAX: u32 = 64;
/// Maximum size of a frame in bytes after decompression; a larger frame is refused.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// Compresses one lane's frames.
#[derive(Default)]
pub(crate) struct Compression {
    /// Number of frames still to be sent without an attempt to compress them.
    skip: u32,
    /// Initial value of `skip` after the latest attempt; 0 if that attempt saved enough. Consecutive attempts that save
    /// too little set it to 1, 2, 4 and so on, up to [`SKIP_MAX`].
    next_skip: u32,
}

impl Compression {
    /// Compresses a frame; `None` if there was no attempt, or too little was saved.
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

/// Decompresses a frame; `None` if it is damaged or larger than [`FRAME_BYTES_MAX`].
pub(crate) fn decompress(frame: &[u8]) -> Option<Bytes> {
    let announced = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    let capacity = usize::try_from(announced).ok().filter(|size| *size <= FRAME_BYTES_MAX)?;
    zstd::bulk::decompress(frame, capacity).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Incompressible bytes, the same in each run.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn a_compressible_frame_is_compressed_and_decompresses_to_itself() {
        let frame = b"the same words again and again; ".repeat(100);
        let compressed = Compression::default().compress(&frame).expect("repeated words compress well");
        assert!(compressed.len() < frame.len() / 2);
        assert_eq!(decompress(&compressed).unwrap(), frame);
    }

    #[test]
    fn small_frames_are_not_compressed() {
        assert_eq!(Compression::default().compress(&[0; BYTES_MIN - 1]), None);
        assert!(Compression::default().compress(&[0; BYTES_MIN]).is_some());
    }

    #[test]
    fn incompressible_frames_are_tried_less_and_less_often() {
        let (noise, words) = (noise(4_000), b"words, words, ".repeat(200));
        let mut compression = Compression::default();
        let mut tried = 0;
        for _ in 0..200 {
            tried += usize::from(compression.skip == 0);
            assert_eq!(compression.compress(&noise), None);
        }
        assert!(tried < 12, "{tried} of 200 were tried");
        let until_tried = (0..=SKIP_MAX).position(|_| compression.compress(&words).is_some());
        assert!(until_tried.is_some(), "a compressible frame is never tried again");
        assert!(compression.compress(&words).is_some(), "frames are skipped after a success");
    }

    #[test]
    fn damaged_or_huge_frames_are_refused() {
        assert_eq!(decompress(b"not a zstd frame"), None);
        let mut compressed = Compression::default().compress(&[7; 5_000]).unwrap().to_vec();
        compressed.truncate(compressed.len() - 2);
        assert_eq!(decompress(&compressed), None);
        let huge = zstd::bulk::compress(&vec![0; FRAME_BYTES_MAX + 1], 1).unwrap();
        assert_eq!(decompress(&huge), None);
    }
}
