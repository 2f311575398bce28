//! Entries that are read back from the segments. Owns the comparison with the list of entries that were written. Does not own
//! crashes: every start in the other tests reads its whole log back (`support/history.rs`).

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::collections::BTreeSet;
use std::sync::Arc;

use history::{FORMATS, Model, Step, dir, entry, run, segments};
use memory_disk::{Choice, MemoryDisk};
use raft::{Entry, EntryId, HardState, Index, IoId, Payload, Persist, Term};
use storage::{DamageKind, LogFormat, Options, ReadFault, Recovered, Storage};

/// Opens a member whose segments have several extents.
fn open(disk: &MemoryDisk, memory_bytes: u64, salt: u64) -> Recovered {
    open_with(disk, 1 << 20, memory_bytes, salt)
}

fn open_with(disk: &MemoryDisk, segment_bytes: u64, memory_bytes: u64, salt: u64) -> Recovered {
    let format = FORMATS.into_iter().find(|format| format.unit() == disk.tear_unit()).expect("a disk for a format");
    let options = Options { segment_bytes, memory_bytes, ..history::options_for(format, salt) };
    Storage::open(Arc::new(disk.clone()), &dir(), options).expect("it opens")
}

fn weight(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.payload.len() as u64 + 64).sum()
}

/// What a read of the model's log returns.
fn expected(model: &Model, from: Index, through: Index, bytes: usize) -> Vec<Entry> {
    let range = model.log.iter().filter(|entry| (from..=through).contains(&entry.id.index));
    let mut payloads = 0;
    let fits = |(place, entry): &(usize, &Entry)| {
        payloads += entry.payload.len();
        *place == 0 || payloads <= bytes
    };
    range.enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect()
}

/// Compares some reads with the model. All entries from `kept` on must be readable.
fn compare(storage: &mut Storage, model: &Model, kept: Index, choice: &mut Choice, context: &str) {
    let last = model.last().index.0;
    let first = model.log.first().map_or(last + 1, |entry| entry.id.index.0);
    for _ in 0..3 {
        let mut from = Index(choice.below(last + 3));
        let through = Index(from.0 + [0, 3, 40, u64::MAX / 2][choice.below(4) as usize]);
        let bytes = [0, 1000, 20_000, usize::MAX][choice.below(4) as usize];
        // Some readers go on where they stopped.
        for _ in 0..=choice.below(6) {
            let context = format!("{context}, from {from} to {through}, {bytes} bytes");
            match storage.read_log(from, through, bytes) {
                Ok(read) if from.0 > last => assert_eq!(read, [], "{context}"),
                Ok(read) => {
                    assert!(from.0 >= first, "{context}: an entry that a snapshot replaced");
                    assert!(read == expected(model, from, through, bytes), "{context}: {} entries", read.len());
                    from.0 += read.len() as u64;
                }
                Err(ReadFault::Gone) => assert!(from < kept, "{context}: gone, but kept from {kept} on"),
                Err(fault) => panic!("{context}: {fault}"),
            }
        }
    }
}

/// Opens the disk with a bound on the entries in memory, and compares with what a start without a bound finds.
fn compare_bounded(disk: &MemoryDisk, model: &Model, bound: u64, context: &str) {
    let whole = open(&disk.fork(), u64::MAX, 1);
    let Recovered { mut storage, raft, log, .. } = open(&disk.fork(), bound, 1);
    let (entries, tail) = (whole.raft.log.tail, raft.log.tail);
    let context = format!("{context}, {bound} bytes of {}", weight(&entries));
    assert!(entries.ends_with(&tail), "{context}: other entries");
    assert!(tail.len() == 1.min(entries.len()) || weight(&tail) <= bound, "{context}: {} bytes", weight(&tail));
    let left_out = &entries[..entries.len() - tail.len()];
    assert_eq!(
        (log.floor, &log.terms, &log.configurations),
        (whole.log.floor, &whole.log.terms, &whole.log.configurations)
    );
    let before = left_out.last().map(|entry| entry.id.index).filter(|index| *index > log.floor.index);
    assert_eq!(
        log.marks.last().map(|(index, _)| *index),
        before,
        "{context}: the last mark is right before the entries"
    );
    assert!(log.marks.is_sorted_by(|one, two| one.0 < two.0 && one.1 <= two.1), "{context}: {:?}", log.marks);
    for (index, sum) in &log.marks {
        let up_to: Vec<_> =
            left_out.iter().filter(|e| log.floor.index < e.id.index && e.id.index <= *index).cloned().collect();
        assert!(*sum >= weight(&up_to), "{context}: {sum} bytes up to {index}");
    }
    if let Some(first) = left_out.first() {
        let read = storage.read_log(first.id.index, Index(u64::MAX), usize::MAX).expect("a start read it");
        assert!(read == entries, "{context}: {} of {} entries are read back", read.len(), entries.len());
        assert_eq!(model.log.last(), read.last(), "{context}");
    }
}

/// An append with a new term that supersedes entries far back, and entries that are long or many.
fn rewrite(choice: &mut Choice, model: &Model) -> Step {
    let term = model.hard_state.term.0 + 1;
    let floor = model.snapshot.as_ref().map_or(0, |meta| meta.last.index.0);
    let from = floor + 1 + choice.below(model.last().index.0 - floor + 1);
    let (count, size) = [(1, 50_000), (30, 9000), (200, 10)][choice.below(3) as usize];
    let hard_state = Some(HardState { term: Term(term), vote: None });
    let entries = (from..from + count).map(|index| entry(index, term, size)).collect();
    Step::Append(vec![Persist { io: IoId(1), hard_state, entries }])
}

#[test]
fn what_is_read_back_is_what_was_written() {
    for (seed, format) in (0..24).zip(FORMATS.into_iter().cycle()) {
        let disk = history::disk_for(format);
        if seed % 3 == 0 {
            disk.short_reads(seed);
        }
        let mut choice = Choice(seed);
        let mut model = Model::default();
        let mut kept = Index(1);
        let mut storage = Some(open(&disk, u64::MAX, seed).storage);
        for number in 0..150 {
            let context = format!("{format:?}, seed {seed}, step {number}");
            let step = match choice.below(6) {
                0 if model.joined => rewrite(&mut choice, &model),
                _ => Step::random(&mut choice, &model),
            };
            match &step {
                Step::Restart => {
                    drop(storage.take());
                    let bound = [0, 300, 5000, 100_000][choice.below(4) as usize];
                    compare_bounded(&disk, &model, bound, &context);
                    storage = Some(open(&disk, bound, seed + number).storage);
                }
                step => run(step, &mut storage, &disk, seed).expect("no fault"),
            }
            match &step {
                Step::TakeSnapshot { first_kept, .. } => kept = kept.max(*first_kept),
                Step::Install { meta, .. } => kept = meta.last.index.next(),
                Step::Bootstrap | Step::Append(_) | Step::Restart => {}
            }
            step.apply(&mut model);
            if model.joined {
                compare(storage.as_mut().expect("an open storage"), &model, kept, &mut choice, &context);
            }
        }
    }
}

/// Creates a member with a log of five batches, with one entry each, and the path of the only segment.
fn five_batches(format: LogFormat) -> (MemoryDisk, Storage) {
    let disk = history::disk_for(format);
    let mut storage = Some(open(&disk, u64::MAX, 1).storage);
    run(&Step::Bootstrap, &mut storage, &disk, 1).expect("no fault");
    for index in 1..=5 {
        let hard_state = Some(HardState { term: Term(1), vote: None });
        let id = EntryId { term: Term(1), index: Index(index) };
        let entry = Entry { id, time_ms: index, payload: Payload::Normal(vec![index as u8; 100].into()) };
        let step = Step::Append(vec![Persist { io: IoId(index), hard_state, entries: vec![entry] }]);
        run(&step, &mut storage, &disk, 1).expect("no fault");
    }
    (disk, storage.expect("it is open"))
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.index.0).collect()
}

#[test]
fn a_damaged_entry_is_reported_and_the_entries_before_it_are_read() {
    for format in FORMATS {
        let (disk, mut storage) = five_batches(format);
        let path = segments(&disk).pop().expect("a segment");
        let record = format.unit() as u64 * 3 + 40;
        disk.flip_bit(&path, record + 50, 3);
        let read = storage.read_log(Index(1), Index(5), usize::MAX).expect("the first entry is intact");
        assert_eq!(indexes(&read), [1, 2], "{format:?}");
        let fault = storage.read_log(Index(3), Index(5), usize::MAX).expect_err("damage");
        let ReadFault::Damaged(damage) = fault else { panic!("{fault}") };
        assert_eq!((damage.path, damage.offset, damage.kind), (path, record, DamageKind::Checksum), "{format:?}");
    }
}

/// A batch may be much larger than a read. Its second half is damaged after it was decoded, which a reader that decodes it again
/// would notice.
#[test]
fn a_batch_that_is_read_in_parts_is_decoded_once_for_each_of_two_readers() {
    let disk = history::disk_for(LogFormat::V2);
    let mut storage = Some(open(&disk, u64::MAX, 1).storage);
    run(&Step::Bootstrap, &mut storage, &disk, 1).expect("no fault");
    let hard_state = Some(HardState { term: Term(1), vote: None });
    let entries = (1..=100).map(|index| long(index, 1000)).collect();
    run(&Step::Append(vec![Persist { io: IoId(1), hard_state, entries }]), &mut storage, &disk, 1).expect("no fault");
    let mut storage = storage.expect("it is open");
    let mut read = |from: u64| storage.read_log(Index(from), Index(100), 10_000).map(|read| indexes(&read));
    assert_eq!(read(1), Ok((1..=10).collect()));
    assert_eq!(read(50), Ok((50..=59).collect()));
    disk.flip_bit(&segments(&disk).pop().expect("a segment"), 4096 + 80_000, 3);
    for from in (0..40).step_by(10) {
        assert_eq!(read(11 + from), Ok((11 + from..=20 + from).collect()));
        assert_eq!(read(60 + from), Ok((60 + from..=(69 + from).min(100)).collect()));
    }
    assert!(matches!(read(5), Err(ReadFault::Damaged(_))), "another reader decodes it");
}

#[test]
fn a_missing_segment_is_reported() {
    let (disk, mut storage) = five_batches(LogFormat::V2);
    let path = segments(&disk).pop().expect("a segment");
    disk.overwrite(&path, None);
    let fault = storage.read_log(Index(1), Index(5), usize::MAX).expect_err("there is no file");
    assert!(matches!(&fault, ReadFault::Damaged(damage) if damage.kind == DamageKind::Missing), "{fault}");
}

#[test]
fn a_blank_volume_has_no_log() {
    let mut storage = open(&history::disk(), u64::MAX, 1).storage;
    assert_eq!(storage.read_log(Index(1), Index(1), 1), Err(ReadFault::Gone));
}

/// Offset of each batch in a segment.
fn batches_in(segment: &[u8]) -> Vec<usize> {
    let is_open = |at: &usize| segment[at + 16..at + 24] == segment[24..32] && segment[at + 32] == 0xA1;
    (4096..segment.len()).step_by(4096).filter(is_open).collect()
}

#[test]
fn a_long_write_becomes_several_batches_and_a_crash_leaves_the_first_ones() {
    let open = |disk: &MemoryDisk, salt| open_with(disk, 64 << 20, u64::MAX, salt);
    let blank = history::disk_for(LogFormat::V2);
    let mut storage = Some(open(&blank, 1).storage);
    run(&Step::Bootstrap, &mut storage, &blank, 1).expect("no fault");
    drop(storage);
    let entries: Vec<Entry> = [3, 3, 9, 3, 3, 1].iter().zip(1..).map(|(mib, index)| long(index, mib << 20)).collect();
    let hard_state = Some(HardState { term: Term(1), vote: None });
    let persist = Persist { io: IoId(1), hard_state, entries: entries.clone() };
    let mut held = BTreeSet::new();
    for stop in (1..).step_by(9) {
        let disk = blank.fork();
        let mut storage = open(&disk, 2).storage;
        disk.stop_after(stop);
        let is_done = storage.append(std::slice::from_ref(&persist)).is_ok();
        drop(storage);
        disk.kill();
        let found = open(&disk, 3).raft.log.tail;
        assert!(entries.starts_with(&found) && (!is_done || entries == found), "operation {stop}: other entries");
        held.insert(found.len());
        if is_done {
            let newest = segments(&disk).pop().and_then(|path| disk.contents(&path)).expect("a segment");
            let lengths = batches_in(&newest).windows(2).map(|pair| (pair[1] - pair[0]) >> 20).collect::<Vec<_>>();
            assert_eq!(lengths, [6, 9, 7], "MiB of each batch");
            break;
        }
    }
    assert!(held.is_subset(&BTreeSet::from([0, 2, 3, 6])) && held.len() > 2, "entries that crashes leave: {held:?}");
}

fn long(index: u64, bytes: usize) -> Entry {
    let id = EntryId { term: Term(1), index: Index(index) };
    Entry { id, time_ms: index, payload: Payload::Normal(vec![index as u8; bytes].into()) }
}
