//! Tests of the identity of a volume: a member ID is generated once, joins a cluster once, is removed once, and may be isolated.

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::sync::Arc;

use history::{MEMBER, dir, meta, open, options, record};
use memory_disk::MemoryDisk;
use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, Term};
use storage::isolation::isolate;
use storage::{ClusterId, ClusterIdentity, DamageKind, LogRepair, OpenError, Options, Start, Storage, StorageError};

fn append(storage: &mut Storage, index: u64) -> Result<(), StorageError> {
    let hard_state = Some(HardState { term: Term(1), vote: None });
    storage.append(&[Persist { io: IoId(0), hard_state, entries: vec![history::entry(index, 1, 10)] }])
}

#[test]
fn a_blank_volume_gets_a_member_id_once() {
    let disk = history::disk();
    let found = open(&disk, 1).expect("a blank disk opens");
    assert_eq!((found.identity.member, found.identity.cluster), (MEMBER, None));
    drop(found.storage);
    let other = Options { blank_member_id: MemberId(0xB0B), ..options(2) };
    let found = Storage::open(Arc::new(disk), &dir(), other).expect("it opens");
    assert_eq!(found.identity.member, MEMBER, "the ID on the disk counts");
}

#[test]
fn a_blank_volume_refuses_log_writes() {
    let disk = history::disk();
    let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
    assert_eq!(append(&mut storage, 1), Err(StorageError::NotMember));
    assert_eq!(storage.purge(Index(1)), Err(StorageError::NotMember));
    assert_eq!(storage.write_tombstone(Index(1)), Err(StorageError::NotMember));
}

#[test]
fn a_repeated_bootstrap_changes_nothing_and_another_cluster_is_refused() {
    let disk = history::disk();
    let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
    assert!(storage.bootstrap(record(), &Start::Empty).expect("a blank volume").is_some());
    append(&mut storage, 1).expect("an append");
    let before = disk.operations();
    assert!(storage.bootstrap(record(), &Start::Empty).expect("the same cluster").is_none());
    let other = ClusterIdentity { cluster_id: ClusterId([8; 16]), ..record() };
    let refusal = storage.bootstrap(other, &Start::Empty).expect_err("another cluster");
    assert_eq!(refusal, StorageError::AlreadyMember { cluster: record().cluster_id });
    assert_eq!(disk.operations(), before, "nothing was written");
}

#[test]
fn a_member_can_start_from_a_snapshot() {
    let disk = history::disk();
    let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
    let meta = meta(EntryId { term: Term(4), index: Index(1000) });
    let start = Start::Snapshot(meta.clone());
    let refusal = storage.bootstrap(record(), &start).expect_err("nothing was received");
    assert_eq!(refusal, StorageError::NoSnapshot { index: Index(1000) });
    let mut receiver = storage.snapshots().receive(meta.clone()).expect("a draft");
    receiver.write(&[232; 10]).expect("space");
    receiver.finish_verified().expect("a received snapshot");
    let restored = storage.bootstrap(record(), &start).expect("a blank volume").expect("a new member");
    assert_eq!((restored.snapshot.clone(), restored.hard_state.term), (meta, Term(4)));
    let hard_state = Some(HardState { term: Term(5), vote: None });
    let entries = vec![history::entry(1001, 5, 10)];
    storage.append(&[Persist { io: IoId(0), hard_state, entries }]).expect("the log continues after the snapshot");
    drop(storage);
    disk.lose_power(1);
    let found = open(&disk, 2).expect("it opens");
    assert_eq!(found.raft.snapshot, restored.snapshot);
    assert_eq!(found.raft.log.tail.len(), 1);
}

/// A restore can fail after its snapshot was received, and the next restore may be of an older backup. The member must
/// then start from that backup, not from what the first restore left.
#[test]
fn a_bootstrap_ignores_the_snapshot_of_one_that_failed() {
    let disk = history::disk();
    let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
    let [newer, older] = [500, 300].map(|index| meta(EntryId { term: Term(4), index: Index(index) }));
    for meta in [&newer, &older] {
        let mut receiver = storage.snapshots().receive(meta.clone()).expect("a draft");
        receiver.write(&[232; 10]).expect("space");
        receiver.finish_verified().expect("a received snapshot");
    }
    disk.limit_bytes(Some(disk.used_bytes()));
    let failed = storage.bootstrap(record(), &Start::Snapshot(newer)).expect_err("no space for the log");
    assert!(matches!(failed, StorageError::Full { .. }), "{failed}");
    disk.limit_bytes(None);
    let start = Start::Snapshot(older.clone());
    let restored = storage.bootstrap(record(), &start).expect("a blank volume").expect("a new member");
    assert_eq!(restored.snapshot, older);
    assert_eq!(storage.snapshots().newest().map(|info| info.meta), Some(older.clone()));
    drop(storage);
    disk.lose_power(1);
    let found = open(&disk, 2).expect("it opens");
    assert_eq!((found.raft.snapshot, found.snapshot.map(|info| info.meta)), (older.clone(), Some(older)));
}

#[test]
fn a_tombstone_is_permanent() {
    let disk = history::disk();
    let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    storage.write_tombstone(Index(7)).expect("the first tombstone");
    storage.write_tombstone(Index(9)).expect("a repetition changes nothing");
    assert_eq!(append(&mut storage, 1), Err(StorageError::NotMember));
    let refusal = storage.bootstrap(record(), &Start::Empty).expect_err("the member was removed");
    assert_eq!(refusal, StorageError::Removed);
    drop(storage);
    disk.lose_power(3);
    let mut found = open(&disk, 2).expect("it opens");
    assert_eq!(found.identity.removed, Some(Index(7)));
    assert_eq!(append(&mut found.storage, 1), Err(StorageError::NotMember));
}

#[test]
fn entries_that_leave_a_gap_are_refused_and_nothing_is_written() {
    let disk = history::disk();
    let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    append(&mut storage, 1).expect("the first");
    for index in [0, 3] {
        let refusal = append(&mut storage, index).expect_err("not the next one");
        assert_eq!(refusal, StorageError::OutOfOrder { last: Index(1), found: Index(index) });
    }
    append(&mut storage, 2).expect("the next one");
}

/// A volume is either blank, or it belongs to a cluster and holds all data of its member. A member that votes without
/// its data could elect a leader that lacks committed entries (openraft FAQ, "wiped disk").
#[test]
fn an_unfinished_bootstrap_leaves_a_blank_volume() {
    for stop in 1..200 {
        let disk = history::disk();
        let mut storage = open(&disk, 1).expect("a blank disk opens").storage;
        disk.stop_after(stop);
        let result = storage.bootstrap(record(), &Start::Empty);
        drop(storage);
        disk.lose_power(stop);
        let mut found = open(&disk, 2).expect("it opens");
        assert_eq!(found.identity.member, MEMBER);
        match (result, &found.identity.cluster) {
            (Ok(_), Some(_)) => return,
            (Ok(_), None) => panic!("an acknowledged bootstrap was lost at operation {stop}"),
            (Err(_), Some(_)) => assert!(found.storage.bootstrap(record(), &Start::Empty).expect("again").is_none()),
            (Err(_), None) => assert!(found.storage.bootstrap(record(), &Start::Empty).expect("again").is_some()),
        }
    }
    panic!("a bootstrap takes fewer operations");
}

/// Why a start refuses the directory.
fn isolation_of(disk: &MemoryDisk) -> Option<String> {
    match open(disk, 2) {
        Ok(_) => None,
        Err(OpenError::Damaged { identity: Some(identity), damage }) => {
            assert_eq!(identity.member, MEMBER);
            let DamageKind::Isolated { reason } = damage.kind.clone() else { panic!("{damage}") };
            let repair = LogRepair::open(Arc::new(disk.clone()), &dir(), &options(3), damage);
            assert!(repair.is_err(), "nothing in the log is to be repaired");
            Some(reason)
        }
        Err(other) => panic!("{other}"),
    }
}

/// A member whose content is wrong must not serve again because it was restarted.
#[test]
fn an_isolated_member_stays_isolated_whatever_crash_follows() {
    let blank = history::disk();
    let mut storage = open(&blank, 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    drop(storage);
    let mut was_lost = false;
    for stop in 1..20 {
        let disk = blank.fork();
        disk.stop_after(stop);
        let is_done = isolate(&disk, &dir(), "it differs").is_ok();
        disk.lose_power(stop);
        let found = isolation_of(&disk);
        assert!(found.as_deref().is_none_or(|reason| reason == "it differs"), "operation {stop}: {found:?}");
        was_lost |= found.is_none();
        if is_done {
            assert!(found.is_some() && was_lost, "operation {stop}");
            let path = dir().join("isolated");
            // What the file holds does not matter.
            disk.overwrite(&path, Some(vec![0xFF; 10_000]));
            assert!(isolation_of(&disk).is_some_and(|reason| reason.len() < 10_000));
            disk.overwrite(&path, None);
            assert_eq!(isolation_of(&disk), None, "a person has removed it");
            return;
        }
    }
    panic!("the file is written with fewer operations");
}
