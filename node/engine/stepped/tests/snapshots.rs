//! When a member takes snapshots of its own state. Owns one member without threads that fills its log. Does not own the core's
//! count of entries (`node/raft`) or snapshots for other members (`src/tests.rs`).

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use memory_disk::MemoryDisk;
use mvcc::{Command, Put};
use raft::{Config, Configuration, Index, MemberId, MemberInfo, Now};
use stepped_member::{QueueLimits, SUPPORTED, Settings, SnapshotTrigger, SteppedMember};
use storage::{ClusterId, ClusterIdentity, Options, Start, Storage};

const KIB: u64 = 1 << 10;
/// A snapshot after 64 KiB of the log, or after as many bytes as the newest one has, up to 256 KiB.
const BYTES: SnapshotTrigger = SnapshotTrigger::Bytes { least: 64 * KIB, most: 256 * KIB };

/// The only voter of a cluster.
struct Alone {
    disk: MemoryDisk,
    member: SteppedMember,
    now: Duration,
}

impl Alone {
    fn start(disk: MemoryDisk, trigger: SnapshotTrigger) -> Self {
        let voters = [MemberId(1)].into();
        let members = [(MemberId(1), MemberInfo::default())].into();
        let identity = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [1; 32],
            own: MemberInfo::default(),
            first_configuration: Configuration { voters, members, ..Configuration::default() },
        };
        let options = Options::new(MemberId(1), 3);
        let mut recovered = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap();
        if recovered.identity.cluster.is_none() {
            recovered.raft = recovered.storage.bootstrap(identity, &Start::Empty).unwrap().unwrap();
            recovered.identity = recovered.storage.identity().clone();
        }
        let settings = Settings {
            raft: Config { snapshot_threshold: 4, snapshot_trailing: 0, ..Config::new(MemberId(1), 5) },
            commit_timeout: Duration::from_secs(2),
            snapshots: trigger,
            queues: QueueLimits::default(),
            prefer_leaders: Vec::new(),
            first_names: [1, 2, 3],
        };
        let start = Now { monotonic: Duration::ZERO, wall_ms: 0 };
        let member = SteppedMember::start(recovered, settings, SUPPORTED, start).unwrap();
        let mut alone = Self { disk, member, now: Duration::ZERO };
        while alone.member.raft().commit() == Index(0) {
            alone.turn();
        }
        alone
    }

    fn restart(self, trigger: SnapshotTrigger) -> Self {
        let Self { disk, member, .. } = self;
        drop(member);
        Self::start(disk, trigger)
    }

    fn turn(&mut self) {
        self.member.turn(Now { monotonic: self.now, wall_ms: 0 });
        while self.member.has_to_write() {
            self.member.write().unwrap();
        }
        while self.member.has_to_apply() {
            self.member.apply().unwrap();
        }
        while self.member.has_to_snapshot() {
            self.member.snapshot();
        }
        self.now += Duration::from_millis(1);
    }

    /// Lets the longest interval between two snapshots pass, and checks that the core's thread sleeps.
    fn rest(&mut self) {
        self.now += Duration::from_secs(3_600);
        (0..10).for_each(|_| self.turn());
        assert!(!self.member.is_due(self.now), "the core's thread wakes again and again");
    }

    /// Writes `number` keys of 1 KiB each, every one in an entry and a batch of its own of 1.5 KiB. Returns the number of snapshots
    /// that were begun meanwhile.
    fn put(&mut self, keys: &str, number: u64) -> u64 {
        let mut taken = 0;
        let mut newest = self.snapshot();
        for key in 0..number {
            let put = Put { key: format!("{keys}{key}").into(), value: vec![0; 1_000].into(), ..Put::default() };
            let handle = self.member.handle();
            let mut call = pin!(handle.propose(Command::Put(put)));
            while call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                self.turn();
            }
            self.now += Duration::from_secs(10);
            (0..3).for_each(|_| self.turn());
            taken += u64::from(std::mem::replace(&mut newest, self.snapshot()) != newest);
        }
        taken
    }

    fn snapshot(&self) -> Index {
        self.member.newest_snapshot().map_or(Index(0), |meta| meta.last.index)
    }
}

#[test]
fn entries_make_a_snapshot_due_and_bytes_begin_it() {
    let mut by_entries = Alone::start(MemoryDisk::new(), SnapshotTrigger::Entries);
    assert_eq!(by_entries.put("a", 40), 10, "each fourth entry");
    let mut by_bytes = Alone::start(MemoryDisk::new(), BYTES);
    assert_eq!(by_bytes.put("a", 40), 0, "60 KiB");
    by_bytes.rest();
    assert_eq!(by_bytes.put("b", 10), 1, "75 KiB");
    by_bytes.rest();
    assert!(by_bytes.snapshot() > Index(40) && by_bytes.snapshot() < Index(50), "{}", by_bytes.snapshot());
}

#[test]
fn the_log_may_be_as_long_as_the_snapshot_but_no_longer_than_the_bound() {
    let mut alone = Alone::start(MemoryDisk::new(), BYTES);
    // The snapshots hold about 43, 86, 145 and 243 keys.
    assert_eq!(alone.put("a", 250), 4);
    assert_eq!(alone.put("b", 150), 0, "165 keys are as long as the snapshot");
    assert_eq!(alone.put("c", 20), 1);
    let before = alone.snapshot();
    // The snapshot is as long as 280 keys in the log, but the bound is as long as 171.
    assert_eq!(alone.put("d", 350), 2);
    assert!(alone.snapshot() >= Index(before.0 + 2 * 170), "{before}, then {}", alone.snapshot());
}

/// Then only a snapshot makes space, because the log before it may go. The reserve is two segments of 64 MiB and the content.
#[test]
fn a_member_below_its_reserve_begins_one_whatever_the_length_of_the_log() {
    let mut alone = Alone::start(MemoryDisk::new(), BYTES);
    assert_eq!(alone.put("a", 10), 0, "15 KiB");
    alone.disk.limit_bytes(Some(alone.disk.used_bytes() + (100 << 20)));
    assert!(alone.put("b", 10) > 0, "100 MiB are free");
    alone.rest();
    alone.disk.limit_bytes(None);
    alone.put("c", 3);
    assert_eq!(alone.put("d", 10), 0, "there is space again");
}

/// A start knows the length of the log to within 256 KiB.
#[test]
fn the_log_before_a_restart_counts() {
    let trigger = SnapshotTrigger::Bytes { least: 1_024 * KIB, most: 4_096 * KIB };
    let mut alone = Alone::start(MemoryDisk::new(), trigger);
    assert_eq!(alone.put("a", 600), 0, "900 KiB");
    let mut alone = alone.restart(trigger);
    assert_eq!(alone.put("b", 100), 1, "1,050 KiB");
    assert_eq!(alone.put("c", 100), 0);
    let mut alone = alone.restart(trigger);
    assert_eq!(alone.put("d", 300), 0, "the log that the snapshot covers does not count");
    assert_eq!(alone.put("e", 400), 1);
}

/// A member that lags could not catch up, because every transfer of the damaged snapshot would fail.
#[test]
fn a_snapshot_that_cannot_be_read_is_replaced_although_nothing_is_written() {
    let mut alone = Alone::start(MemoryDisk::new(), SnapshotTrigger::Entries);
    alone.put("a", 8);
    while alone.snapshot() < alone.member.raft().commit() {
        alone.put("b", 1);
    }
    alone.rest();
    let newest = alone.snapshot();
    let path = alone.disk.files().into_iter().rfind(|path| path.extension().is_some_and(|ending| ending == "snap"));
    alone.disk.flip_bit(&path.expect("there are snapshots"), 5_000, 1);
    assert!(alone.member.read_snapshot(newest).is_err(), "it is damaged");
    for _ in 0..2 {
        alone.member.snapshot_unreadable(newest);
    }
    alone.rest();
    assert_eq!(alone.member.read_snapshot(newest).expect("it was written again").meta.last.index, newest);
    alone.rest();
}
