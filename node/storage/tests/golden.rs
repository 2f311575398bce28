//! Golden files: this program reads the files of both formats of the log, and writes the same bytes. Owns a fixed history of a
//! member.
//!
//! A format may change only together with its version. After a change, keep the golden files of the old versions, and run
//! `UPDATE=1 cargo test -p storage --test golden` to write the files of the newest version.

#![expect(clippy::disallowed_methods, reason = "golden files are files")]

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use history::{FORMATS, Model, Step, dir, entry, is, meta, payload_of, run};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, Term};
use storage::{LogFormat, Options, Recovered, Storage};

/// Salt of the fixed history. A reader takes the salt from the file, so a later start may use a different salt.
const SALT: u64 = 0x5A17;

fn testdata(format: LogFormat) -> PathBuf {
    let folder = match format {
        LogFormat::V1 => "testdata/v1",
        LogFormat::V2 => "testdata/v2",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn open(disk: &MemoryDisk, format: LogFormat) -> Recovered {
    let segment_bytes = match format {
        LogFormat::V1 => 5 * 512,
        LogFormat::V2 => 4 * 4096,
    };
    let options = Options { segment_bytes, format, ..history::options(SALT) };
    Storage::open(Arc::new(disk.clone()), &dir(), options).expect("it opens")
}

/// Runs a history with two terms, a truncation, a configuration, a snapshot and several segments.
fn fixed_history(format: LogFormat) -> (MemoryDisk, Model) {
    let disk = history::disk_for(format);
    let mut model = Model::default();
    let mut storage = Some(open(&disk, format).storage);
    let persist = |io: u64, state: Option<(u64, u64)>, term: u64, indexes: std::ops::RangeInclusive<u64>| Persist {
        io: IoId(io),
        hard_state: state.map(|(term, vote)| HardState { term: Term(term), vote: Some(MemberId(vote)) }),
        entries: indexes.map(|index| entry(index, term, 200)).collect(),
    };
    let last = EntryId { term: Term(3), index: Index(5) };
    let snapshot = meta(last);
    let steps = [
        Step::Bootstrap,
        Step::Append(vec![persist(1, Some((1, 0xA11CE)), 1, 1..=3)]),
        Step::Append(vec![persist(2, None, 1, 4..=6), persist(3, Some((3, 0xB0B)), 3, 5..=9)]),
        Step::Append(vec![persist(4, None, 3, 10..=12)]),
        Step::TakeSnapshot { payload: payload_of(&snapshot, 3000), meta: snapshot, first_kept: Index(1) },
    ];
    for step in steps {
        run(&step, &mut storage, &disk, SALT).expect("no fault");
        step.apply(&mut model);
    }
    (disk, model)
}

fn files(disk: &MemoryDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let inside = |path: PathBuf| {
        let bytes = disk.contents(&path)?;
        Some((path.strip_prefix(dir()).ok()?.to_owned(), bytes))
    };
    disk.files().into_iter().filter_map(inside).collect()
}

/// Replaces the frames that point from one segment to the next by zeros. Golden segments of version 1 have them everywhere. Now
/// they are left out where an unsynced write would touch a page with acknowledged batches.
fn without_pointers(golden: &[u8], mut segment: Vec<u8>) -> Vec<u8> {
    let pointers = (0..golden.len())
        .step_by(512)
        .filter(|at| golden[at + 16..at + 24] == golden[24..32] && golden[at + 32] == 0xE1);
    pointers.for_each(|at| segment[at..at + 40].fill(0));
    segment
}

#[test]
fn this_version_writes_the_golden_files() {
    for format in FORMATS {
        let (disk, _) = fixed_history(format);
        let files = files(&disk);
        assert!(files.len() >= 5, "identity, term and vote, two segments, a snapshot: only {} files", files.len());
        // An empty `UPDATE` and `UPDATE=0` count as unset, as in every other harness
        // (`tests/simulator/world/src/settings.rs`).
        let is_update = std::env::var("UPDATE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
        if is_update && format == LogFormat::V2 {
            for (name, bytes) in &files {
                let path = testdata(format).join(name);
                fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder for the golden files");
                fs::write(path, bytes).expect("a golden file");
            }
        }
        for (name, mut bytes) in files {
            let path = testdata(format).join(&name);
            let mut golden = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if format == LogFormat::V1 && name.starts_with("wal") {
                (bytes, golden) = (without_pointers(&golden, bytes), without_pointers(&golden, golden.clone()));
            }
            assert!(golden == bytes, "{}: differs from what this version wrote", path.display());
        }
    }
}

#[test]
fn this_version_reads_the_golden_files() {
    for format in FORMATS {
        let disk = MemoryDisk::new();
        for folder in ["/data", "/data/wal", "/data/snap"] {
            storage::Disk::create_dir(&disk, Path::new(folder)).expect("a folder");
        }
        let mut count = 0;
        for folder in ["", "wal", "snap"] {
            for found in fs::read_dir(testdata(format).join(folder)).expect("golden files") {
                let path = found.expect("a golden file").path();
                if path.is_file() {
                    let name = path.strip_prefix(testdata(format)).expect("a path below the folder").to_owned();
                    disk.overwrite(&dir().join(name), Some(fs::read(&path).expect("a golden file")));
                    count += 1;
                }
            }
        }
        assert!(count >= 5, "{count} golden files");
        let (_, model) = fixed_history(format);
        // The options name format 1: a reader takes the format from the files.
        is(&model, &open(&disk, LogFormat::V1)).expect("the same state");
    }
}

/// Compares the golden files with the offsets in `node/docs/wal_format.md`, without using the crate's decoder.
#[test]
fn the_first_record_stands_where_the_document_says() {
    for (format, version, unit) in [(LogFormat::V1, 1, 0), (LogFormat::V2, 2, 4096)] {
        let segment = fs::read(testdata(format).join("wal/0000000000000001.wal")).expect("a golden file");
        let number = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().expect("eight bytes"));
        let half = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(&segment[..8], b"RAFTWAL\n");
        // A program that knows only version 1 checks this checksum before it reads the version, and so reports no damage.
        assert_eq!(half(8), crc32c::crc32c(&segment[12..512]), "checksum of the header");
        assert_eq!((half(12), half(88)), (version, unit), "version and unit");
        assert_eq!(number(16), 1, "number of the segment");
        assert_eq!(number(32), history::MEMBER.0, "member");
        let open_frame = format.unit();
        assert!(segment[92..open_frame].iter().all(|byte| *byte == 0), "the header's unit ends with zeros");
        assert_eq!(half(open_frame + 4), crc32c::crc32c(&segment[..512]), "the header seeds the chain");
        assert_eq!((number(open_frame + 8), segment[open_frame + 32]), (1, 0xA1), "the first batch is opened");
        assert_eq!(number(open_frame + 16), number(24), "with the segment's salt");
        let record = open_frame + 40;
        assert_eq!((number(record + 8), number(record + 16), segment[record + 32]), (1, 1, 2), "index, term, kind");
        let length = half(record + 4) as usize;
        let end = record + 40 + length.next_multiple_of(8);
        let crc = crc32c::crc32c_append(half(open_frame), &segment[record + 4..end]);
        assert_eq!(half(record), crc, "chained to the open frame");
    }
}
