//! Crashes at every operation. After a crash every acknowledged write is present. No other write is present, except
//! possibly the write that the crash interrupted. Owns the enumeration of the operations at which the machine crashes.

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

#[path = "support/crash.rs"]
mod crash;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crash::{Crash, crash_and_check, run_history};
use history::{FORMATS, Model, Step, is, open, read_snapshot, run};
use memory_disk::{Choice, MemoryDisk};
use raft::{Entry, EntryId, HardState, Index, IoId, MemberId, Payload, Persist, Term};
use storage::{Disk, LogFormat, OnFailure, Options, SnapshotError, Start, Storage, StorageError};

fn crash_at_every_operation(format: LogFormat, seed: u64, crashes: &[Crash]) {
    for stop in 1.. {
        let check = |crash: &Crash| {
            crash_and_check(format, seed, stop, *crash)
                .unwrap_or_else(|what| panic!("{format:?}, seed {seed}, operation {stop}, {crash:?}: {what}"))
        };
        let stopped = crashes.iter().map(check).fold(false, |a, b| a | b);
        if !stopped {
            assert!(stop > 30, "a history of thirty steps has more operations than {stop}");
            return;
        }
    }
}

/// Raft thesis §3.8: acknowledged writes survive.
#[test]
fn a_member_killed_at_any_operation_finds_what_it_acknowledged() {
    for format in FORMATS {
        for seed in 0..12 {
            crash_at_every_operation(format, seed, &[Crash::Kill]);
        }
    }
}

#[test]
fn a_member_that_loses_power_at_any_operation_finds_what_it_acknowledged() {
    for format in FORMATS {
        for seed in 100..112 {
            let crashes = [Crash::PowerLoss(seed), Crash::PowerLoss(seed + 1), Crash::PowerLoss(seed + 2)];
            crash_at_every_operation(format, seed, &crashes);
        }
    }
}

/// Appends eight batches, and loses power in the sync of a ninth on a disk that tears pages. In format 1 the eighth and the ninth
/// batch are the first two of a page.
fn tear_a_neighbour(format: LogFormat) {
    let disk = MemoryDisk::new();
    let mut storage =
        Storage::open(Arc::new(disk.clone()), &history::dir(), Options { format, ..Options::new(history::MEMBER, 1) })
            .expect("a blank disk opens")
            .storage;
    storage.bootstrap(history::record(), &Start::Empty).expect("no fault");
    let mut append = |index: u64| {
        let hard_state = Some(HardState { term: Term(1), vote: None });
        storage.append(&[Persist { io: IoId(index), hard_state, entries: vec![history::entry(index, 1, 100)] }])
    };
    (1..=8).for_each(|index| append(index).expect("no fault"));
    disk.stop_after(2);
    append(9).expect_err("the machine stops after the write and before the sync");
    for seed in 0..100 {
        let disk = disk.fork();
        disk.lose_power(seed);
        let found = Storage::open(Arc::new(disk), &history::dir(), history::options(2));
        let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let held = found.raft.log.tail.last().map_or(Index(0), |entry| entry.id.index);
        assert!(held >= Index(8), "seed {seed}: entry 8 was acknowledged, but the log ends at {held}");
    }
}

#[test]
fn an_acknowledged_batch_survives_a_torn_neighbour() {
    tear_a_neighbour(LogFormat::V2);
}

/// Shows that the disk does what format 2 is laid out against.
#[test]
#[should_panic(expected = "entry 8 was acknowledged, but the log ends at 7")]
fn an_acknowledged_batch_of_format_1_does_not_survive_a_torn_neighbour() {
    tear_a_neighbour(LogFormat::V1);
}

/// cockroach#37102: after a failed sync, the sync is not repeated and no later write succeeds.
#[test]
fn a_failed_sync_is_final() {
    for (failing, format) in (0..80).map(|case| (case / 2, FORMATS[case as usize % 2])) {
        let disk = history::disk_for(format);
        let mut model = Model::default();
        let mut choice = Choice(failing);
        let mut storage = Some(open(&disk, 1).expect("a blank disk opens").storage);
        run(&Step::Bootstrap, &mut storage, &disk, 2).expect("no fault yet");
        Step::Bootstrap.apply(&mut model);
        disk.fail_sync_after(failing);
        let (step, error) = loop {
            let step = Step::random(&mut choice, &model);
            if matches!(step, Step::Restart) {
                continue;
            }
            match run(&step, &mut storage, &disk, 3) {
                Ok(()) => step.apply(&mut model),
                Err(error) => break (step, error),
            }
        };
        let first = match error {
            history::Ended::Write(error) => error,
            history::Ended::Snapshot(storage::SnapshotError::Storage(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(first, StorageError::Failed(_)), "{first}");
        let held = storage.as_mut().expect("a failed step leaves the storage");
        let entry = history::entry(model.last().index.0 + 1, 99, 10);
        let persist = raft::Persist { io: raft::IoId(0), hard_state: None, entries: vec![entry] };
        assert_eq!(held.append(&[persist]), Err(first.clone()), "every later call returns the same error");
        assert_eq!(held.purge(raft::Index(1)), Err(first));
        drop(storage);
        disk.kill();
        let found = open(&disk, 4).expect("a restart reads the disk");
        let possible = step.may_leave(&model);
        assert!(possible.iter().any(|state| is(state, &found).is_ok()), "{step:?}");
    }
}

#[test]
fn a_full_disk_refuses_a_write_until_there_is_space() {
    for (spare, format) in (0..200_000).step_by(4099).zip(FORMATS.into_iter().cycle()) {
        let disk = history::disk_for(format);
        let mut model = Model::default();
        let mut choice = Choice(spare);
        let mut storage = Some(open(&disk, 1).expect("a blank disk opens").storage);
        run(&Step::Bootstrap, &mut storage, &disk, 2).expect("no fault yet");
        Step::Bootstrap.apply(&mut model);
        disk.limit_bytes(Some(disk.used_bytes() + spare));
        for _ in 0..60 {
            let step = Step::random(&mut choice, &model);
            if !matches!(step, Step::Append(_)) {
                continue;
            }
            match run(&step, &mut storage, &disk, 3) {
                Ok(()) => {}
                Err(history::Ended::Write(StorageError::Full { .. })) => {
                    let limit = disk.used_bytes() + 100_000;
                    disk.limit_bytes(Some(limit));
                    run(&step, &mut storage, &disk, 3).expect("there is space again");
                    disk.limit_bytes(Some(limit));
                }
                Err(other) => panic!("{other:?}"),
            }
            step.apply(&mut model);
        }
        drop(storage);
        disk.lose_power(spare);
        disk.limit_bytes(None);
        let found = open(&disk, 4).expect("it opens");
        is(&model, &found).expect("every acknowledged write is there");
    }
}

/// A file system may return fewer bytes than a read asks for, anywhere in a file.
#[test]
fn short_reads_lose_nothing() {
    for (seed, format) in (0..8).zip(FORMATS.into_iter().cycle()) {
        let disk = history::disk_for(format);
        disk.short_reads(seed);
        let mut model = Model::default();
        run_history(&disk, seed, 30, &mut model).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let found = open(&disk, 99).expect("it opens");
        is(&model, &found).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        for info in found.storage.snapshots().list() {
            read_snapshot(&found.storage, &info);
        }
    }
}

/// A write may stop at any byte, and lengths at the edges of frames, sectors and pages are the likely ones.
#[test]
fn a_write_that_stops_at_any_length_is_whole_or_absent() {
    for (seed, format) in (200..208).zip(FORMATS.into_iter().cycle()) {
        for stop in 1.. {
            let disk = history::disk_for(format);
            let mut model = Model::default();
            disk.stop_after(stop);
            let possible = run_history(&disk, seed, 15, &mut model)
                .unwrap_or_else(|what| panic!("seed {seed}, operation {stop}: {what}"));
            if !disk.has_stopped() {
                break;
            }
            let length = disk.last_write_bytes().unwrap_or(0);
            let edges =
                [0, 1, 39, 40, 41, 79, 80, 511, 512, 513, 4095, 4096].into_iter().chain((0..length).step_by(256));
            for kept in edges.chain([length]).filter(|kept| *kept <= length).collect::<BTreeSet<_>>() {
                let context = format!("{format:?}, seed {seed}, operation {stop}, {kept} of {length} bytes");
                let disk = disk.fork();
                disk.keep_of_last_write(kept);
                let found = open(&disk, seed + 1000).unwrap_or_else(|error| panic!("{context}: {error}"));
                let verdicts: Vec<_> = possible.iter().map(|state| is(state, &found)).collect();
                assert!(verdicts.iter().any(Result::is_ok), "{context}: {verdicts:?}");
            }
        }
    }
}

/// Every byte at which the write of a batch may stop, for batches of one entry and of several.
#[test]
fn a_batch_that_stops_at_any_byte_is_whole_or_absent() {
    for (format, count) in FORMATS.into_iter().zip([1, 3]).chain(FORMATS.into_iter().zip([3, 1])) {
        let disk = history::disk_for(format);
        let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
        storage.bootstrap(history::record(), &Start::Empty).expect("no fault");
        let mut append = |indexes: std::ops::Range<u64>| {
            let hard_state = Some(HardState { term: Term(1), vote: None });
            let entries = indexes.map(|index| history::entry(index, 1, 150)).collect();
            storage.append(&[Persist { io: IoId(1), hard_state, entries }])
        };
        (1..6).for_each(|index| append(index..index + 1).expect("no fault"));
        disk.stop_after(2);
        append(6..6 + count).expect_err("the machine stops after the write and before the sync");
        let length = disk.last_write_bytes().expect("the batch is not synced");
        let mut whole = 0;
        for kept in 0..=length {
            let disk = disk.fork();
            disk.keep_of_last_write(kept);
            let found = open(&disk, 2).unwrap_or_else(|error| panic!("{format:?}, {kept} of {length} bytes: {error}"));
            let held = found.raft.log.tail.last().map_or(0, |entry| entry.id.index.0);
            assert!(held == 5 || held == 5 + count, "{format:?}, {kept} of {length} bytes: the log ends at {held}");
            whole += usize::from(held > 5);
        }
        assert!((1..length).contains(&whole), "{format:?}: whole after {whole} of {length} lengths");
    }
}

/// Nothing in a directory survives a power loss that removes the directory's name.
#[test]
fn the_directory_of_a_new_member_survives_a_power_loss() {
    let disk = history::disk();
    let mut model = Model::default();
    let mut storage = Some(open(&disk, 1).expect("a blank disk opens").storage);
    run(&Step::Bootstrap, &mut storage, &disk, 2).expect("no fault");
    Step::Bootstrap.apply(&mut model);
    for seed in 0..16 {
        let disk = disk.fork();
        disk.lose_power(seed);
        assert_eq!(disk.list(Path::new("/")).expect("it is there"), ["data"], "seed {seed}");
        let found = open(&disk, 3).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        is(&model, &found).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// A start creates a missing directory of snapshots. The log is purged up to a snapshot, so the directory must not be lost again.
#[test]
fn a_new_directory_of_snapshots_survives_a_power_loss() {
    let (before, disk) = (history::disk(), history::disk());
    let mut model = Model::default();
    let mut storage = Some(open(&before, 1).expect("a blank disk opens").storage);
    let entries = vec![history::entry(1, 1, 10), history::entry(2, 1, 10)];
    let hard_state = Some(HardState { term: Term(1), vote: None });
    for step in [Step::Bootstrap, Step::Append(vec![Persist { io: IoId(1), hard_state, entries }])] {
        run(&step, &mut storage, &before, 2).expect("no fault");
        step.apply(&mut model);
    }
    for dir in [history::dir(), history::dir().join("wal")] {
        disk.create_dir(&dir).expect("no fault");
    }
    disk.sync_dir(Path::new("/")).expect("no fault");
    disk.sync_dir(&history::dir()).expect("no fault");
    for path in before.files() {
        disk.overwrite(&path, before.contents(&path));
    }
    let mut storage = Some(open(&disk, 3).expect("no snapshot is needed yet").storage);
    let meta = history::meta(EntryId { term: Term(1), index: Index(2) });
    let step = Step::TakeSnapshot { meta, payload: Vec::new(), first_kept: Index(3) };
    run(&step, &mut storage, &disk, 4).expect("no fault");
    step.apply(&mut model);
    for seed in 0..16 {
        let disk = disk.fork();
        disk.lose_power(seed);
        let found = open(&disk, 5).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        is(&model, &found).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn a_directory_is_used_by_one_storage_at_a_time() {
    let disk = history::disk();
    let first = open(&disk, 1).expect("a blank disk opens");
    assert!(matches!(open(&disk, 2), Err(storage::OpenError::Locked { .. })));
    drop(first);
    assert!(open(&disk, 3).is_ok(), "the lock ends with its holder");
}

/// tikv#8381: term and vote survive a power loss at any time, even if the power loss turns a sector to garbage.
#[test]
fn term_and_vote_survive_a_power_loss_at_any_write() {
    for seed in 0..400 {
        let disk = history::disk();
        let mut model = Model::default();
        let mut storage = Some(open(&disk, 1).expect("a blank disk opens").storage);
        run(&Step::Bootstrap, &mut storage, &disk, 2).expect("no fault yet");
        Step::Bootstrap.apply(&mut model);
        disk.stop_after(1 + seed % 16);
        let possible = (1..).find_map(|term| {
            let hard_state = Some(HardState { term: Term(term), vote: Some(MemberId(term)) });
            let step = Step::Append(vec![raft::Persist { io: raft::IoId(term), hard_state, entries: Vec::new() }]);
            match run(&step, &mut storage, &disk, 3) {
                Ok(()) => {
                    step.apply(&mut model);
                    None
                }
                Err(_) => Some(step.may_leave(&model)),
            }
        });
        drop(storage);
        disk.lose_power(seed);
        let found = open(&disk, 4).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let possible = possible.expect("the machine stops");
        assert!(possible.iter().any(|state| is(state, &found).is_ok()), "seed {seed}: {:?}", found.raft.hard_state);
    }
}

/// A failed write of a snapshot must be reported, too, because a member that waits for a snapshot may never write to its log
/// again and so may never notice the failure.
#[test]
fn a_failed_snapshot_is_reported_once() {
    let disk = history::disk();
    let reported = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reported);
    let on_failure = OnFailure::call(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let options = Options { on_failure, ..history::options(1) };
    let mut storage = Storage::open(Arc::new(disk.clone()), &history::dir(), options).expect("a blank disk").storage;
    storage.bootstrap(history::record(), &Start::Empty).expect("no fault yet");
    disk.fail_sync_after(0);
    let meta = history::meta(EntryId { term: Term(1), index: Index(9) });
    let received = storage.snapshots().receive(meta.clone()).and_then(|receiver| receiver.finish(0, 0));
    assert!(matches!(received, Err(SnapshotError::Storage(StorageError::Failed(_)))), "{received:?}");
    assert!(storage.snapshots().receive(meta).is_err(), "no later write succeeds");
    assert_eq!(reported.load(Ordering::Relaxed), 1);
}

/// A purge keeps the files of some segments, so it may free no space. On a full disk they are therefore removed.
#[test]
fn a_full_disk_removes_a_purged_segment_to_extend_the_newest_one() {
    const ENTRY: usize = 100 << 10;
    let disk = history::disk();
    let options = Options { segment_bytes: 600 << 10, ..history::options(1) };
    let mut storage = Storage::open(Arc::new(disk.clone()), &history::dir(), options).expect("a blank disk").storage;
    storage.bootstrap(history::record(), &Start::Empty).expect("no fault yet");
    let append = |storage: &mut Storage, index: u64| {
        let payload = Payload::Normal(vec![7; ENTRY].into());
        let entry = Entry { id: EntryId { term: Term(0), index: Index(index) }, time_ms: 0, payload };
        storage.append(&[Persist { io: IoId(index), hard_state: None, entries: vec![entry] }])
    };
    (1..=7).for_each(|index| append(&mut storage, index).expect("there is space"));
    disk.limit_bytes(Some(disk.used_bytes()));
    assert!(matches!(append(&mut storage, 8), Err(StorageError::Full { .. })), "the segment would have to grow");
    disk.limit_bytes(None);
    let meta = history::meta(EntryId { term: Term(0), index: Index(5) });
    storage.snapshots().begin(meta).expect("a draft").finish().expect("a snapshot");
    disk.limit_bytes(Some(disk.used_bytes()));
    storage.purge(Index(6)).expect("a purge needs no space");
    append(&mut storage, 8).expect("there is space again");
}
