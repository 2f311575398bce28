//! Space that is reserved while the log is idle, and the bytes that batches write. Owns the member that prepares after every batch.
//! Does not own files that are overwritten (`recycling.rs`).

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use history::{FORMATS, Model, Step, dir, entry, is, meta, payload_of, record};
use memory_disk::MemoryDisk;
use raft::{Entry, EntryId, HardState, Index, IoId, Payload, Persist, Term};
use storage::{FileDisk, LogFormat, Options, Start, Storage};

const KIB: u64 = 1024;
/// Length of an open frame, of a record without its payload and of a commit frame, in bytes.
const FRAME: u64 = 40;

fn options(format: LogFormat, salt: u64) -> Options {
    Options { segment_bytes: 2048 * KIB, ..history::options_for(format, salt) }
}

fn open(disk: &MemoryDisk, format: LogFormat, salt: u64) -> Storage {
    let mut storage = Storage::open(Arc::new(disk.clone()), &dir(), options(format, salt)).expect("it opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume, or its own");
    storage
}

/// One entry of `size` bytes, or of none for some indexes.
fn batch(index: u64, size: usize) -> Step {
    let hard_state = Some(HardState { term: Term(1), vote: None });
    Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![entry(index, 1, size)] }])
}

fn append(storage: &mut Storage, index: u64, size: usize) {
    let Step::Append(persists) = batch(index, size) else { unreachable!("a batch is appended") };
    storage.append(&persists).expect("there is space");
}

#[test]
fn a_batch_finds_its_space_reserved() {
    for format in FORMATS {
        let disk = history::disk_for(format);
        let mut storage = open(&disk, format, 1);
        append(&mut storage, 1, 100);
        let mut prepared = 0;
        for index in 2..230 {
            let before = storage.log_preallocated_bytes();
            storage.prepare().expect("there is space");
            let reserved = storage.log_preallocated_bytes();
            prepared += u64::from(reserved > before);
            append(&mut storage, index, 4000);
            assert_eq!(storage.log_preallocated_bytes(), reserved, "{format:?}: batch {index} had to wait");
        }
        assert!((2..=6).contains(&prepared), "{format:?}: {prepared} times");
        assert!(storage.log_preallocated_bytes() <= 2048 * KIB, "{format:?}: longer than a segment");
    }
}

#[test]
fn nothing_is_reserved_on_a_full_disk_and_batches_go_on() {
    for format in FORMATS {
        let disk = history::disk_for(format);
        let mut storage = open(&disk, format, 1);
        append(&mut storage, 1, 100);
        let mut prepared = 0;
        for index in 2..230 {
            let before = storage.log_preallocated_bytes();
            disk.limit_bytes(Some(disk.used_bytes()));
            storage.prepare().expect("a full disk is no failure");
            append(&mut storage, index, 4000);
            assert_eq!(storage.log_preallocated_bytes(), before, "{format:?}: the disk is full");
            disk.limit_bytes(None);
            storage.prepare().expect("there is space");
            prepared += u64::from(storage.log_preallocated_bytes() > before);
        }
        assert!((2..=6).contains(&prepared), "{format:?}: {prepared} times");
    }
}

#[test]
fn no_crash_while_space_is_reserved_loses_an_entry() {
    for format in FORMATS {
        let disk = history::disk_for(format);
        let mut storage = open(&disk, format, 1);
        let mut model = Model::default();
        Step::Bootstrap.apply(&mut model);
        for index in 1..40 {
            append(&mut storage, index, 4000);
            batch(index, 4000).apply(&mut model);
        }
        drop(storage);
        let mut whole = 0;
        for (stop, seed) in (0..12).flat_map(|stop| (0..6).map(move |seed| (stop, seed))) {
            let disk = disk.fork();
            let mut storage = open(&disk, format, 2);
            let (mut model, mut acknowledged) = (model.clone(), Vec::new());
            disk.stop_after(stop);
            for index in 40..48 {
                let Step::Append(persists) = batch(index, 30_000) else { unreachable!("a batch is appended") };
                if storage.append(&persists).is_err() {
                    break;
                }
                acknowledged.push(index);
                if storage.prepare().is_err() {
                    break;
                }
            }
            drop(storage);
            disk.lose_power(seed);
            let found = Storage::open(Arc::new(disk.clone()), &dir(), options(format, 3)).expect("it opens");
            acknowledged.iter().for_each(|index| batch(*index, 30_000).apply(&mut model));
            let mut also_next = model.clone();
            batch(40 + acknowledged.len() as u64, 30_000).apply(&mut also_next);
            let verdict = is(&model, &found).or_else(|_| is(&also_next, &found));
            verdict.unwrap_or_else(|reason| panic!("{format:?}, operation {stop}, seed {seed}: {reason}"));
            whole += usize::from(!acknowledged.is_empty());
        }
        assert!(whole > 0, "{format:?}: no crash comes after a batch");
    }
}

/// A directory on the disk of the target directory.
struct Scratch(PathBuf);

impl Drop for Scratch {
    #[expect(clippy::disallowed_methods, reason = "the directory of a test")]
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that this thread has handed to the kernel, and bytes of pages that it has changed.
fn written() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/thread-self/io").expect("the kernel counts what a thread writes");
    ["wchar: ", "write_bytes: "].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a count");
        line.parse().expect("a number")
    })
}

/// After the log has wrapped, a batch costs its content in whole pages, and one page.
#[test]
fn a_batch_writes_its_payload_in_whole_pages_and_one_page() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-bytes-{}", std::process::id()));
    let scratch = Scratch(path);
    let options = Options { segment_bytes: 512 * KIB, ..options(LogFormat::V2, 1) };
    let mut storage = Storage::open(Arc::new(FileDisk), &scratch.0, options).expect("it opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    append(&mut storage, 1, 0);
    let (mut measured, mut allowed, mut rolled) = ([0, 0], 0, 0);
    for round in 0..600_u64 {
        let size = [10, 256, 4000, 4096, 20_000][(round % 5) as usize];
        let last = EntryId { term: Term(1), index: Index(round + 2) };
        let one = Entry { id: last, time_ms: 0, payload: Payload::Normal(vec![7; size].into()) };
        let content = 3 * FRAME + (size as u64).next_multiple_of(8);
        let bound = content.next_multiple_of(4096) + 4096;
        let (before, reserved) = (written(), storage.log_preallocated_bytes());
        storage.append(&[Persist { io: IoId(round), hard_state: None, entries: vec![one] }]).expect("there is space");
        let after = written();
        storage.prepare().expect("there is space");
        if round >= 300 {
            assert_eq!(storage.log_preallocated_bytes(), reserved, "files are overwritten once the log has wrapped");
            let cost = [after[0] - before[0], after[1] - before[1]];
            if cost[0] > bound {
                // A new segment: its header and the frame that names it.
                rolled += 1;
                assert!(cost[0] <= bound + 2 * 4096, "batch {round} of {size} bytes: {cost:?}");
            }
            measured = [measured[0] + cost[0], measured[1] + cost[1]];
            allowed += bound;
        }
        if round % 20 == 19 {
            let meta = meta(last);
            let mut writer = storage.snapshots().begin(meta.clone()).expect("there is space");
            writer.write(&payload_of(&meta, 10)).expect("there is space");
            writer.finish().expect("there is space");
            storage.purge(last.index.next()).expect("no fault");
        }
    }
    println!("300 batches: {measured:?} bytes in calls and pages, {allowed} allowed");
    assert!((4..=8).contains(&rolled), "{rolled} new segments");
}
