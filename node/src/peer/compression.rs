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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that nothing can shorten, the same each time.
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
    fn what_shrinks_is_compressed_and_comes_back_whole() {
        let frame = b"the same words again and again; ".repeat(100);
        let compressed = Compression::default().compress(&frame).expect("it shrinks a lot");
        assert!(compressed.len() < frame.len() / 2);
        assert_eq!(decompress(&compressed).unwrap(), frame);
    }

    #[test]
    fn small_frames_go_as_they_are() {
        assert_eq!(Compression::default().compress(&[0; BYTES_MIN - 1]), None);
        assert!(Compression::default().compress(&[0; BYTES_MIN]).is_some());
    }

    #[test]
    fn noise_is_tried_less_and_less_often() {
        let (noise, words) = (noise(4_000), b"words, words, ".repeat(200));
        let mut compression = Compression::default();
        let mut tried = 0;
        for _ in 0..200 {
            tried += usize::from(compression.skip == 0);
            assert_eq!(compression.compress(&noise), None);
        }
        assert!(tried < 12, "{tried} of 200 were tried");
        let until_tried = (0..=SKIP_MAX).position(|_| compression.compress(&words).is_some());
        assert!(until_tried.is_some(), "it never gives up for good");
        assert!(compression.compress(&words).is_some(), "and believes in compression again");
    }

    #[test]
    fn damaged_or_huge_frames_are_refused() {
        assert_eq!(decompress(b"no frame at all"), None);
        let mut compressed = Compression::default().compress(&[7; 5_000]).unwrap().to_vec();
        compressed.truncate(compressed.len() - 2);
        assert_eq!(decompress(&compressed), None);
        let huge = zstd::bulk::compress(&vec![0; FRAME_BYTES_MAX + 1], 1).unwrap();
        assert_eq!(decompress(&huge), None);
    }
}
