//! Images: their content, the refusal of damaged images, and raised revisions.

#[path = "rules/requests.rs"]
mod requests;

use std::io::{self, Read, Write};

use mvcc::image::{self, BumpedHistory, ReadError, WriteError};
use mvcc::{Alarm, AlarmAction, AlarmChange, AlarmKind, Command, CommandError, Range, RangeError, Revision, Store};
use requests::{all, apply, compact, delete, put, range_of, refused};

/// Returns a store with live and deleted keys, a compaction mark, a time and an alarm.
fn full_store() -> Store {
    let mut store = Store::new();
    for command in [put("a", "1"), put("b", "2"), put("a", "3"), compact(3), delete("b"), put("c", "")] {
        apply(&mut store, command);
    }
    let alarm = Alarm { kind: AlarmKind::NoSpace, member: 77 };
    let raise = Command::Alarm(AlarmChange { action: AlarmAction::Activate, alarm });
    store.apply(1_700_000_000_123, &raise).expect("raising an alarm succeeds");
    store
}

fn image_of(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::write(&store.view(), 42, &mut bytes).expect("memory can be written");
    bytes
}

#[test]
fn a_loaded_store_has_the_content_that_was_written() {
    let store = full_store();
    let mut bytes = Vec::new();
    let written = image::write(&store.view(), 42, &mut bytes).expect("memory can be written");
    assert_eq!(written.image_bytes, bytes.len() as u64);

    bytes.extend_from_slice(b"other bytes");
    let mut input = &bytes[..];
    let loaded = image::read(&mut input).expect("the image is sound");
    assert_eq!(input, b"other bytes", "no byte after the end was read");
    assert_eq!(loaded.summary, written);
    assert_eq!(written.applied_index, 42);

    let (before, after) = (store.view(), loaded.store.view());
    assert_eq!((after.revision(), after.compact_revision()), (Revision(6), Revision(3)));
    assert_eq!(after.time_ms(), 1_700_000_000_123);
    assert_eq!(after.alarms().collect::<Vec<_>>(), before.alarms().collect::<Vec<_>>());
    assert_eq!(after.hash_kv(0), before.hash_kv(0));
    for revision in 3..=6 {
        let at = Range { revision, ..all() };
        assert_eq!(after.range(&at), before.range(&at));
    }
    assert_eq!(after.range(&Range { revision: 2, ..all() }), Err(RangeError::Compacted));
}

/// Other versions of this program read and write the same format, so the bytes of the golden image must not change.
#[test]
fn the_golden_image_is_still_written_and_read() {
    let golden = include_bytes!("testdata/image_v1.bin");
    assert_eq!(image_of(&full_store()), golden);
    let loaded = image::read(&mut &golden[..]).expect("the golden image is sound");
    assert_eq!(loaded.summary.revision, Revision(6));
}

#[test]
fn an_image_of_many_chunks_is_read_back() {
    let mut store = Store::new();
    for number in 0..3_000 {
        apply(&mut store, put(&format!("key{number}"), &"v".repeat(500)));
    }
    apply(&mut store, put("large", &"x".repeat(1 << 20)));
    let bytes = image_of(&store);
    let loaded = image::read(&mut &bytes[..]).expect("the image is sound");
    assert_eq!(image_of(&loaded.store), bytes);
}

#[test]
fn an_image_cut_short_anywhere_is_refused() {
    let bytes = image_of(&full_store());
    for length in 0..bytes.len() {
        let error = image::read(&mut &bytes[..length]).expect_err("it is not whole");
        assert!(matches!(error, ReadError::Truncated { .. }), "at {length}: {error}");
    }
}

#[test]
fn an_image_with_any_bit_flipped_is_refused() {
    let bytes = image_of(&full_store());
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            image::read(&mut &damaged[..]).expect_err("it is damaged");
        }
    }
}

/// Splits an image into its chunks. Each chunk has a header of 13 bytes, with the length of the payload at offset 8.
fn chunks(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_le_bytes(bytes[8..12].try_into().expect("4 bytes")) as usize;
        let (chunk, rest) = bytes.split_at(13 + length);
        chunks.push(chunk.to_vec());
        bytes = rest;
    }
    chunks
}

fn checksummed(mut chunk: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&chunk[4..]).to_le_bytes();
    chunk[..4].copy_from_slice(&crc);
    chunk
}

#[test]
fn intact_chunks_that_do_not_make_an_image_are_refused() {
    let bytes = image_of(&full_store());
    let (magic, rest) = bytes.split_at(8);
    let chunks = chunks(rest);
    let [header, versions, end] = &chunks[..] else { panic!("a small image has three chunks") };
    let read = |chunks: &[&Vec<u8>]| {
        let bytes: Vec<u8> = magic.iter().chain(chunks.iter().copied().flatten()).copied().collect();
        image::read(&mut &bytes[..]).map(|loaded| loaded.summary.revision)
    };
    assert_eq!(read(&[header, versions, end]).expect("unchanged"), Revision(6));
    assert!(matches!(read(&[header, end]), Err(ReadError::Damaged { chunk: 1, .. })), "one is lost");
    assert!(matches!(read(&[versions, header, end]), Err(ReadError::Damaged { chunk: 0, .. })), "two are swapped");
    assert!(
        matches!(read(&[header, versions, versions, end]), Err(ReadError::Damaged { chunk: 2, .. })),
        "one is doubled"
    );

    let changed = |chunk: &Vec<u8>, position: usize, byte: u8| {
        let mut chunk = chunk.clone();
        chunk[position] = byte;
        checksummed(chunk)
    };
    let newer = changed(header, 13, 2);
    assert!(matches!(read(&[&newer, versions, end]), Err(ReadError::UnknownVersion(2))));
    let other_kind = changed(versions, 12, 9);
    assert!(matches!(read(&[header, &other_kind, end]), Err(ReadError::Damaged { chunk: 1, .. })));
    let other_value = changed(versions, versions.len() - 8, b'!');
    assert!(read(&[header, &other_value, end]).is_err());
    let other_hash = changed(end, end.len() - 1, end[end.len() - 1] ^ 1);
    assert!(matches!(read(&[header, versions, &other_hash]), Err(ReadError::WrongHash { .. })));
    let other_count = changed(end, 13, end[13] ^ 1);
    assert!(matches!(read(&[header, versions, &other_count]), Err(ReadError::Damaged { chunk: 2, .. })));
}

#[test]
fn bytes_that_are_not_an_image_are_refused() {
    let error = image::read(&mut &b"SQLite format 3\0 and so on"[..]).expect_err("it is something else");
    assert!(matches!(error, ReadError::NotAnImage));
}

/// A broken reader and writer. Every read fails. A write fails if the total would exceed this number of bytes.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken"))
    }
}

impl Write for Broken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("broken"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_reader_or_writer_is_reported() {
    let store = full_store();
    let length = image_of(&store).len();
    for fits in 0..length {
        let error = image::write(&store.view(), 42, &mut Broken(fits)).expect_err("the writer breaks");
        assert!(matches!(error, WriteError::Io(_)));
    }
    image::write(&store.view(), 42, &mut Broken(length)).expect("it fits exactly");
    let half = image_of(&store);
    let error = image::read(&mut half[..half.len() / 2].chain(Broken(0))).expect_err("the reader breaks");
    assert!(matches!(error, ReadError::Io(_)));
}

/// A restore raises the revision and compacts everything below the new revision, so that clients with cached content
/// must list the keys again.
#[test]
fn a_bumped_store_continues_above_and_has_compacted_everything_below() {
    let mut store = Store::new();
    for command in [put("a", "1"), put("a", "2"), put("b", "1"), delete("b")] {
        apply(&mut store, command);
    }
    store.bump_revision(1_000_000_000, BumpedHistory::MarkedCompacted).expect("it fits");
    let view = store.view();
    assert_eq!((view.revision(), view.compact_revision()), (Revision(1_000_000_005), Revision(1_000_000_005)));
    assert_eq!(view.version_count(), 1, "the newest version of the one live key");
    assert_eq!(view.range(&Range { revision: 5, ..all() }), Err(RangeError::Compacted));
    let kv = view.get(b"a").expect("it is live");
    assert_eq!((kv.fields().mod_revision, kv.value()), (3, &b"2"[..]));
    assert_eq!(refused(&mut store, compact(1_000_000_005)), CommandError::Compacted);
    assert_eq!(apply(&mut store, put("c", "1")).revision, Revision(1_000_000_006));
    let bytes = image_of(&store);
    assert_eq!(image_of(&image::read(&mut &bytes[..]).expect("the image is sound").store), bytes);
}

#[test]
fn a_bump_may_keep_the_history_and_never_runs_back() {
    let mut store = full_store();
    store.bump_revision(10, BumpedHistory::Kept).expect("it fits");
    let old = store.view().range(&Range { revision: 4, ..range_of("b", "") }).expect("it is still there");
    assert_eq!((old.revision, old.count), (Revision(16), 1));
    for by in [-1, i64::MAX] {
        let error = store.bump_revision(by, BumpedHistory::MarkedCompacted);
        assert_eq!((error, store.view().revision()), (Err(CommandError::FutureRevision), Revision(16)));
    }
}
