//! Tests of storage on real files: a history with restarts, reads past the cache, the lock, and snapshots larger than a
//! chunk. Owns its directories. They lie in the target directory, because the system's temporary directory may lie in
//! memory, where no read bypasses the cache.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests look at the files that storage wrote"
)]

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use history::{MEMBER, Model, Step, is, meta, record};
use memory_disk::Choice;
use raft::{EntryId, HardState, Index, Term};
use storage::{
    Disk, FileDisk, OpenError, Options, Recovered, SnapshotError, SnapshotOrigin, Start, Storage, StorageError,
    snapshot::CHUNK_BYTES,
};

/// A directory that is removed at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self, salt: u64) -> Result<Recovered, OpenError> {
        Storage::open(Arc::new(FileDisk), &self.0, history::options(salt))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_history_on_files_is_found_after_every_restart() {
    let scratch = Scratch::new("history");
    let mut model = Model::default();
    let mut choice = Choice(42);
    for start in 0..8 {
        let found = scratch.open(start).expect("it opens");
        is(&model, &found).expect("every acknowledged write is there");
        let mut storage = found.storage;
        for _ in 0..12 {
            let step = Step::random(&mut choice, &model);
            match &step {
                Step::Bootstrap => {
                    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
                }
                Step::Append(persists) => storage.append(persists).expect("an append"),
                Step::TakeSnapshot { meta, payload, first_kept } => {
                    let mut writer = storage.snapshots().begin(meta.clone()).expect("a draft");
                    writer.write(payload).expect("a payload");
                    writer.finish().expect("a snapshot");
                    storage.purge(*first_kept).expect("a purge");
                }
                Step::Install { meta, payload, hard_state } => {
                    let mut receiver = storage.snapshots().receive(meta.clone()).expect("a draft");
                    receiver.write(payload).expect("a payload");
                    receiver.finish_verified().expect("a received snapshot");
                    storage.install_snapshot(meta, *hard_state).expect("an installation");
                }
                Step::Restart => {}
            }
            step.apply(&mut model);
        }
    }
    let found = scratch.open(99).expect("it opens");
    is(&model, &found).expect("every acknowledged write is there");
}

/// Number of bytes that this thread has fetched from a device so far. Reads from the cache do not count.
fn bytes_from_devices() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").expect("Linux counts the bytes of a thread");
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: ")).expect("the count has a line");
    line.parse().expect("a number")
}

/// The log is read past the cache at a start, because the cache may hold what a failed sync never wrote.
#[test]
fn a_settled_read_comes_from_the_device() {
    let scratch = Scratch::new("settled");
    fs::create_dir(&scratch.0).expect("a new directory");
    let path = scratch.0.join("file");
    let content: Vec<u8> = (0..3 * 1024 * 1024 + 517).map(|at| (at / 7 % 251) as u8).collect();
    let file = FileDisk.create(&path).expect("a new file");
    file.write_at(0, &content).expect("space");
    file.sync().expect("a sync");
    let before = bytes_from_devices();
    assert!(fs::read(&path).expect("a file") == content);
    assert_eq!(bytes_from_devices(), before, "the whole file is in the cache");
    let settled = FileDisk.open_settled(&path).expect("a file");
    let mut found = Vec::new();
    while found.len() < content.len() {
        let mut block = vec![0; (1 << 20).min(content.len() - found.len())];
        let count = settled.read_at(found.len() as u64, &mut block).expect("a read");
        assert!(count > 0, "the file ends after {} bytes", found.len());
        found.extend_from_slice(&block[..count]);
    }
    assert!(found == content, "what was written");
    let read = bytes_from_devices() - before;
    assert!(
        read >= content.len() as u64,
        "{read} of {} bytes came from a device: {} must lie on a file system that reads past its cache, not in memory \
         (CARGO_TARGET_DIR)",
        content.len(),
        path.display()
    );
}

#[test]
fn two_processes_never_share_a_directory() {
    let scratch = Scratch::new("lock");
    let first = scratch.open(1).expect("a blank volume");
    assert!(matches!(scratch.open(2), Err(OpenError::Locked { .. })));
    drop(first);
    assert!(scratch.open(3).is_ok());
}

#[test]
fn an_idle_member_stays_small() {
    let scratch = Scratch::new("small");
    let options = Options::new(MEMBER, 1);
    let mut storage = Storage::open(Arc::new(FileDisk), &scratch.0, options).expect("a blank volume").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    let hard_state = Some(HardState { term: Term(1), vote: None });
    let entries = vec![history::entry(1, 1, 100)];
    storage.append(&[raft::Persist { io: raft::IoId(1), hard_state, entries }]).expect("an append");
    let segment = fs::metadata(scratch.0.join("wal/0000000000000001.wal")).expect("a segment");
    assert!(segment.len() <= 512 * 1024, "{} bytes", segment.len());
}

#[test]
fn a_snapshot_of_several_chunks_is_read_as_it_was_written() {
    let scratch = Scratch::new("chunks");
    let mut storage = scratch.open(1).expect("a blank volume").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    let payload: Vec<u8> = (0..CHUNK_BYTES * 2 + 4321).map(|at| (at / 7 % 256) as u8).collect();
    let meta = meta(EntryId { term: Term(1), index: Index(9) });
    let mut receiver = storage.snapshots().receive(meta.clone()).expect("a draft");
    for piece in payload.chunks(100_001) {
        receiver.write_all(piece).expect("space");
    }
    assert_eq!(receiver.received(), payload.len() as u64);
    let crc = crc32c::crc32c(&payload);
    let info = receiver.finish(payload.len() as u64, crc).expect("the payload is as offered");
    assert_eq!((info.bytes, info.crc32c, info.origin), (payload.len() as u64, crc, SnapshotOrigin::Received));
    assert_eq!(storage.snapshots().newest(), None, "the snapshot is not installed yet");
    storage.install_snapshot(&meta, Some(HardState { term: Term(1), vote: None })).expect("an installation");
    let newest = storage.snapshots().newest().expect("the snapshot is installed");
    let mut read = Vec::new();
    storage.snapshots().open(&newest).expect("it opens").read_to_end(&mut read).expect("the payload is undamaged");
    assert!(read == payload, "what was written");
}

#[test]
fn a_snapshot_that_differs_from_the_offer_leaves_no_file() {
    let scratch = Scratch::new("offer");
    let mut storage = scratch.open(1).expect("a blank volume").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    let meta = meta(EntryId { term: Term(1), index: Index(9) });
    let mut receiver = storage.snapshots().receive(meta.clone()).expect("a draft");
    receiver.write_all(b"almost").expect("space");
    let error = receiver.finish(6, crc32c::crc32c(b"Almost")).expect_err("another checksum");
    assert!(matches!(error, SnapshotError::NotAsOffered { bytes: 6, expected_bytes: 6, .. }), "{error}");
    drop(storage.snapshots().begin(meta.clone()).expect("a draft"));
    assert_eq!(fs::read_dir(scratch.0.join("snap")).expect("a folder").count(), 0);
    assert_eq!(storage.install_snapshot(&meta, None), Err(StorageError::NoSnapshot { index: Index(9) }));
}

#[test]
fn old_snapshots_are_removed_and_an_open_one_can_still_be_read() {
    let scratch = Scratch::new("keep");
    let mut storage = scratch.open(1).expect("a blank volume").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    let take = |index: u64| {
        let meta = meta(EntryId { term: Term(1), index: Index(index) });
        let mut writer = storage.snapshots().begin(meta).expect("a draft");
        writer.write_all(&vec![index as u8; 3 * CHUNK_BYTES / 2]).expect("space");
        writer.finish().expect("a snapshot")
    };
    let first = take(1);
    let mut reader = storage.snapshots().open(&first).expect("it opens");
    let kept: Vec<_> = (2..=4).map(take).map(|info| info.meta.last.index.0).collect();
    let listed: Vec<_> = storage.snapshots().list().iter().map(|info| info.meta.last.index.0).collect();
    assert_eq!((kept, listed), (vec![2, 3, 4], vec![4, 3]));
    assert!(matches!(storage.snapshots().open(&first), Err(SnapshotError::Missing { index: Index(1) })));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).expect("the payload is undamaged");
    assert!(read == vec![1; 3 * CHUNK_BYTES / 2]);
}

/// Number of bytes that calls of this thread have read so far.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").expect("Linux counts the bytes of a thread");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("the count has a line");
    line.parse().expect("a number")
}

/// A damaged length is no reason to read, and to keep in memory, as much.
#[test]
fn a_file_of_any_length_costs_a_start_no_memory() {
    const LONG: u64 = 1 << 43;
    let scratch = Scratch::new("long");
    let mut storage = scratch.open(1).expect("a blank volume").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    let hard_state = Some(HardState { term: Term(1), vote: None });
    let entries = (1..=9).map(|index| history::entry(index, 1, 100)).collect();
    storage.append(&[raft::Persist { io: raft::IoId(1), hard_state, entries }]).expect("an append");
    let mut writer = storage.snapshots().begin(meta(EntryId { term: Term(1), index: Index(9) })).expect("a draft");
    writer.write_all(b"payload").expect("space");
    writer.finish().expect("a snapshot");
    drop(storage);
    let lengthen = |name: &str, bytes: u64| {
        let file = fs::OpenOptions::new().write(true).open(scratch.0.join(name)).expect("a file");
        file.set_len(bytes).expect("a sparse file");
        file
    };
    // A trailer that claims one checksum for each byte of a payload that fills a fifth of the file.
    let file = lengthen("snap/0000000000000009-0000000000000001.snap", LONG);
    let trailer = [&(LONG / 5).to_le_bytes()[..], &1_u32.to_le_bytes(), &[0; 12], b"SNAPDONE"].concat();
    std::os::unix::fs::FileExt::write_all_at(&file, &trailer, LONG - trailer.len() as u64).expect("space");
    let before = bytes_read();
    let found = scratch.open(2).expect("the log holds all entries");
    assert_eq!((found.quarantined.len(), found.raft.log.tail.len()), (1, 9));
    drop(found);
    lengthen("hard_state", LONG);
    drop(scratch.open(3).expect("both slots are there"));
    lengthen("identity", LONG);
    let refused = scratch.open(4).expect_err("the checksum covers the whole file");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    let read = bytes_read() - before;
    assert!(read < 64 << 20, "{read} bytes");
}
