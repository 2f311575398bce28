//! Segments that are purged, and whose files new segments overwrite. Owns what a start makes of such files. Does not own crashes
//! while a file is overwritten (`crashes.rs`).

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::path::PathBuf;

use history::{FORMATS, Model, Step, entry, is, meta, open, payload_of, run, segments};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, IoId, Persist, Term};
use storage::{LogFormat, Storage};

/// A member with small segments, its disk and what it must hold.
struct Member {
    disk: MemoryDisk,
    storage: Option<Storage>,
    model: Model,
}

impl Member {
    fn new(format: LogFormat) -> Self {
        let disk = history::disk_for(format);
        let storage = Some(open(&disk, 1).expect("a blank disk opens").storage);
        let mut member = Self { disk, storage, model: Model::default() };
        member.run(&Step::Bootstrap);
        member
    }

    fn run(&mut self, step: &Step) {
        run(step, &mut self.storage, &self.disk, 2).expect("no fault");
        step.apply(&mut self.model);
    }

    /// Appends batches of one entry up to `last`. Takes a snapshot of each tenth entry, and purges the log up to it.
    fn append_to(&mut self, last: u64) {
        for index in self.model.last().index.0 + 1..=last {
            let hard_state = Some(HardState { term: Term(1), vote: None });
            self.run(&Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![entry(index, 1, 900)] }]));
            if index % 10 == 0 {
                let meta = meta(EntryId { term: Term(1), index: Index(index) });
                let payload = payload_of(&meta, 10);
                self.run(&Step::TakeSnapshot { payload, first_kept: meta.last.index.next(), meta });
            }
        }
    }

    /// Opens the disk again, and compares what is found.
    fn restart(&mut self) {
        self.storage = None;
        let found = open(&self.disk, 3).expect("it opens");
        is(&self.model, &found).expect("every acknowledged write is there");
        self.storage = Some(found.storage);
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.disk).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "wal")).collect()
    }

    /// Returns whether the newest segment overwrites an older one: its last page holds frames of another salt.
    fn overwrites(&self) -> bool {
        let segment = self.segments().pop().and_then(|path| self.disk.contents(&path)).expect("a segment");
        segment[segment.len() - 4096..].iter().any(|byte| *byte != 0)
    }
}

#[test]
fn segments_overwrite_purged_ones_also_after_a_restart() {
    for format in FORMATS {
        let mut member = Member::new(format);
        member.append_to(200);
        let (files, used) = (member.segments().len(), member.disk.used_bytes());
        for last in [250, 300, 350] {
            member.append_to(last);
            assert!(member.overwrites(), "{format:?}: a new file at {last}");
            member.restart();
        }
        assert!(member.segments().len() <= files + 1, "{format:?}: {:?}", member.segments());
        assert!(member.disk.used_bytes() <= used + used / 4, "{format:?}: {} bytes", member.disk.used_bytes());
    }
}

/// The entries of purged segments are in every snapshot that is kept, so damage to them is none.
#[test]
fn a_start_does_not_read_purged_segments() {
    for format in FORMATS {
        let mut member = Member::new(format);
        member.append_to(110);
        let oldest = member.segments().remove(0);
        for offset in (0..member.disk.contents(&oldest).expect("a segment").len() as u64).step_by(97) {
            member.disk.flip_bit(&oldest, offset, 1);
        }
        member.restart();
        member.append_to(200);
        member.restart();
    }
}

/// If the segment in which the log starts anew were lost, the old segments would look like the log.
#[test]
fn an_installation_leaves_no_older_segment() {
    for format in FORMATS {
        let mut member = Member::new(format);
        member.append_to(105);
        let meta = meta(EntryId { term: Term(2), index: Index(500) });
        let hard_state = Some(HardState { term: Term(2), vote: None });
        member.run(&Step::Install { payload: payload_of(&meta, 10), meta, hard_state });
        assert_eq!(member.segments().len(), 1, "{format:?}: {:?}", member.segments());
        assert_eq!(member.storage.as_ref().map(|storage| storage.snapshots().list().len()), Some(1));
        member.restart();
    }
}

/// A program that reads purged segments, too, must not find a new header under an old name.
#[test]
fn no_power_loss_brings_back_the_name_of_an_overwritten_segment() {
    for format in FORMATS {
        let mut member = Member::new(format);
        member.append_to(110);
        let index = member.model.last().index.0 + 1;
        drop(member.storage.take());
        for (stop, seed) in (1..40).flat_map(|stop| (0..8).map(move |seed| (stop, seed))) {
            let disk = member.disk.fork();
            let mut storage = open(&disk, 4).expect("it opens").storage;
            disk.stop_after(stop);
            let mut persists = (index..index + 8).map(|index| {
                let hard_state = Some(HardState { term: Term(1), vote: None });
                Persist { io: IoId(index), hard_state, entries: vec![entry(index, 1, 900)] }
            });
            let is_done = persists.all(|persist| storage.append(&[persist]).is_ok());
            assert!(!is_done || stop > 20, "{format:?}: the segments are longer than eight batches");
            drop(storage);
            disk.lose_power(seed);
            for path in segments(&disk).iter().filter(|path| path.extension().is_some_and(|ending| ending == "wal")) {
                let header = disk.contents(path).expect("a listed file");
                let number = u64::from_le_bytes(header[16..24].try_into().expect("eight bytes"));
                let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
                assert_eq!(format!("{number:016x}"), name, "{format:?}, operation {stop}, seed {seed}");
            }
        }
    }
}

/// What the member keeps only because there is space is given back, and is kept again later.
#[test]
fn a_member_that_saves_space_keeps_one_snapshot_and_no_purged_segment() {
    for format in FORMATS {
        let mut member = Member::new(format);
        member.append_to(200);
        let used = member.disk.used_bytes();
        let storage = member.storage.as_mut().expect("it is open");
        assert_eq!(storage.snapshots().list().len(), 2, "{format:?}");
        storage.save_space(true).expect("no fault");
        assert_eq!(storage.snapshots().list().len(), 1, "{format:?}");
        assert!(member.disk.used_bytes() < used / 2, "{format:?}: {} of {used} bytes", member.disk.used_bytes());
        member.append_to(300);
        assert!(member.segments().len() <= 2, "{format:?}: {:?}", member.segments());
        member.restart();
        member.append_to(400);
        let kept = member.storage.as_ref().expect("it is open").snapshots().list().len();
        assert!(kept == 2 && member.segments().len() > 2, "{format:?}: a start does not save space");
    }
}

#[test]
fn the_space_of_the_volume_counts_drafts_as_free() {
    let mut member = Member::new(LogFormat::V2);
    member.append_to(20);
    member.disk.limit_bytes(Some(8 << 20));
    let storage = member.storage.as_mut().expect("it is open");
    let before = storage.space().expect("it is measured");
    let used = member.disk.used_bytes();
    assert_eq!((before.total_bytes, before.free_bytes, before.saves), (8 << 20, (8 << 20) - used, false));
    let mut draft = storage.snapshots().begin(meta(EntryId { term: Term(1), index: Index(20) })).expect("a draft");
    draft.write(&vec![7; 3 << 20]).expect("there is space");
    assert!(member.disk.used_bytes() > used + (2 << 20), "the draft is on the disk");
    assert_eq!(storage.space().expect("it is measured").free_bytes, before.free_bytes);
    draft.finish().expect("there is space");
    let after = storage.space().expect("it is measured").free_bytes;
    assert!(after < before.free_bytes - (2 << 20), "a complete snapshot is not free: {after}");
    storage.save_space(true).expect("no fault");
    assert!(storage.space().expect("it is measured").saves);
}

/// Deletions need the last segment.
#[test]
fn a_snapshot_leaves_one_segment_to_the_log() {
    let mut member = Member::new(LogFormat::V2);
    member.append_to(20);
    let snapshots = member.storage.as_ref().expect("it is open").snapshots().clone();
    let payload = vec![7; 16 << 20];
    // A segment has 32 KiB.
    for (spare, succeeds) in [(64 << 10, true), (20 << 10, false)] {
        let used = member.disk.used_bytes();
        member.disk.limit_bytes(Some(used + payload.len() as u64 + spare));
        let mut draft = snapshots.begin(meta(EntryId { term: Term(1), index: Index(20) })).expect("a draft");
        let written = payload.chunks(1 << 20).try_for_each(|chunk| draft.write(chunk));
        let outcome = written.and_then(|()| draft.finish().map(drop));
        assert_eq!(outcome.is_ok(), succeeds, "{spare} bytes to spare: {outcome:?}");
        assert!(succeeds || member.disk.used_bytes() == used, "no draft is left");
    }
}
