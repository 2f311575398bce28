//! Images: their content, the refusal of damaged images, and raised revisions.

#[path = "rules/requests.rs"]
mod requests;

use std::io::{self, Read, Write};

use mvcc::image::{self, BumpedHistory, ImageFormat, ReadError, WriteError};
use mvcc::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, Command, CommandError, FeatureLevel, Range, RangeError, Revision, Store,
};
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

const FORMATS: [ImageFormat; 2] = [ImageFormat::V1, ImageFormat::V2];

fn image_of(store: &Store, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::write(&store.view(), 42, format, &mut bytes).expect("memory can be written");
    bytes
}

#[test]
fn a_loaded_store_has_the_content_that_was_written() {
    for format in FORMATS {
        check_content(format);
    }
}

fn check_content(format: ImageFormat) {
    let store = full_store();
    let mut bytes = Vec::new();
    let written = image::write(&store.view(), 42, format, &mut bytes).expect("memory can be written");
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
    assert_eq!(image_of(&full_store(), ImageFormat::V1), golden);
    let loaded = image::read(&mut &golden[..]).expect("the golden image is sound");
    assert_eq!((loaded.summary.revision, loaded.store.view().level()), (Revision(6), FeatureLevel::FIRST));

    let golden = include_bytes!("testdata/image_v2.bin");
    let mut store = full_store();
    apply(&mut store, Command::RaiseFeatureLevel { to: FeatureLevel(2) });
    assert_eq!(image_of(&store, ImageFormat::V2), golden);
    let loaded = image::read(&mut &golden[..]).expect("the golden image is sound");
    assert_eq!((loaded.summary.revision, loaded.store.view().level()), (Revision(6), FeatureLevel(2)));
}

/// A program that knows only version 1 reads the number of the version before anything else, so that it reports a newer
/// image and no damage.
#[test]
fn the_header_of_every_version_begins_alike() {
    for (version, format) in (1..).zip(FORMATS) {
        let bytes = image_of(&full_store(), format);
        assert_eq!((bytes[8 + 12], &bytes[8 + 13..8 + 15]), (1, &[version, 0][..]));
    }
}

#[test]
#[should_panic(expected = "an image of version 1 holds no feature level")]
fn a_level_is_never_lost_in_an_image() {
    let mut store = full_store();
    apply(&mut store, Command::RaiseFeatureLevel { to: FeatureLevel(2) });
    image_of(&store, ImageFormat::V1);
}

#[test]
fn an_image_of_many_chunks_is_read_back() {
    let mut store = Store::new();
    for number in 0..3_000 {
        apply(&mut store, put(&format!("key{number}"), &"v".repeat(500)));
    }
    apply(&mut store, put("large", &"x".repeat(1 << 20)));
    for format in FORMATS {
        let bytes = image_of(&store, format);
        let loaded = image::read(&mut &bytes[..]).expect("the image is sound");
        assert_eq!(image_of(&loaded.store, format), bytes);
    }
}

/// The order of keys is written in several chunks.
#[test]
fn an_image_of_many_keys_is_read_back() {
    let mut store = Store::new();
    for number in 0..100_000 {
        apply(&mut store, put(&format!("key{}", number * 7_919 % 100_000), ""));
    }
    let bytes = image_of(&store, ImageFormat::V2);
    assert!(chunks(&bytes[8..]).iter().filter(|chunk| chunk[12] == 0x92).count() > 1);
    let loaded = image::read(&mut &bytes[..]).expect("the image is sound");
    assert_eq!(image_of(&loaded.store, ImageFormat::V2), bytes);
}

#[test]
fn an_image_cut_short_anywhere_is_refused() {
    for format in FORMATS {
        let bytes = image_of(&full_store(), format);
        for length in 0..bytes.len() {
            let error = image::read(&mut &bytes[..length]).expect_err("it is not whole");
            assert!(matches!(error, ReadError::Truncated { .. }), "at {length}: {error}");
        }
    }
}

#[test]
fn an_image_with_any_bit_flipped_is_refused() {
    for format in FORMATS {
        let bytes = image_of(&full_store(), format);
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                let error = image::read(&mut &damaged[..]).expect_err("it is damaged");
                assert!(!error.is_newer(), "bit {bit} of byte {position}: {error}");
            }
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

/// Changes one byte of a chunk, and the chunk's checksum.
fn changed(chunk: &[u8], position: usize, byte: u8) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    chunk[position] = byte;
    checksummed(chunk)
}

/// Reads an image of chunks, which get the numbers of their positions.
fn read_chunks(chunks: &[Vec<u8>]) -> Result<Revision, ReadError> {
    let mut bytes = b"\x89RFTKV\r\n".to_vec();
    for (number, chunk) in (0u32..).zip(chunks) {
        let mut chunk = chunk.clone();
        chunk[4..8].copy_from_slice(&number.to_le_bytes());
        bytes.extend(checksummed(chunk));
    }
    image::read(&mut &bytes[..]).map(|loaded| loaded.summary.revision)
}

fn is_damaged(chunks: &[Vec<u8>], at: u32) -> bool {
    matches!(read_chunks(chunks), Err(ReadError::Damaged { chunk, .. }) if chunk == at)
}

#[test]
fn intact_sections_that_do_not_make_an_image_are_refused() {
    let bytes = image_of(&full_store(), ImageFormat::V2);
    let [header, alarms, versions, order, end] = &chunks(&bytes[8..])[..] else { panic!("a small image has 5 chunks") };
    let image = |chunks: &[&Vec<u8>]| chunks.iter().map(|chunk| (*chunk).clone()).collect::<Vec<_>>();
    assert_eq!(read_chunks(&image(&[header, alarms, versions, order, end])).expect("unchanged"), Revision(6));
    for (at, chunks) in [
        (1, image(&[header, versions, order, end])),
        (2, image(&[header, alarms, order, end])),
        (3, image(&[header, alarms, versions, end])),
        (2, image(&[header, alarms, alarms, versions, order, end])),
        (3, image(&[header, alarms, versions, versions, order, end])),
        (4, image(&[header, alarms, versions, order, versions, end])),
        (1, image(&[header, header, alarms, versions, order, end])),
    ] {
        assert!(is_damaged(&chunks, at), "{:?}", read_chunks(&chunks));
    }
    // The bytes of a version are flags, link, length and KeyValue.
    assert_eq!(versions[13..15], [2, 0]);
    for (at, changed) in [
        (0, changed(header, 13 + 46, 0)),
        (2, changed(versions, 13, 4)),
        (2, changed(versions, 14, 1)),
        (2, changed(versions, 13, 0)),
        (3, changed(order, 13, 9)),
        (3, changed(order, 13 + 8, 1)),
        (4, changed(end, 13, 9)),
        (4, changed(end, end.len() - 4, 9)),
    ] {
        let mut chunks = image(&[header, alarms, versions, order, end]);
        chunks[at as usize] = changed;
        assert!(is_damaged(&chunks, at), "{at}: {:?}", read_chunks(&chunks));
    }
}

/// Later programs add sections. A reader skips those that it need not understand, and refuses the image of any other.
#[test]
fn an_unknown_section_is_skipped_or_refused() {
    let bytes = image_of(&full_store(), ImageFormat::V2);
    let whole = chunks(&bytes[8..]);
    let section = |kind: u8| checksummed([&[0; 8][..], &3u32.to_le_bytes(), &[kind], b"new"].concat());
    for at in 1..whole.len() {
        for (kind, is_known) in [(0x10, true), (0x7f, true), (0x80, false), (0x93, false), (0xff, false)] {
            let mut chunks = whole.clone();
            chunks.insert(at, section(kind));
            let count = changed(chunks.last().expect("the end"), 13 + 20, 5);
            *chunks.last_mut().expect("the end") = count;
            match read_chunks(&chunks) {
                Ok(revision) => assert!(is_known && revision == Revision(6), "{kind:#x}"),
                Err(error) => {
                    assert!(!is_known && error.is_newer(), "{error}");
                    assert!(matches!(error, ReadError::UnknownSection(found) if found == kind), "{error}");
                }
            }
        }
        let mut chunks = whole.clone();
        chunks.insert(at, section(0x0f));
        assert!(is_damaged(&chunks, at as u32));
    }
}

#[test]
fn an_image_of_changes_after_a_base_needs_the_base() {
    let bytes = image_of(&full_store(), ImageFormat::V2);
    let mut chunks = chunks(&bytes[8..]);
    chunks[0] = changed(&chunks[0], 13 + 34, 5);
    let error = read_chunks(&chunks).expect_err("it holds only changes");
    assert!(matches!(error, ReadError::NeedsBase { revision: Revision(5) }) && error.is_newer(), "{error}");
}

#[test]
fn intact_chunks_that_do_not_make_an_image_are_refused() {
    let bytes = image_of(&full_store(), ImageFormat::V1);
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

    let newer = changed(header, 13, 9);
    assert!(matches!(read(&[&newer, versions, end]), Err(ReadError::UnknownVersion(9))));
    let other_version = changed(header, 13, 2);
    assert!(matches!(read(&[&other_version, versions, end]), Err(ReadError::Damaged { chunk: 0, .. })));
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
    let length = image_of(&store, ImageFormat::V1).len();
    for fits in 0..length {
        let error = image::write(&store.view(), 42, ImageFormat::V1, &mut Broken(fits)).expect_err("the writer breaks");
        assert!(matches!(error, WriteError::Io(_)));
    }
    image::write(&store.view(), 42, ImageFormat::V1, &mut Broken(length)).expect("it fits exactly");
    let half = image_of(&store, ImageFormat::V1);
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
    for format in FORMATS {
        let bytes = image_of(&store, format);
        assert_eq!(image_of(&image::read(&mut &bytes[..]).expect("the image is sound").store, format), bytes);
    }
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
