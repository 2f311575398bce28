//! Syncs before an acknowledgement: what a member acknowledges, to a client or to a leader, is covered by a sync that ended before, and a
//! batch costs exactly one. Owns a disk that notes writes and syncs. Does not own what a power loss does (`storage`).

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use engine::level::SUPPORTED;
use memory_disk::MemoryDisk;
use mvcc::{Batch, Command, Put};
use raft::{
    Append, AppendReply, Body, Config, Configuration, Entry, EntryId, Index, MemberId, MemberInfo, Message, Now,
    Payload, Term,
};
use stepped_member::{QueueLimits, Settings, SnapshotTrigger, SteppedMember};
use storage::disk::{DiskLock, DiskReader, VolumeSpace};
use storage::{ClusterId, ClusterIdentity, Disk, DiskFile, Options, Start, Storage};

/// What happened to a file, in order.
#[derive(Clone, Debug)]
enum Happened {
    Wrote(PathBuf, Vec<u8>),
    Synced(PathBuf),
}

type Events = Arc<Mutex<Vec<Happened>>>;

#[derive(Debug)]
struct NotingDisk {
    disk: MemoryDisk,
    events: Events,
}

#[derive(Debug)]
struct NotingFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    events: Events,
}

impl NotingDisk {
    fn noting(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(NotingFile { file, path: path.to_owned(), events: Arc::clone(&self.events) })
    }
}

impl Disk for NotingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.noting(path, self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.noting(path, self.disk.open(path)?))
    }

    fn open_settled(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        self.disk.open_settled(path)
    }

    fn space(&self, dir: &Path) -> io::Result<VolumeSpace> {
        self.disk.space(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

impl DiskReader for NotingFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
}

impl DiskFile for NotingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)?;
        self.events.lock().unwrap().push(Happened::Wrote(self.path.clone(), bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        self.events.lock().unwrap().push(Happened::Synced(self.path.clone()));
        Ok(())
    }

    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.file.preallocate(from, to)
    }
}

const ID: MemberId = MemberId(1);
const LEADER: MemberId = MemberId(2);

/// Member 1 of `voters` voters.
struct One {
    member: SteppedMember,
    events: Events,
    now: Duration,
}

impl One {
    fn start(voters: u64) -> Self {
        let events = Events::default();
        let disk = Arc::new(NotingDisk { disk: MemoryDisk::new(), events: Arc::clone(&events) });
        let voters: BTreeSet<MemberId> = (1..=voters).map(MemberId).collect();
        let members = voters.iter().map(|id| (*id, MemberInfo::default())).collect();
        let identity = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [1; 32],
            own: MemberInfo::default(),
            first_configuration: Configuration { voters, members, ..Configuration::default() },
        };
        let mut recovered = Storage::open(disk, Path::new("/member"), Options::new(ID, 3)).unwrap();
        recovered.raft = recovered.storage.bootstrap(identity, &Start::Empty).unwrap().unwrap();
        recovered.identity = recovered.storage.identity().clone();
        let settings = Settings {
            raft: Config::new(ID, 5),
            commit_timeout: Duration::from_secs(5),
            snapshots: SnapshotTrigger::Entries,
            queues: QueueLimits::default(),
            prefer_leaders: Vec::new(),
            first_names: [1, 2, 3],
        };
        let now = Duration::ZERO;
        let member = SteppedMember::start(recovered, settings, SUPPORTED, Now { monotonic: now, wall_ms: 0 }).unwrap();
        Self { member, events, now }
    }

    /// A round of the core's thread and of the apply thread, but not of the log thread.
    fn turn(&mut self) {
        self.member.turn(Now { monotonic: self.now, wall_ms: 0 });
        while self.member.has_to_apply() {
            self.member.apply().unwrap();
        }
        self.now += Duration::from_millis(1);
    }

    /// Executes all jobs of the log thread.
    fn write(&mut self) {
        while self.member.has_to_write() {
            self.member.write().unwrap();
        }
    }

    fn take_events(&self) -> Vec<Happened> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

/// Asserts that the last write of `value` was synced. Returns the number of syncs of that file.
fn covered(events: &[Happened], value: &[u8]) -> usize {
    let holds = |bytes: &[u8]| bytes.windows(value.len()).any(|window| window == value);
    let wrote = events.iter().rposition(|event| matches!(event, Happened::Wrote(_, bytes) if holds(bytes)));
    let wrote =
        wrote.unwrap_or_else(|| panic!("{:?} was acknowledged and never written", String::from_utf8_lossy(value)));
    let Happened::Wrote(file, _) = &events[wrote] else { unreachable!("it is a write") };
    let is_sync = |event: &Happened| matches!(event, Happened::Synced(path) if path == file);
    assert!(events[wrote..].iter().any(is_sync), "{:?} was acknowledged before a sync", String::from_utf8_lossy(value));
    events.iter().filter(|event| matches!(event, Happened::Synced(_))).count()
}

fn value(number: u64) -> Bytes {
    format!("the value of put {number:06}").into()
}

fn put(number: u64) -> Command {
    Command::Put(Put { key: format!("k{number}").into(), value: value(number), ..Put::default() })
}

fn poll<T>(call: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Option<T> {
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// A sole voter that leads, and whose first batch is behind it: that one begins a segment.
fn leader() -> One {
    let mut one = One::start(1);
    for _ in 0..5_000 {
        one.turn();
        one.write();
    }
    assert!(one.member.raft().commit() > Index(0), "a sole voter leads");
    one.take_events();
    one
}

#[test]
fn a_put_is_acknowledged_after_one_sync_that_covers_it() {
    let mut one = leader();
    for number in 0..50 {
        let handle = one.member.handle();
        let mut call = Box::pin(handle.propose(put(number)));
        for _ in 0..20 {
            assert!(poll(&mut call).is_none(), "put {number} was acknowledged before the log thread ran");
            one.turn();
        }
        one.write();
        (0..3).for_each(|_| one.turn());
        poll(&mut call).expect("the write is done").expect("a put on a leader succeeds");
        let events = one.take_events();
        assert_eq!(covered(&events, &value(number)), 1, "put {number}");
    }
}

#[test]
fn puts_that_wait_together_share_one_sync() {
    let mut one = leader();
    for round in 0..10 {
        let numbers: Vec<u64> = (round * 30..(round + 1) * 30).collect();
        let handle = one.member.handle();
        let mut calls: Vec<_> = numbers.iter().map(|number| Box::pin(handle.propose(put(*number)))).collect();
        calls.iter_mut().for_each(|call| assert!(poll(call).is_none()));
        one.turn();
        one.write();
        (0..3).for_each(|_| one.turn());
        for call in &mut calls {
            poll(call).expect("the write is done").expect("a put on a leader succeeds");
        }
        let events = one.take_events();
        for number in numbers {
            assert_eq!(covered(&events, &value(number)), 1, "put {number}");
        }
    }
}

/// Index up to which the member has acknowledged entries since the last call.
fn acknowledged(one: &mut One) -> Option<Index> {
    let frames = one.member.take_frames();
    let replies = frames.into_iter().flat_map(|(_, frame)| wire::messages(frame).unwrap());
    let accepted = replies.filter_map(|message| match message.body {
        Body::AppendReply(AppendReply::Accepted { matched, .. }) => Some(matched),
        _ => None,
    });
    accepted.max()
}

#[test]
fn a_follower_acknowledges_entries_after_one_sync_that_covers_them() {
    let mut one = One::start(3);
    let id = |index| EntryId { term: Term(u64::from(index > 0)), index: Index(index) };
    let append = |one: &One, index: u64| {
        let payload = Payload::Normal(Batch { commands: vec![(index, put(index))] }.encode());
        let entries = vec![Entry { id: id(index), time_ms: 0, payload }];
        let append = Append { prev: id(index - 1), entries, commit: Index(index - 1), round: index };
        let mut frame = Vec::new();
        wire::put_message(&mut frame, &Message { term: Term(1), body: Body::Append(append) }).unwrap();
        one.member.deliver(LEADER, frame.into()).unwrap();
    };
    for index in 1..50 {
        append(&one, index);
        for _ in 0..5 {
            one.turn();
            assert!(acknowledged(&mut one) < Some(Index(index)), "entry {index} was acknowledged before a sync");
        }
        one.write();
        one.turn();
        assert_eq!(acknowledged(&mut one), Some(Index(index)));
        let events = one.take_events();
        let syncs = covered(&events, &value(index));
        // The first batch begins a segment, and the term is durable before it.
        assert!(syncs == 1 || index == 1, "entry {index} cost {syncs} syncs");
    }
}
