//! Repairs of a damaged log. After a repair the log is that of the leader whose entries it got, and a crash at any operation of it
//! leaves a directory that can be repaired again. Owns the choice of the damage. Does not own what a start reports (`damage.rs`).

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

#[path = "support/bit_flip.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod bit_flip;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bit_flip::disk_after;
use history::{FORMATS, Model, dir, is, open, segments};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, Term};
use storage::{Damage, DamageKind, LogFormat, LogRepair, OpenError, Storage, StorageError};

/// Term of the leader whose log is fetched.
const LEADER: Term = Term(1_000);

/// Bytes of the header of a segment. No batch begins before.
const HEADER_BYTES: usize = 512;

/// Number of outcomes that are tried for each crash.
const LOSSES: u64 = 8;

/// What a repair did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Part of the log before the damage was kept.
    kept: bool,
    /// That part was dropped, because the leader has another one.
    dropped: bool,
}

fn damage_of(disk: &MemoryDisk, salt: u64) -> Option<Damage> {
    match open(disk, salt) {
        Ok(_) => None,
        Err(OpenError::Damaged { damage, .. }) => Some(damage),
        Err(other) => panic!("{other}"),
    }
}

fn begin(disk: &MemoryDisk, format: LogFormat, salt: u64, damage: Damage) -> Result<LogRepair, OpenError> {
    LogRepair::open(Arc::new(disk.clone()), &dir(), &history::options_for(format, salt), damage)
}

/// The log of the leader: what the member had acknowledged.
fn id_at(model: &Model, index: Index) -> Option<EntryId> {
    model.log.iter().map(|entry| entry.id).find(|id| id.index == index)
}

fn repair(disk: &MemoryDisk, format: LogFormat, model: &Model, damage: Damage) -> Result<Seen, StorageError> {
    let mut repair = match begin(disk, format, 77, damage) {
        Ok(repair) => repair,
        Err(OpenError::Failed(failure)) => return Err(StorageError::Refused(failure)),
        Err(other) => panic!("{other}"),
    };
    let snapshot = model.snapshot.as_ref().map_or(EntryId::default(), |meta| meta.last);
    let mut seen = Seen { kept: !repair.is_at_snapshot(), dropped: false };
    if !repair.is_at_snapshot() && id_at(model, repair.last().index) != Some(repair.last()) {
        repair.return_to_snapshot();
        seen.dropped = true;
    }
    assert!(repair.last().index >= snapshot.index);
    let next = model.log.partition_point(|entry| entry.id.index <= repair.last().index);
    for chunk in model.log[next..].chunks(3) {
        repair.append(chunk)?;
    }
    repair.finish(LEADER)?;
    Ok(seen)
}

/// The member holds the leader's log, and later writes follow it.
fn check(disk: &MemoryDisk, model: &Model, context: &str) {
    let repaired = Model { hard_state: HardState { term: LEADER, vote: None }, ..model.clone() };
    let found = open(disk, 78).unwrap_or_else(|error| panic!("{context}: {error}"));
    is(&repaired, &found).unwrap_or_else(|what| panic!("{context}: {what}"));
    drop(found);
    disk.lose_power(5);
    let mut found = open(disk, 79).unwrap_or_else(|error| panic!("{context}: {error}"));
    is(&repaired, &found).unwrap_or_else(|what| panic!("{context}, after a power loss: {what}"));
    let entry = history::entry(model.last().index.0 + 1, LEADER.0, 100);
    let persist = raft::Persist { io: raft::IoId(1), hard_state: None, entries: vec![entry.clone()] };
    found.storage.append(&[persist]).expect("no fault");
    drop(found);
    let found = open(disk, 80).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(found.raft.log.tail.last(), Some(&entry), "{context}");
}

/// Damaged copies of a disk: flipped bits in every segment, shortened segments and missing ones.
fn damaged(disk: &MemoryDisk, step: usize) -> Vec<(String, MemoryDisk)> {
    let mut copies = Vec::new();
    for path in segments(disk) {
        let size = disk.contents(&path).expect("a listed file").len();
        for offset in (3..size).step_by(step).chain([20]) {
            let copy = disk.fork();
            copy.flip_bit(&path, offset as u64, (offset % 8) as u8);
            copies.push((format!("byte {offset} of {}", path.display()), copy));
        }
        for kept in [0, 700, 5_000] {
            let bytes = disk.contents(&path).expect("a listed file");
            if kept < bytes.len() {
                let copy = disk.fork();
                copy.overwrite(&path, Some(bytes[..kept].to_vec()));
                copies.push((format!("{} cut off after {kept} bytes", path.display()), copy));
            }
        }
        let copy = disk.fork();
        copy.overwrite(&path, None);
        copies.push((format!("{} missing", path.display()), copy));
    }
    copies
}

#[test]
fn a_repaired_log_is_the_log_of_the_leader() {
    let (mut repaired, mut kept, mut dropped) = (0, 0, 0);
    for (seed, format) in (0..24).zip(FORMATS.into_iter().cycle()) {
        let (disk, model) = disk_after(format, seed, 30);
        for (what, copy) in damaged(&disk, 397) {
            let context = format!("{format:?}, seed {seed}, {what}");
            let Some(damage) = damage_of(&copy, 76) else { continue };
            let seen = repair(&copy, format, &model, damage).unwrap_or_else(|error| panic!("{context}: {error}"));
            check(&copy, &model, &context);
            repaired += 1;
            kept += usize::from(seen.kept);
            dropped += usize::from(seen.dropped);
        }
    }
    println!("{repaired} repaired, {kept} with a part that was kept, {dropped} with one that the leader has not");
    assert!(repaired > 100 && kept > 20 && dropped > 0, "{repaired}, {kept}, {dropped}");
}

/// The log as far as a repair keeps it.
fn kept(disk: &MemoryDisk, format: LogFormat) -> EntryId {
    let damage = Damage { path: dir().join("wal"), offset: 0, kind: DamageKind::Checksum };
    begin(disk, format, 77, damage).expect("the log alone is damaged").last()
}

/// Neither a damaged header nor a missing segment costs what the segments before it hold.
#[test]
fn a_repair_keeps_the_segments_before_one_without_a_header() {
    let mut after_a_snapshot = 0;
    for (seed, format) in (0..24).zip(FORMATS.into_iter().cycle()) {
        let (disk, model) = disk_after(format, seed, 30);
        let snapshot = model.snapshot.as_ref().map_or(EntryId::default(), |meta| meta.last);
        for path in segments(&disk) {
            let [payload, header, missing] = [0; 3].map(|_| disk.fork());
            payload.overwrite(&path, disk.contents(&path).map(|bytes| bytes[..HEADER_BYTES.min(bytes.len())].to_vec()));
            header.flip_bit(&path, 20, 3);
            missing.overwrite(&path, None);
            let before = kept(&payload, format);
            let context = format!("{format:?}, seed {seed}, {}", path.display());
            assert_eq!(kept(&header, format), before, "{context}: the header is damaged");
            // Without a segment that only older snapshots need, the log is taken for one that was purged.
            if damage_of(&missing.fork(), 76).is_some() {
                assert_eq!(kept(&missing, format), before, "{context}: it is missing");
            }
            after_a_snapshot += usize::from(before.index > snapshot.index);
        }
    }
    assert!(after_a_snapshot > 10, "{after_a_snapshot}");
}

#[test]
fn a_repair_that_crashes_at_any_operation_can_be_repeated() {
    let mut crashes = 0;
    for (seed, format) in (40..46).zip(FORMATS.into_iter().cycle()) {
        let (disk, model) = disk_after(format, seed, 30);
        // The frames that show damage at the end of a log are not synced. What is left of them after this stays.
        disk.lose_power(seed);
        for (what, copy) in damaged(&disk, 2_999) {
            let Some(damage) = damage_of(&copy, 76) else { continue };
            for stop in 1.. {
                let context = format!("{format:?}, seed {seed}, {what}, operation {stop}");
                let stopped = copy.fork();
                stopped.stop_after(stop);
                let ended = repair(&stopped, format, &model, damage.clone());
                if ended.is_ok() && !stopped.has_stopped() {
                    break;
                }
                // What survives of unsynced writes differs between seeds; the last one kills the process only.
                for loss in 0..LOSSES {
                    let copy = stopped.fork();
                    if loss + 1 == LOSSES {
                        copy.kill()
                    } else {
                        copy.lose_power(stop * LOSSES + loss)
                    }
                    crashes += 1;
                    if let Some(again) = damage_of(&copy, 90) {
                        repair(&copy, format, &model, again).unwrap_or_else(|error| panic!("{context}: {error}"));
                    }
                    check(&copy, &model, &context);
                }
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn a_full_disk_ends_an_attempt_and_not_the_repair() {
    let (disk, model) = disk_after(LogFormat::V2, 3, 30);
    let last = segments(&disk).pop().expect("there is a log");
    disk.overwrite(&last, None);
    let damage = damage_of(&disk, 76).unwrap_or(Damage { path: last, offset: 0, kind: DamageKind::Missing });
    let mut repair = begin(&disk, LogFormat::V2, 77, damage).expect("the log alone is damaged");
    repair.return_to_snapshot();
    disk.limit_bytes(Some(disk.used_bytes() + 6_000));
    let after = |repair: &LogRepair| model.log.partition_point(|entry| entry.id.index <= repair.last().index);
    let from = after(&repair);
    let error = repair.append(&model.log[from..]).expect_err("the entries do not fit");
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    disk.limit_bytes(None);
    let from = after(&repair);
    repair.append(&model.log[from..]).expect("there is space");
    repair.finish(LEADER).expect("no fault");
    drop(repair);
    check(&disk, &model, "after the disk was full");
}

#[test]
fn entries_that_do_not_follow_are_refused() {
    let (disk, model) = disk_after(LogFormat::V1, 5, 30);
    let path = segments(&disk).pop().expect("there is a log");
    let damage = Damage { path, offset: 0, kind: DamageKind::Checksum };
    let mut repair = begin(&disk, LogFormat::V1, 77, damage).expect("identity, term and vote are whole");
    repair.return_to_snapshot();
    let last = repair.last();
    let skipped = history::entry(last.index.0 + 2, 50, 10);
    assert!(matches!(repair.append(&[skipped]), Err(StorageError::OutOfOrder { .. })));
    repair.append(&[history::entry(last.index.0 + 1, 50, 10)]).expect("it follows");
    let older = history::entry(last.index.0 + 2, 49, 10);
    assert!(matches!(repair.append(&[older]), Err(StorageError::OutOfOrder { .. })));
    drop(repair);
    is(&model, &open(&disk, 81).expect("nothing was changed")).expect("the log is the old one");
}

#[test]
fn nothing_but_a_log_is_repaired() {
    let (disk, _) = disk_after(LogFormat::V1, 6, 30);
    let is_refused = |disk: &MemoryDisk, path: PathBuf, kind| {
        let damage = Damage { path, offset: 0, kind };
        matches!(begin(disk, LogFormat::V1, 77, damage), Err(OpenError::Damaged { .. }))
    };
    let wal = dir().join("wal");
    assert!(is_refused(&disk, dir().join("hard_state"), DamageKind::Checksum));
    assert!(is_refused(&disk, dir().join("identity"), DamageKind::Checksum));
    assert!(is_refused(&disk, wal.clone(), DamageKind::NoIdentity));
    assert!(is_refused(&disk, wal.clone(), DamageKind::Foreign));
    for name in ["hard_state", "identity"] {
        let copy = disk.fork();
        copy.overwrite(&dir().join(name), None);
        assert!(is_refused(&copy, wal.clone(), DamageKind::Checksum), "without {name}");
    }
    assert!(!is_refused(&disk, wal, DamageKind::Checksum));
    let held = Storage::open(Arc::new(disk.clone()), &dir(), history::options(5)).expect("it is whole");
    let damage = Damage { path: Path::new("/data/wal").to_owned(), offset: 0, kind: DamageKind::Checksum };
    assert!(matches!(begin(&disk, LogFormat::V1, 77, damage), Err(OpenError::Locked { .. })));
    drop(held);
}
