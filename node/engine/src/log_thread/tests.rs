//! Tests of the log thread on a disk in memory. Owns groups of writes, a full disk and reads. Does not own crashes (`storage`).

use std::path::Path;

use memory_disk::MemoryDisk;
use raft::{Configuration, Entry, MemberInfo, Payload, Term};
use storage::{ClusterId, ClusterIdentity, Options, Start};
use tokio::sync::mpsc;

use super::*;
use crate::event::Event;
use crate::inbox::Wants;
use crate::observer::Unobserved;
use crate::published::Published;
use crate::status::{Phase, Status};

const TIMEOUT: Duration = Duration::from_secs(60);

fn storage(disk: &MemoryDisk) -> Storage {
    let identity = ClusterIdentity {
        cluster_id: ClusterId([7; 16]),
        token_sha256: [1; 32],
        own: MemberInfo::default(),
        first_configuration: Configuration::default(),
    };
    let options = Options { segment_bytes: 16 << 10, ..Options::new(MemberId(1), 3) };
    let mut storage = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap().storage;
    storage.bootstrap(identity, &Start::Empty).unwrap();
    storage
}

fn shared() -> Arc<Shared> {
    let status = Status::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
    Shared::new(status, None, 1, mpsc::channel(1).0, Box::new(Unobserved))
}

fn persist(io: u64) -> LogJob {
    persist_of(io, 6 << 10)
}

fn persist_of(io: u64, bytes: usize) -> LogJob {
    let id = EntryId { term: Term(1), index: Index(io) };
    let entry = Entry { id, time_ms: 0, payload: Payload::Normal(vec![7; bytes].into()) };
    let hard_state = Some(HardState { term: Term(1), vote: None });
    LogJob::Persist(vec![Persist { io: IoId(io), hard_state, entries: vec![entry] }])
}

/// Returns the ID of the newest acknowledged write.
fn acknowledged(shared: &Shared) -> Option<IoId> {
    let wants = Wants { proposals: true, reads: true, applied: true };
    let mut events = Vec::new();
    shared.inbox.next_before(Instant::now() + TIMEOUT, wants, &mut events);
    events.iter().find_map(|event| if let Event::Persisted(io) = event { Some(*io) } else { None })
}

#[test]
fn on_a_full_disk_the_purge_comes_before_the_write() {
    let (disk, shared, jobs) = (MemoryDisk::new(), shared(), Arc::new(Mailbox::default()));
    let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
    for io in 1..=8 {
        writer.add(&mut vec![persist(io)]);
        assert!(matches!(writer.advance(), Ok(Some(LogJob::Persist(_)))));
    }
    assert_eq!(acknowledged(&shared), Some(IoId(8)));
    // The log may be purged only up to a snapshot.
    let meta = SnapshotMeta { last: EntryId { term: Term(1), index: Index(6) }, ..SnapshotMeta::default() };
    writer.storage.snapshots().begin(meta).unwrap().finish().unwrap();
    disk.limit_bytes(Some(disk.used_bytes()));
    writer.add(&mut vec![persist(9), persist(10)]);
    assert!(matches!(writer.advance(), Err((_, StorageError::Full { .. }))), "the write succeeded on a full disk");
    let thread = LogThread::new(writer, Arc::clone(&jobs));
    jobs.push(persist(11));
    let thread = std::thread::spawn(|| thread.run());
    jobs.push(LogJob::Purge { first_kept: Index(7) });
    assert_eq!(acknowledged(&shared), Some(IoId(11)), "the write did not succeed after the purge");
    jobs.close();
    thread.join().unwrap();
}

#[test]
fn a_group_of_writes_is_as_long_as_a_batch() {
    let (disk, shared) = (MemoryDisk::new(), shared());
    let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
    writer.add(&mut (1..=4).map(|io| persist_of(io, 3 << 20)).collect());
    writer.add(&mut vec![persist_of(5, 9 << 20), persist_of(6, 10)]);
    let mut groups = Vec::new();
    while let Some(LogJob::Persist(group)) = writer.advance().unwrap() {
        assert_eq!(acknowledged(&shared), group.last().map(|persist| persist.io), "its writes are acknowledged");
        groups.push(group.len());
    }
    assert_eq!(groups, [2, 2, 1, 1]);
}

/// Otherwise the apply thread would wait for space, too, and could not free any.
#[test]
fn on_a_full_disk_a_read_comes_before_the_write() {
    let (disk, slot) = (MemoryDisk::new(), Slot::default());
    let mut writer = LogWriter::new(storage(&disk), shared());
    writer.add(&mut (1..=4).map(persist).collect());
    while !writer.is_idle() {
        writer.advance().unwrap();
    }
    disk.limit_bytes(Some(disk.used_bytes()));
    let read =
        LogJob::Read { from: Index(2), through: Index(4), bytes: usize::MAX, into: ReadTarget::Apply(slot.clone()) };
    writer.add(&mut vec![persist(5), persist(6), persist(7), read]);
    assert!(matches!(writer.advance(), Ok(Some(LogJob::Read { .. }))), "the read waited for space");
    assert_eq!(slot.wait().iter().map(|entry| entry.id.index.0).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_stopping_member_does_not_wait_for_space() {
    let (disk, jobs) = (MemoryDisk::new(), Arc::new(Mailbox::default()));
    jobs.push(LogJob::Purge { first_kept: Index(7) });
    jobs.close();
    let mut thread = LogThread::new(LogWriter::new(storage(&disk), shared()), jobs);
    assert!(thread.wait_for_space(), "a waiting purge was not tried");
    assert!(!thread.wait_for_space(), "it waits although the mailbox is closed");
}

/// A snapshot of an older leader may be discarded after a snapshot of a newer leader has arrived. The snapshot of
/// the newer leader may end at a lower index.
#[test]
fn discarding_a_snapshot_deletes_no_other_one() {
    let (disk, shared) = (MemoryDisk::new(), shared());
    let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
    let last = |term, index| EntryId { term: Term(term), index: Index(index) };
    for last in [last(1, 9), last(2, 7), last(2, 7)] {
        let meta = SnapshotMeta { last, ..SnapshotMeta::default() };
        writer.storage.snapshots().receive(meta).unwrap().finish_verified().unwrap();
    }
    writer.add(&mut vec![
        LogJob::Discard { last: last(1, 9) },
        LogJob::Discard { last: last(2, 7) },
        LogJob::Install {
            io: IoId(1),
            from: MemberId(2),
            hard_state: Some(HardState { term: Term(2), vote: None }),
            meta: SnapshotMeta { last: last(2, 7), ..SnapshotMeta::default() },
            installed: InstalledSignal::default(),
        },
    ]);
    while !writer.is_idle() {
        writer.advance().unwrap();
    }
    assert_eq!(acknowledged(&shared), Some(IoId(1)));
    let drafts = disk.files().into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "tmp"));
    assert_eq!(drafts.count(), 0, "received snapshots are left");
}

/// Otherwise a member with a full disk would not learn that it is full.
#[test]
fn on_a_full_disk_a_measurement_comes_before_the_write() {
    let (disk, shared) = (MemoryDisk::new(), shared());
    let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
    disk.limit_bytes(Some(disk.used_bytes()));
    writer.add(&mut vec![persist(1), persist(2), persist(3), persist(4), LogJob::Measure { saves: true }]);
    while !matches!(writer.advance(), Ok(Some(LogJob::Measure { .. }))) {
        assert!(writer.waiting.len() > 1, "the measurement waited for space");
    }
    let wants = Wants { proposals: true, reads: true, applied: true };
    let mut events = Vec::new();
    shared.inbox.next_before(Instant::now() + TIMEOUT, wants, &mut events);
    let measured =
        events.iter().find_map(|event| if let Event::Space(Ok(space)) = event { Some(*space) } else { None });
    let space = measured.expect("it is reported");
    assert_eq!((space.total_bytes, space.free_bytes, space.saves), (disk.used_bytes(), 0, true));
}

/// A snapshot holds what is applied. Without the other entries a leader would read the damaged one again at each sign of life of the
/// member that lacks it, and commit nothing any more.
#[test]
fn a_damaged_entry_that_is_not_applied_ends_the_member() {
    let (disk, shared) = (MemoryDisk::new(), shared());
    let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
    let contents = || disk.contents(Path::new("/member/wal/0000000000000001.wal")).expect("the first segment");
    let mut before = Vec::new();
    for io in 1..=3 {
        before = contents();
        writer.add(&mut vec![persist_of(io, 1 << 10)]);
        writer.advance().unwrap();
    }
    let changed: Vec<usize> =
        (0..).zip(before.iter().zip(contents())).filter(|(_, (a, b))| **a != *b).map(|(at, _)| at).collect();
    disk.flip_bit(Path::new("/member/wal/0000000000000001.wal"), changed[changed.len() / 2] as u64, 0);
    let read = || LogJob::Read { from: Index(3), through: Index(3), bytes: 1, into: ReadTarget::Peer(MemberId(2)) };

    writer.add(&mut vec![read()]);
    let (what, reason) = writer.advance().map(drop).expect_err("the entry is damaged");
    assert!(matches!(reason, StorageError::Refused(_)), "{reason}");
    assert!(what == "read the log" && reason.to_string().contains("entry 3 of the log"), "cannot {what}: {reason}");

    let published = Published { applied: Index(3), ..Published::clone(&shared.published()) };
    shared.published.store(Arc::new(published));
    writer.advance().expect("the other member gets a snapshot");
    let wants = Wants { proposals: true, reads: true, applied: true };
    let mut events = Vec::new();
    shared.inbox.next_before(Instant::now() + TIMEOUT, wants, &mut events);
    assert!(events.iter().any(|event| matches!(event, Event::LogRead { read: Err(Unreadable), .. })), "{events:?}");
}
