//! What follows from the size of the volume: how the log is divided into files, and how long it may be when a snapshot is
//! taken. Owns these rules and the reading of the size. Does not own the free space or the files (`storage`).

use std::path::Path;

use engine::driver::SnapshotTrigger;
use rustix::fs::statvfs;

const MIB: u64 = 1 << 20;
/// Shortest and longest files of the log, in bytes.
const SEGMENT_MIN: u64 = 4 * MIB;
const SEGMENT_MAX: u64 = 64 * MIB;
/// The newest files of the log, and those that are kept to be overwritten, take a small part of the volume.
const SEGMENTS_ON_VOLUME: u64 = 64;
/// Length in bytes of the log below which no snapshot is taken, on a large volume.
const SNAPSHOT_LEAST: u64 = 64 * MIB;
/// Length in bytes of the log for each entry of --snapshot-threshold, so that a lower number than the default still gives
/// more snapshots.
const BYTES_OF_ENTRY: u64 = 64 << 10;
/// Part of the volume that the log may take between two snapshots, as a divisor. The log reaches back to the oldest snapshot
/// that is kept, so with the default of three snapshots it takes about a quarter.
const LOG_ON_VOLUME: u64 = 16;

/// Size of the volume that holds a directory, in bytes; `None` if the kernel does not say. The directory need not exist, but
/// its parent must.
#[must_use]
pub fn size_of(dir: &Path) -> Option<u64> {
    let found = statvfs(dir).ok().or_else(|| statvfs(dir.parent()?).ok())?;
    found.f_blocks.checked_mul(found.f_frsize).filter(|bytes| *bytes > 0)
}

/// Length in bytes at which the log continues in a new file, on a volume of this size.
#[must_use]
pub fn segment_bytes(volume: Option<u64>) -> u64 {
    let fits = volume.map_or(SEGMENT_MAX, |volume| volume / SEGMENTS_ON_VOLUME);
    (fits / MIB * MIB).clamp(SEGMENT_MIN, SEGMENT_MAX)
}

/// When a member takes a snapshot, on a volume of this size: once the log since the last one is as long as that snapshot, or
/// 64 MiB if that is more. A small volume and a low `threshold`, the number of entries, lower these 64 MiB; a sixteenth of
/// the volume is enough in any case.
#[must_use]
pub fn snapshot_trigger(volume: Option<u64>, threshold: u64) -> SnapshotTrigger {
    let of_entries = threshold.saturating_mul(BYTES_OF_ENTRY);
    let least = SNAPSHOT_LEAST.min(of_entries).min(segment_bytes(volume));
    let most = volume.map_or(u64::MAX, |volume| volume / LOG_ON_VOLUME).max(least);
    SnapshotTrigger::Bytes { least, most }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn files_of_the_log_follow_the_volume() {
        let sizes = [None, Some(0), Some(256 * MIB), Some(GIB), Some(GIB + 5), Some(4 * GIB), Some(1 << 40)];
        assert_eq!(sizes.map(|size| segment_bytes(size) / MIB), [64, 4, 4, 16, 16, 64, 64]);
    }

    #[test]
    fn snapshots_follow_the_volume_and_the_threshold() {
        let bounds = |volume, threshold| match snapshot_trigger(volume, threshold) {
            SnapshotTrigger::Bytes { least, most } => (least / MIB, most / MIB),
            SnapshotTrigger::Entries => unreachable!("entries are for tests"),
        };
        assert_eq!(bounds(Some(64 * GIB), 1_024), (64, 4_096));
        assert_eq!(bounds(Some(64 * GIB), 10_000_000), (64, 4_096), "a higher number does not raise the bytes");
        assert_eq!(bounds(Some(64 * GIB), 16), (1, 4_096));
        assert_eq!(bounds(Some(GIB), 1_024), (16, 64));
        assert_eq!(bounds(Some(32 * MIB), 1_024), (4, 4), "on a tiny volume there is no snapshot for each few entries");
        assert_eq!(bounds(None, 1_024).0, 64);
    }

    #[test]
    fn the_size_of_a_volume_is_found_before_the_directory_exists() {
        let parent = std::env::temp_dir();
        let found = size_of(&parent.join("raft-node-no-such-directory"));
        assert!(found.is_some_and(|bytes| bytes > MIB), "{found:?}");
        assert_eq!(found, size_of(&parent));
        assert_eq!(size_of(Path::new("/no/such/directory/at/all")), None);
    }
}
