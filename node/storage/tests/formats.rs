//! Logs with segments of both formats. Owns the change from one format to the other, and what a closed segment may still be
//! written. Does not own crashes and damage within one format (`crashes.rs`, `damage.rs`).

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::path::PathBuf;
use std::sync::Arc;

use history::{Model, Step, dir, entry, is, meta, payload_of, record, segments};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, IoId, Persist, Term};
use storage::{DamageKind, LogFormat, OpenError, Options, Recovered, Start, Storage};

fn open(disk: &MemoryDisk, format: LogFormat, salt: u64) -> Result<Recovered, OpenError> {
    let options = Options { segment_bytes: 32 * 1024, recycled_segments: 0, format, ..history::options(salt) };
    Storage::open(Arc::new(disk.clone()), &dir(), options)
}

/// Bootstraps a member on an empty disk.
fn member(disk: &MemoryDisk, format: LogFormat) -> Storage {
    let mut storage = open(disk, format, 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("no fault");
    storage
}

/// A batch with one small entry.
fn batch(index: u64) -> Step {
    let hard_state = Some(HardState { term: Term(1), vote: None });
    Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![entry(index, 1, 100)] }])
}

fn append(storage: &mut Storage, model: &mut Model, index: u64) {
    let step = batch(index);
    let Step::Append(persists) = &step else { unreachable!("a batch is an append") };
    storage.append(persists).expect("no fault");
    step.apply(model);
}

/// Version of each segment, oldest first.
fn versions(disk: &MemoryDisk) -> Vec<u8> {
    let segments = segments(disk).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "wal"));
    segments.map(|path| disk.contents(&path).expect("a listed file")[12]).collect()
}

#[test]
fn the_default_is_format_1() {
    assert_eq!(Options::new(history::MEMBER, 1).format, LogFormat::V1);
    let disk = history::disk();
    drop(member(&disk, LogFormat::default()));
    assert_eq!(versions(&disk), [1]);
}

#[test]
fn a_log_continues_in_format_2_and_keeps_it() {
    let disk = history::disk();
    let mut model = Model { joined: true, ..Model::default() };
    let mut storage = member(&disk, LogFormat::V1);
    (1..=3).for_each(|index| append(&mut storage, &mut model, index));
    drop(storage);
    let mut storage = open(&disk, LogFormat::V2, 2).expect("it opens").storage;
    assert_eq!(versions(&disk), [1], "a start converts nothing");
    (4..=6).for_each(|index| append(&mut storage, &mut model, index));
    assert_eq!(versions(&disk), [1, 2]);
    drop(storage);

    // The settings name the earlier format again, as after a start with other settings.
    let found = open(&disk, LogFormat::V1, 3).expect("it opens");
    is(&model, &found).expect("both segments are read");
    let mut storage = found.storage;
    (7..=9).for_each(|index| append(&mut storage, &mut model, index));
    assert_eq!(versions(&disk), [1, 2, 2]);

    let taken = meta(EntryId { term: Term(1), index: Index(8) });
    storage.snapshots().begin(taken.clone()).expect("a draft").finish().expect("a snapshot");
    storage.purge(Index(7)).expect("no fault");
    model.snapshot = Some(taken);
    assert_eq!(versions(&disk), [2], "the segment of format 1 is purged");
    drop(storage);
    let found = open(&disk, LogFormat::V1, 4).expect("it opens");
    is(&model, &found).expect("the rest of the log");
    let mut storage = found.storage;
    append(&mut storage, &mut model, 10);
    assert_eq!(versions(&disk), [2, 2]);

    let received = meta(EntryId { term: Term(2), index: Index(30) });
    let mut receiver = storage.snapshots().receive(received.clone()).expect("a draft");
    receiver.write(&payload_of(&received, 10)).expect("space");
    receiver.finish_verified().expect("a received snapshot");
    storage.install_snapshot(&received, Some(HardState { term: Term(2), vote: None })).expect("no fault");
    assert_eq!(versions(&disk), [2], "a log that starts anew keeps the format");
}

/// The first segment of the new format may exist without a batch, and its batch may be torn.
#[test]
fn a_crash_at_the_change_of_format_loses_nothing() {
    for seed in 0..8 {
        for stop in 1.. {
            let disk = history::disk();
            let mut model = Model { joined: true, ..Model::default() };
            let mut storage = member(&disk, LogFormat::V1);
            (1..=5).for_each(|index| append(&mut storage, &mut model, index));
            drop(storage);
            let mut storage = open(&disk, LogFormat::V2, 2).expect("it opens").storage;
            disk.stop_after(stop);
            let step = batch(6);
            let Step::Append(persists) = &step else { unreachable!("a batch is an append") };
            let result = storage.append(persists);
            let possible = if result.is_ok() { vec![step.may_leave(&model).remove(1)] } else { step.may_leave(&model) };
            let has_stopped = disk.has_stopped();
            drop(storage);
            disk.lose_power(seed + stop);
            let context = format!("seed {seed}, operation {stop}");
            let found = open(&disk, LogFormat::V1, 3).unwrap_or_else(|error| panic!("{context}: {error}"));
            let Some(held) = possible.into_iter().find(|state| is(state, &found).is_ok()) else {
                panic!("{context}: neither the state before the step nor the one after it")
            };
            let (mut storage, mut model) = (found.storage, held);
            let next = model.last().index.0 + 1;
            append(&mut storage, &mut model, next);
            drop(storage);
            disk.lose_power(seed);
            let found = open(&disk, LogFormat::V1, 4).unwrap_or_else(|error| panic!("{context}, later: {error}"));
            is(&model, &found).unwrap_or_else(|what| panic!("{context}, later: {what}"));
            if !has_stopped {
                break;
            }
        }
    }
}

/// Appends `count` batches of one unit each, restarts and appends another batch. Returns the closed segment before and after the
/// restart, and the place where the log left it.
fn close_a_segment(format: LogFormat, count: u64) -> (MemoryDisk, Vec<u8>, Vec<u8>, usize) {
    let disk = history::disk_for(format);
    let mut model = Model::default();
    let mut storage = member(&disk, format);
    (1..=count).for_each(|index| append(&mut storage, &mut model, index));
    drop(storage);
    let read = |path: PathBuf| disk.contents(&path).expect("a segment");
    let path = dir().join("wal/0000000000000001.wal");
    let before = read(path.clone());
    let mut storage = open(&disk, format, 2).expect("it opens").storage;
    append(&mut storage, &mut model, count + 1);
    drop(storage);
    let after = read(path);
    (disk, before, after, (count as usize + 1) * format.unit())
}

/// The page may hold acknowledged batches, and a power loss could destroy them while the page is written.
#[test]
fn no_page_with_acknowledged_batches_is_written_when_a_segment_is_closed() {
    for count in 1..=6 {
        let (_, before, after, _) = close_a_segment(LogFormat::V1, count);
        assert!(before == after, "the segment changed after batch {count}");
    }
    for (format, count) in [(LogFormat::V1, 7), (LogFormat::V2, 1), (LogFormat::V2, 5)] {
        let (_, before, after, end) = close_a_segment(format, count);
        assert!(end.is_multiple_of(4096));
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(changed.iter().all(|at| (end..end + 40).contains(at)), "{format:?}: {changed:?}");
        assert_eq!(after[end + 32], 0xE1, "{format:?}: the frame that points to the next segment");
    }
}

#[test]
fn a_missing_newest_segment_is_noticed_where_a_frame_points_to_it() {
    for (format, count) in [(LogFormat::V2, 1), (LogFormat::V2, 5), (LogFormat::V1, 7)] {
        let (disk, ..) = close_a_segment(format, count);
        let newest = dir().join("wal/0000000000000002.wal");
        disk.overwrite(&newest, None);
        let error = open(&disk, format, 3).expect_err("a segment is missing");
        let OpenError::Damaged { damage, .. } = error else { panic!("{error}") };
        assert_eq!((damage.path, damage.kind), (newest, DamageKind::Missing), "{format:?}");
    }
}

/// A system reads a page of a recycled file before it changes a part of it, so the open frame is written with its page.
#[test]
fn the_page_of_an_open_frame_is_written_whole() {
    let disk = history::disk_for(LogFormat::V2);
    let mut model = Model::default();
    let mut storage = history::open(&disk, 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("no fault");
    for index in 1..=58 {
        append(&mut storage, &mut model, index);
        if index % 10 == 0 {
            let taken = meta(EntryId { term: Term(1), index: Index(index) });
            storage.snapshots().begin(taken).expect("a draft").finish().expect("a snapshot");
            storage.purge(Index(index)).expect("no fault");
        }
    }
    let newest = segments(&disk).into_iter().rfind(|path| path.extension().is_some_and(|ending| ending == "wal"));
    let contents = disk.contents(&newest.expect("a segment")).expect("a segment");
    let salt = &contents[24..32];
    let open = (4096..contents.len()).step_by(4096).rfind(|at| contents[at + 16..at + 24] == *salt);
    let open = open.expect("the open frame after the last batch");
    assert!(contents[open + 4096 + 40] != 0, "the file is not a recycled one");
    assert!(contents[open + 40..open + 4096].iter().all(|byte| *byte == 0), "old bytes in the page of the open frame");
}

/// A member changes the format while it runs, and not only at the next full segment.
#[test]
fn a_running_log_continues_in_format_2_with_its_next_batch() {
    let disk = history::disk();
    let mut model = Model { joined: true, ..Model::default() };
    let mut storage = member(&disk, LogFormat::V1);
    append(&mut storage, &mut model, 1);
    storage.use_format(LogFormat::V1);
    append(&mut storage, &mut model, 2);
    assert_eq!(versions(&disk), [1], "the format did not change");
    storage.use_format(LogFormat::V2);
    assert_eq!(versions(&disk), [1], "a segment begins with a batch");
    append(&mut storage, &mut model, 3);
    storage.use_format(LogFormat::V1);
    append(&mut storage, &mut model, 4);
    assert_eq!(versions(&disk), [1, 2], "the format never goes back");
    drop(storage);
    let found = open(&disk, LogFormat::V1, 2).expect("it opens");
    is(&model, &found).expect("both segments are read");
}
