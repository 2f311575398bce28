//! Directories that a newer program wrote. Owns the list of the places where a start may find a value that this program
//! does not know. In each of them the start reports what is newer, calls nothing damaged, and changes nothing.

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::ops::Range;
use std::path::{Path, PathBuf};

use history::{dir, entry, meta, record};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, IoId, Persist, Term};
use storage::{LogFormat, OpenError, Start};

const HEADER: usize = LogFormat::V1.unit();

/// Returns the disk of a member whose log has one segment with batches of one entry, and which has taken two snapshots.
fn disk() -> MemoryDisk {
    let disk = history::disk();
    let mut storage = history::open(&disk, 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("no fault");
    for index in 1..=5 {
        let hard_state = Some(HardState { term: Term(1), vote: None });
        storage
            .append(&[Persist { io: IoId(index), hard_state, entries: vec![entry(index, 1, 100)] }])
            .expect("no fault");
    }
    for index in [2, 4] {
        let taken = meta(EntryId { term: Term(1), index: Index(index) });
        storage.snapshots().begin(taken).expect("a draft").finish().expect("a snapshot");
    }
    disk
}

fn snapshot(index: u64) -> PathBuf {
    dir().join(format!("snap/{index:016x}-{:016x}.snap", 1))
}

/// Changes the byte at `at` of a file, and the checksum at `crc` of the bytes `summed`.
fn change(disk: &MemoryDisk, path: &Path, at: usize, value: u8, crc: usize, summed: Range<usize>) {
    let mut bytes = disk.contents(path).expect("the file is there");
    let summed = summed.start..summed.end.min(bytes.len());
    assert_eq!(bytes[crc..crc + 4], crc32c::crc32c(&bytes[summed.clone()]).to_le_bytes(), "the checksum stands here");
    bytes[at] = value;
    let sum = crc32c::crc32c(&bytes[summed]).to_le_bytes();
    bytes[crc..crc + 4].copy_from_slice(&sum);
    disk.overwrite(path, Some(bytes));
}

/// Checks that a start says `TooNew`, names the file and the value, and leaves every file as it is.
fn is_too_new(disk: &MemoryDisk, path: &Path, what: &str, found: u32, has_identity: bool) {
    let files = |disk: &MemoryDisk| -> Vec<_> {
        disk.files().into_iter().map(|path| (path.clone(), disk.contents(&path))).collect()
    };
    let before = files(disk);
    let error = history::open(disk, 2).expect_err("a newer program wrote it");
    let text = error.to_string();
    let OpenError::TooNew { identity, newer } = error else { panic!("{text}") };
    assert_eq!((newer.path.as_path(), newer.what, newer.found), (path, what, found), "{text}");
    assert!(text.ends_with("start a newer version") && !text.contains("damage"), "{text}");
    assert_eq!(identity.is_some(), has_identity, "{text}");
    let after: Vec<_> = files(disk).into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
    let before: Vec<_> = before.into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
    assert!(before == after, "{text}: the start changed a file");
}

#[test]
fn a_newer_identity_is_no_damage() {
    let path = dir().join("identity");
    // The first configuration follows ID, mark, cluster, token and three texts of 6, 8 and 8 bytes.
    let configuration = 24 + 1 + 16 + 32 + 8 + 10 + 10;
    for (at, what) in [(12, "format version"), (configuration, "configuration version")] {
        let disk = disk();
        change(&disk, &path, at, 2, 8, 12..usize::MAX);
        is_too_new(&disk, &path, what, 2, false);
    }
}

#[test]
fn a_newer_term_and_vote_are_no_damage() {
    let (disk, path) = (disk(), dir().join("hard_state"));
    for slot in [0, 4096] {
        change(&disk, &path, slot + 8, 7, slot, slot + 4..slot + 512);
    }
    is_too_new(&disk, &path, "format version", 7, true);
}

#[test]
fn a_newer_segment_is_no_damage() {
    let (disk, path) = (disk(), dir().join("wal/0000000000000001.wal"));
    change(&disk, &path, 12, 3, 8, 12..512);
    is_too_new(&disk, &path, "format version", 3, true);
}

/// The log would be whole without the snapshot. It is not put aside, because the newer program needs it.
#[test]
fn a_newer_snapshot_is_no_damage_and_is_not_put_aside() {
    for index in [2, 4] {
        for (at, what) in [(12, "format version"), (24, "snapshot origin"), (32, "snapshot meta version")] {
            let (disk, path) = (disk(), snapshot(index));
            let bytes = disk.contents(&path).expect("a snapshot");
            let meta_bytes = u32::from_le_bytes(bytes[28..32].try_into().expect("4 bytes")) as usize;
            change(&disk, &path, at, 9, 8, 12..32 + meta_bytes);
            is_too_new(&disk, &path, what, 9, true);
        }
    }
}

/// The checksums of a batch are chained, so those of the record and of the commit frame change.
#[test]
fn a_newer_entry_is_no_damage() {
    for batch in [1, 3, 5] {
        let (disk, path) = (disk(), dir().join("wal/0000000000000001.wal"));
        let mut bytes = disk.contents(&path).expect("a segment");
        let open = HEADER * batch;
        let record = open + 40;
        let payload_bytes = u32::from_le_bytes(bytes[record + 4..record + 8].try_into().expect("4 bytes")) as usize;
        let commit = record + 40 + payload_bytes.next_multiple_of(8);
        bytes[record + 32] = 9;
        let mut chain = u32::from_le_bytes(bytes[open..open + 4].try_into().expect("4 bytes"));
        for frame in [record..commit, commit..commit + 40] {
            chain = crc32c::crc32c_append(chain, &bytes[frame.start + 4..frame.end]);
            bytes[frame.start..frame.start + 4].copy_from_slice(&chain.to_le_bytes());
        }
        disk.overwrite(&path, Some(bytes));
        is_too_new(&disk, &path, "payload kind", 9, true);
    }
}
