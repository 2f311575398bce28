//! Flipped bits and missing files, in both formats of the log. Each damage is repaired, is reported, or has no effect. No
//! acknowledged write is lost without a report. Owns the enumeration of the bytes in which a bit is flipped.

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

#[path = "support/bit_flip.rs"]
mod bit_flip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bit_flip::{Verdict, disk_after, flip_and_check, is_replaced_by_the_log, start_after_flip};
use history::{FORMATS, Model, Step, dir, open, run, segments};
use memory_disk::{Choice, MemoryDisk};
use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, Term};
use storage::{DamageKind, LogFormat, OpenError, Options, Storage};

/// Number of times that each verdict was given.
type Verdicts = BTreeMap<String, usize>;

fn flip(format: LogFormat, disk: (&MemoryDisk, &Model), path: &Path, offset: u64, bit: u8, verdicts: &mut Verdicts) {
    let verdict = flip_and_check(disk, path, offset, bit)
        .unwrap_or_else(|what| panic!("{format:?}, {}, bit {bit} of byte {offset}: {what}", path.display()));
    *verdicts.entry(format!("{verdict:?}")).or_default() += 1;
}

#[track_caller]
fn every_verdict_occurs(verdicts: &Verdicts) {
    let names: Vec<&str> = verdicts.keys().map(String::as_str).collect();
    assert_eq!(names, ["GivenUp", "Harmless", "PutAside", "Reported"], "{verdicts:?}");
}

/// UW-Madison, FAST'18 (protocol-aware recovery): a start never mistakes damage to durable bytes for a torn tail. A bit
/// is flipped in every byte of one small directory; which of the eight bits depends on the byte.
fn a_flipped_bit_in_any_byte_never_loses_a_write_without_a_report(format: LogFormat) {
    let (disk, model) = small_directory(format);
    let mut verdicts = Verdicts::new();
    for path in disk.files() {
        let size = disk.contents(&path).expect("a listed file").len() as u64;
        for offset in 0..size {
            flip(format, (&disk, &model), &path, offset, (offset % 8) as u8, &mut verdicts);
        }
    }
    println!("{format:?}: {verdicts:?}");
    every_verdict_occurs(&verdicts);
}

/// A directory of three small segments and two snapshots, of which the older one and the log hold all entries.
fn small_directory(format: LogFormat) -> (MemoryDisk, Model) {
    let disk = history::disk_for(format);
    let mut model = Model::default();
    let options = Options { segment_bytes: 4 * format.unit().max(2048) as u64, ..history::options_for(format, 3) };
    let found = Storage::open(Arc::new(disk.clone()), &dir(), options).expect("a blank disk opens");
    let mut storage = Some(found.storage);
    let mut step = |step: Step, model: &mut Model| {
        run(&step, &mut storage, &disk, 3).expect("no fault");
        step.apply(model);
    };
    step(Step::Bootstrap, &mut model);
    let hard_state = Some(HardState { term: Term(1), vote: Some(MemberId(2)) });
    let mut count = logs(&disk).len();
    for index in 1.. {
        let entry = history::entry(index, 1, 50);
        step(Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![entry] }]), &mut model);
        if logs(&disk).len() > count {
            count = logs(&disk).len();
            let meta = history::meta(EntryId { term: Term(1), index: Index(index) });
            let payload = history::payload_of(&meta, 100);
            step(Step::TakeSnapshot { meta, payload, first_kept: Index(1) }, &mut model);
        }
        if count == 3 {
            break;
        }
    }
    disk.kill();
    (disk, model)
}

/// Segments of the directory, oldest first.
fn logs(disk: &MemoryDisk) -> Vec<PathBuf> {
    segments(disk).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "wal")).collect()
}

#[test]
fn a_flipped_bit_in_any_byte_of_format_1_never_loses_a_write_without_a_report() {
    a_flipped_bit_in_any_byte_never_loses_a_write_without_a_report(LogFormat::V1);
}

#[test]
fn a_flipped_bit_in_any_byte_of_format_2_never_loses_a_write_without_a_report() {
    a_flipped_bit_in_any_byte_never_loses_a_write_without_a_report(LogFormat::V2);
}

/// The same in larger directories: every byte of the frames at the start of units, and one byte of 61 elsewhere. The
/// seeds differ in the bytes and in the bits.
#[test]
fn a_flipped_bit_in_one_of_61_bytes_of_a_random_directory_never_loses_a_write_without_a_report() {
    for format in FORMATS {
        let mut verdicts = Verdicts::new();
        for seed in 0..8 {
            let (disk, model) = disk_after(format, seed, 25);
            for path in disk.files() {
                let size = disk.contents(&path).expect("a listed file").len() as u64;
                let is_frame = |offset: u64| offset % (format.unit() as u64) < 96;
                for offset in (0..size).filter(|offset| is_frame(*offset) || (offset + seed) % 61 == 0) {
                    flip(format, (&disk, &model), &path, offset, ((offset + seed) % 8) as u8, &mut verdicts);
                }
            }
        }
        every_verdict_occurs(&verdicts);
    }
}

/// A member starts from any of its snapshots, because the log after the oldest one is kept although every purge names the newest.
#[test]
fn each_kept_snapshot_can_be_started_from() {
    let mut started_from = [0; 3];
    for seed in 0..24 {
        let disk = history::disk();
        let open = |disk: &MemoryDisk| {
            let options = Options { snapshots_kept: 3, ..history::options(seed) };
            Storage::open(Arc::new(disk.clone()), &dir(), options)
        };
        let mut model = Model::default();
        let mut chance = Choice(seed);
        let mut storage = Some(open(&disk).expect("a blank disk opens").storage);
        let mut taken = 0;
        while taken < 6 {
            let step = match Step::random(&mut chance, &model) {
                // The purge goes as far as it may.
                Step::TakeSnapshot { meta, payload, .. } => {
                    taken += 1;
                    Step::TakeSnapshot { first_kept: meta.last.index.next(), meta, payload }
                }
                Step::Install { .. } if taken > 2 || chance.below(4) > 0 => continue,
                Step::Restart => continue,
                step => step,
            };
            run(&step, &mut storage, &disk, seed).expect("no fault");
            step.apply(&mut model);
        }
        drop(storage.take());
        let newest_first: Vec<_> = open(&disk.fork()).expect("it opens").storage.snapshots().list();
        for damaged in 0..newest_first.len() {
            let older = newest_first[damaged].meta.last;
            let found = open(&disk.fork()).unwrap_or_else(|error| panic!("seed {seed}, {damaged} damaged: {error}"));
            assert_eq!(found.raft.snapshot.last, older, "seed {seed}: the newest readable snapshot");
            assert!(is_replaced_by_the_log(&model, &found), "seed {seed}, {damaged} damaged: entries are lost");
            started_from[damaged] += 1;
            let name = format!("snap/{:016x}-{:016x}.snap", older.index.0, older.term.0);
            disk.flip_bit(&dir().join(name), 20, 1);
        }
    }
    assert!(started_from.iter().all(|count| *count > 10), "each snapshot is started from: {started_from:?}");
}

/// Numbers and offsets of the batches in a segment, as its open frames state them.
fn batches_in(segment: &[u8], format: LogFormat) -> Vec<(u64, u64)> {
    let number = |at: usize| u64::from_le_bytes(segment[at + 8..at + 16].try_into().expect("eight bytes"));
    let is_open = |at: &usize| segment[at + 16..at + 24] == segment[24..32] && segment[at + 32] == 0xA1;
    (format.unit()..segment.len()).step_by(format.unit()).filter(is_open).map(|at| (number(at), at as u64)).collect()
}

/// Returns a disk with a log of `last` batches that hold one entry each, so that their numbers are indexes, and two snapshots.
fn with_snapshots(format: LogFormat, ends: [u64; 2], last: u64) -> (MemoryDisk, Model) {
    let disk = history::disk_for(format);
    let mut model = Model::default();
    let mut storage = Some(open(&disk, 2).expect("a blank disk opens").storage);
    let mut step = |step: Step| {
        run(&step, &mut storage, &disk, 2).expect("no fault");
        step.apply(&mut model);
    };
    step(Step::Bootstrap);
    for index in 1..=last {
        let hard_state = Some(HardState { term: Term(1), vote: None });
        step(Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![history::entry(index, 1, 900)] }]));
        if ends.contains(&index) {
            let meta = history::meta(EntryId { term: Term(1), index: Index(index) });
            step(Step::TakeSnapshot { payload: history::payload_of(&meta, 10), first_kept: Index(1), meta });
        }
    }
    disk.kill();
    (disk, model)
}

/// Places of the batches, and under number 0 those of the headers of segments without an entry after `end`.
fn places(disk: &MemoryDisk, format: LogFormat, end: u64) -> Vec<(u64, PathBuf, u64)> {
    let (mut batches, mut headers) = (BTreeMap::new(), Vec::new());
    for path in logs(disk) {
        let found = batches_in(&disk.contents(&path).expect("a segment"), format);
        if found.iter().all(|(number, _)| *number <= end) {
            headers.push((0, path.clone(), 0));
        }
        // A segment may end with the open frame of a batch that is in the next one.
        batches.extend(found.into_iter().map(|(number, offset)| (number, (path.clone(), offset))));
    }
    headers.into_iter().chain(batches.into_iter().map(|(number, (path, offset))| (number, path, offset))).collect()
}

/// A sole voter cannot fetch its log from another member. Only damage to what its newest snapshot does not cover may stop it.
#[test]
fn damage_that_the_newest_snapshot_makes_up_for_does_not_stop_a_member() {
    // The snapshot ends at the end of a segment, or anywhere in it.
    for (format, end) in FORMATS.into_iter().flat_map(|format| (30..38).map(move |end| (format, end))) {
        let (disk, model) = with_snapshots(format, [end - 10, end], end + 5);
        let mut given_up = 0;
        for (number, path, offset) in places(&disk, format, end) {
            for byte in [3, 20, 60] {
                let context = format!("{format:?}, snapshot at {end}, byte {byte} of batch {number}");
                let verdict = flip_and_check((&disk, &model), &path, offset + byte, 1);
                let verdict = verdict.unwrap_or_else(|what| panic!("{context}: {what}"));
                // After the last batch follows the open frame of the next one, so that it cannot be torn.
                let is_needed = (end + 1..=end + 5).contains(&number);
                assert_eq!(verdict == Verdict::Reported, is_needed, "{context}: {verdict:?}");
                given_up += usize::from(verdict == Verdict::GivenUp);
            }
        }
        assert!(given_up >= 3 * 10, "{format:?}, {end}: the log between the snapshots, {given_up}");
    }
}

/// A damaged segment that is not needed is removed, so that the next start does not find it again, and the member goes on.
#[test]
fn a_start_gives_a_damaged_part_of_the_log_up_once() {
    for format in FORMATS {
        let (disk, model) = small_directory(format);
        // The older snapshot ends with the first entry of the second of three segments.
        let between = logs(&disk).remove(1);
        disk.flip_bit(&between, 20, 1);
        let found = open(&disk, 5).expect("the newest snapshot is after the damage");
        let damaged: Vec<&Path> = found.given_up.iter().map(|damage| damage.path.as_path()).collect();
        assert_eq!(damaged, [between.as_path()], "{format:?}");
        assert!(!logs(&disk).contains(&between), "{format:?}: the damaged segment stays");
        let mut storage = found.storage;
        let next = model.last().index.next();
        let persist = Persist { io: IoId(1), hard_state: None, entries: vec![history::entry(next.0, 1, 50)] };
        storage.append(&[persist]).expect("no fault");
        storage.purge(Index(1)).expect("no fault");
        drop(storage);
        let found = open(&disk, 6).expect("it opens");
        assert_eq!((found.given_up, found.raft.log.tail.last().map(|entry| entry.id.index)), (Vec::new(), Some(next)));
    }
}

/// Returns a disk with a log of `count` batches that hold one entry each, the path of the only segment, and the offset of each
/// payload in the segment.
fn batches(format: LogFormat, count: u64) -> (MemoryDisk, PathBuf, Vec<u64>) {
    let disk = history::disk_for(format);
    let mut storage = Some(open(&disk, 5).expect("a blank disk opens").storage);
    run(&Step::Bootstrap, &mut storage, &disk, 5).expect("no fault");
    let mut places = Vec::new();
    for index in 1..=count {
        let hard_state = Some(HardState { term: Term(1), vote: None });
        let payload = bytes::Bytes::from(vec![index as u8; 100]);
        let id = EntryId { term: Term(1), index: Index(index) };
        let entry = raft::Entry { id, time_ms: index, payload: raft::Payload::Normal(payload) };
        let step = Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![entry] }]);
        run(&step, &mut storage, &disk, 5).expect("no fault");
        // The header fills unit 0 and batch `index` fills unit `index`. In a batch, 40 bytes of open frame and 40 bytes of record
        // header precede the payload.
        places.push(format.unit() as u64 * index + 80);
    }
    disk.kill();
    let path = segments(&disk).pop().expect("a segment");
    let contents = disk.contents(&path).expect("it is there");
    for (place, index) in places.iter().zip(1..) {
        assert_eq!(contents[*place as usize], index, "the payload stands where the format places it");
    }
    (disk, path, places)
}

#[test]
fn damage_before_the_last_open_frame_is_reported_with_its_place() {
    for format in FORMATS {
        let (disk, path, places) = batches(format, 4);
        for place in &places {
            let error = start_after_flip(&disk, &path, *place, 3).expect_err("damage");
            let OpenError::Damaged { identity: Some(identity), damage } = error else { panic!("{error}") };
            assert_eq!(identity.member, history::MEMBER, "the report names the member");
            assert_eq!((damage.path, damage.offset), (path.clone(), place - 40), "the record that does not match");
            assert_eq!(damage.kind, DamageKind::Checksum);
        }
    }
}

#[test]
fn a_damaged_last_batch_without_an_open_frame_after_it_is_a_torn_tail() {
    for format in FORMATS {
        let (disk, path, places) = batches(format, 4);
        // A power loss may remove the open frame after the last batch, because this frame was never synced.
        let mut contents = disk.contents(&path).expect("it is there");
        contents[format.unit() * 5..format.unit() * 6].fill(0);
        contents[places[3] as usize] ^= 1;
        disk.overwrite(&path, Some(contents));
        let found = open(&disk, 6).expect("a torn tail is no damage");
        let indexes: Vec<_> = found.raft.log.tail.iter().map(|entry| entry.id.index.0).collect();
        assert_eq!(indexes, [1, 2, 3]);
    }
}

/// A start does not notice that the newest segment of format 1 is missing, unless the segment before it ends at the end of a page
/// (`formats.rs`).
#[test]
fn a_missing_file_is_damage() {
    for format in FORMATS {
        let (disk, model) = disk_after(format, 3, 25);
        let newest = segments(&disk).into_iter().rfind(|path| path.extension().is_some_and(|ending| ending == "wal"));
        for path in disk.files() {
            if format == LogFormat::V1 && Some(&path) == newest.as_ref() {
                continue;
            }
            let disk = disk.fork();
            disk.overwrite(&path, None);
            let name = path.display();
            match open(&disk, 77) {
                Err(OpenError::Damaged { .. }) => {}
                Err(other) => panic!("{format:?}, {name}: {other}"),
                // The missing file was not needed. It was an older snapshot, or a segment that the snapshot
                // covers.
                Ok(found) => {
                    assert!(is_replaced_by_the_log(&model, &found), "{format:?}, {name}: lost without a report")
                }
            }
        }
    }
}

#[test]
fn a_volume_with_data_and_without_identity_is_not_blank() {
    for kept in ["hard_state", "wal", "snap"] {
        let (disk, _) = disk_after(LogFormat::V1, 3, 25);
        for path in disk.files() {
            if !path.starts_with(dir().join(kept)) {
                disk.overwrite(&path, None);
            }
        }
        let error = open(&disk, 77).expect_err("not blank");
        assert!(
            matches!(&error, OpenError::Damaged { damage, .. } if damage.kind == DamageKind::NoIdentity),
            "{error}"
        );
    }
}

#[test]
fn files_of_another_member_are_refused() {
    let (ours, _) = disk_after(LogFormat::V1, 3, 25);
    let theirs = history::disk();
    let other = storage::Options { blank_member_id: MemberId(0xB0B), ..history::options(9) };
    let found = storage::Storage::open(std::sync::Arc::new(theirs.clone()), &dir(), other).expect("blank");
    let mut storage = Some(found.storage);
    run(&Step::Bootstrap, &mut storage, &theirs, 9).expect("no fault");
    for name in ["hard_state", "wal/0000000000000001.wal"] {
        let disk = ours.fork();
        for path in segments(&disk) {
            if name.starts_with("wal") {
                disk.overwrite(&path, None);
            }
        }
        let path = dir().join(name);
        disk.overwrite(&path, theirs.contents(&path));
        let error = open(&disk, 77).expect_err("foreign");
        assert!(matches!(&error, OpenError::Damaged { damage, .. } if damage.kind == DamageKind::Foreign), "{error}");
    }
}

/// tikv#8381: a vote is never lost.
#[test]
fn term_and_vote_survive_damage_to_one_slot_and_damage_to_both_is_reported() {
    let (disk, model) = disk_after(LogFormat::V1, 4, 25);
    let path = dir().join("hard_state");
    for slot in [0u64, 4096] {
        for byte in [0, 4, 16, 32, 40, 511] {
            let found = start_after_flip(&disk, &path, slot + byte, 1).expect("the other slot is readable");
            assert_eq!(found.raft.hard_state, model.hard_state);
        }
    }
    disk.flip_bit(&path, 33, 1);
    disk.flip_bit(&path, 4096 + 33, 1);
    let error = open(&disk, 77).expect_err("no slot is readable");
    assert!(matches!(&error, OpenError::Damaged { damage, .. } if damage.path == path), "{error}");
}

#[test]
fn a_hard_state_older_than_the_log_is_damage() {
    let (disk, _) = disk_after(LogFormat::V1, 4, 25);
    let path = dir().join("hard_state");
    let older = {
        let disk = history::disk();
        let mut storage = Some(open(&disk, 5).expect("a blank disk opens").storage);
        run(&Step::Bootstrap, &mut storage, &disk, 5).expect("no fault");
        disk.contents(&path)
    };
    disk.overwrite(&path, older);
    let error = open(&disk, 77).expect_err("an old copy");
    assert!(
        matches!(&error, OpenError::Damaged { damage, .. } if damage.kind == DamageKind::HardStateOlderThanLog),
        "{error}"
    );
}
