//! Rot: a flipped bit is mended, reported, or of no consequence; it never costs anything acknowledged in silence. Owns
//! the enumeration of bytes to flip.

#[path = "support/history.rs"]
#[allow(dead_code)] // Each test uses its part.
mod history;

use std::path::{Path, PathBuf};

use history::{Chance, Model, Step, dir, is, open, run, segments};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, Term};
use storage::{DamageKind, OpenError, Recovered};

/// A disk after a life of some steps and a kill, and what it must hold.
fn lived(seed: u64, steps: u64) -> (MemoryDisk, Model) {
    let disk = MemoryDisk::new();
    let mut model = Model::default();
    let mut chance = Chance(seed);
    let mut storage = Some(open(&disk, seed).expect("a blank disk opens").storage);
    for number in 0..steps {
        let step = Step::random(&mut chance, &model);
        run(&step, &mut storage, &disk, seed + number).expect("no fault yet");
        step.apply(&mut model);
    }
    disk.kill();
    (disk, model)
}

/// What a start finds after a bit of a file was flipped.
fn start_after_flip(disk: &MemoryDisk, path: &Path, offset: u64, bit: u8) -> Result<Recovered, OpenError> {
    let disk = disk.fork();
    disk.flip_bit(path, offset, bit);
    open(&disk, 77)
}

/// An older snapshot and the log together hold what the damaged snapshot held.
fn is_made_up_for(model: &Model, found: &Recovered) -> bool {
    let older = found.raft.snapshot.last;
    let log: Vec<_> = model.log.iter().filter(|entry| entry.id.index > older.index).cloned().collect();
    let behind: Vec<_> = found.raft.entries.iter().filter(|entry| entry.id.index > older.index).cloned().collect();
    let reaches_back = behind.first().is_none_or(|first| first.id.index == older.index.next());
    found.raft.hard_state == model.hard_state && reaches_back && behind == log
}

/// UW-Madison, FAST'18 (protocol-aware recovery): damage to what was durable is never taken for a torn tail.
#[test]
fn a_flipped_bit_anywhere_never_loses_anything_in_silence() {
    let mut verdicts = [0; 3];
    for seed in 0..8 {
        let (disk, model) = lived(seed, 25);
        for path in disk.files() {
            let size = disk.contents(&path).expect("a listed file").len() as u64;
            for offset in (seed..size).step_by(61) {
                let context = format!("seed {seed}, {}, byte {offset}", path.display());
                match start_after_flip(&disk, &path, offset, (offset % 8) as u8) {
                    Err(OpenError::Damaged { .. }) => verdicts[0] += 1,
                    Err(other) => panic!("{context}: {other}"),
                    Ok(found) if found.quarantined.is_empty() => {
                        is(&model, &found).unwrap_or_else(|what| panic!("{context}: lost in silence: {what}"));
                        verdicts[1] += 1;
                    }
                    Ok(found) => {
                        assert!(is_made_up_for(&model, &found), "{context}: the log does not make up for it");
                        verdicts[2] += 1;
                    }
                }
            }
        }
    }
    assert!(verdicts.iter().all(|count| *count > 0), "each verdict is seen: {verdicts:?}");
}

/// A log of batches of one entry each; the place of each batch's payload in the only segment.
fn batches(count: u64) -> (MemoryDisk, PathBuf, Vec<u64>) {
    let disk = MemoryDisk::new();
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
        // Header sector, one sector a batch; the payload stands behind an open frame and a record's head.
        places.push(512 * index + 80);
    }
    disk.kill();
    let path = segments(&disk).pop().expect("a segment");
    let contents = disk.contents(&path).expect("it is there");
    for (place, index) in places.iter().zip(1..) {
        assert_eq!(contents[*place as usize], index, "the payload stands where the format says");
    }
    (disk, path, places)
}

#[test]
fn damage_below_the_last_durable_batch_names_its_place() {
    let (disk, path, places) = batches(4);
    for place in &places {
        let error = start_after_flip(&disk, &path, *place, 3).expect_err("damage");
        let OpenError::Damaged { identity: Some(identity), damage } = error else { panic!("{error}") };
        assert_eq!(identity.member, history::MEMBER, "who it is can still be told");
        assert_eq!((damage.path, damage.offset), (path.clone(), place - 40), "the record that does not match");
        assert_eq!(damage.kind, DamageKind::Checksum);
    }
}

#[test]
fn a_last_batch_without_any_trace_of_its_sync_is_a_torn_tail() {
    let (disk, path, places) = batches(4);
    // The open frame behind the last batch is what a power loss takes first: it was never synced.
    let mut contents = disk.contents(&path).expect("it is there");
    contents[512 * 5..512 * 6].fill(0);
    contents[places[3] as usize] ^= 1;
    disk.overwrite(&path, Some(contents));
    let found = open(&disk, 6).expect("a torn tail is no damage");
    let indexes: Vec<_> = found.raft.entries.iter().map(|entry| entry.id.index.0).collect();
    assert_eq!(indexes, [1, 2, 3]);
}

#[test]
fn a_missing_file_is_damage() {
    let (disk, model) = lived(3, 25);
    for path in disk.files() {
        let disk = disk.fork();
        disk.overwrite(&path, None);
        match open(&disk, 77) {
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => panic!("{}: {other}", path.display()),
            // A spare, an old snapshot, an old segment behind the snapshot: nothing was lost with it.
            Ok(found) => assert!(is_made_up_for(&model, &found), "{}: lost in silence", path.display()),
        }
    }
}

#[test]
fn a_volume_with_data_and_without_identity_is_not_blank() {
    for kept in ["hard_state", "wal", "snap"] {
        let (disk, _) = lived(3, 25);
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
    let (ours, _) = lived(3, 25);
    let theirs = MemoryDisk::new();
    let other = storage::Options { mint: MemberId(0xB0B), ..history::options(9) };
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

/// tikv#8381: a vote is never forgotten.
#[test]
fn term_and_vote_survive_rot_in_either_slot_and_both_gone_is_damage() {
    let (disk, model) = lived(4, 25);
    let path = dir().join("hard_state");
    for slot in [0u64, 4096] {
        for byte in [0, 4, 16, 32, 40, 511] {
            let found = start_after_flip(&disk, &path, slot + byte, 1).expect("the other slot does");
            assert_eq!(found.raft.hard_state, model.hard_state);
        }
    }
    disk.flip_bit(&path, 33, 1);
    disk.flip_bit(&path, 4096 + 33, 1);
    let error = open(&disk, 77).expect_err("no slot is left");
    assert!(matches!(&error, OpenError::Damaged { damage, .. } if damage.path == path), "{error}");
}

#[test]
fn a_term_older_than_the_log_is_damage() {
    let (disk, _) = lived(4, 25);
    let path = dir().join("hard_state");
    let young = {
        let disk = MemoryDisk::new();
        let mut storage = Some(open(&disk, 5).expect("a blank disk opens").storage);
        run(&Step::Bootstrap, &mut storage, &disk, 5).expect("no fault");
        disk.contents(&path)
    };
    disk.overwrite(&path, young);
    let error = open(&disk, 77).expect_err("an old copy");
    assert!(
        matches!(&error, OpenError::Damaged { damage, .. } if damage.kind == DamageKind::HardStateBehindLog),
        "{error}"
    );
}
