//! The feature level of one member: when it is raised, who holds it back, who is refused, and what a program that is
//! too old says of a disk. The other members are simulated by their answers. Clusters of whole members are simulated
//! elsewhere (`simulator`).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use engine::apply::ApplyError;
use engine::error::{ChangeError, RaiseError};
use engine::level::SUPPORTED;
use engine::wiring::WireError;
use memory_disk::MemoryDisk;
use mvcc::{Batch, BatchFormat, Command, FeatureLevel};
use raft::{
    Append, AppendReply, Body, Change, Config, Configuration, Entry, EntryId, Index, MemberId, MemberInfo, Message,
    Now, Payload, ProposalId, Term,
};
use stepped_member::{QueueLimits, Settings, SnapshotTrigger, SteppedMember};
use storage::{ClusterId, ClusterIdentity, Options, Start, Storage};

const FIRST: FeatureLevel = FeatureLevel::FIRST;
const SECOND: FeatureLevel = FeatureLevel(2);
/// Time in which every call of these tests ends.
const PATIENCE: Duration = Duration::from_secs(30);

fn id(number: u64) -> MemberId {
    MemberId(number)
}

fn ids<const N: usize>(numbers: [u64; N]) -> BTreeSet<MemberId> {
    numbers.map(MemberId).into()
}

fn info(member: &MemberId) -> (MemberId, MemberInfo) {
    (*member, MemberInfo { name: format!("demo-{}", member.0), ..MemberInfo::default() })
}

fn configuration(voters: BTreeSet<MemberId>, learners: BTreeSet<MemberId>) -> Configuration {
    let members = voters.iter().chain(&learners).map(info).collect();
    Configuration { voters, learners, members, ..Configuration::default() }
}

/// Member 1, and the answers of the others.
struct One {
    member: SteppedMember,
    answering: BTreeSet<MemberId>,
    /// Versions of the batches that member 1 sent, by the index of their entry.
    batches: BTreeMap<Index, u8>,
    now: Duration,
}

impl One {
    /// Starts member 1 on a disk, which is bootstrapped first if it is blank.
    fn start(disk: &MemoryDisk, configuration: &Configuration, supports: FeatureLevel) -> Result<Self, WireError> {
        let options = Options::new(id(1), 3);
        let mut recovered = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap();
        if recovered.identity.cluster.is_none() {
            let identity = ClusterIdentity {
                cluster_id: ClusterId([7; 16]),
                token_sha256: [1; 32],
                own: MemberInfo::default(),
                first_configuration: configuration.clone(),
            };
            recovered.raft = recovered.storage.bootstrap(identity, &Start::Empty).unwrap().unwrap();
            recovered.identity = recovered.storage.identity().clone();
        }
        let settings = Settings {
            raft: Config { snapshot_threshold: 4, snapshot_trailing: 0, ..Config::new(id(1), 5) },
            commit_timeout: Duration::from_secs(2),
            snapshots: SnapshotTrigger::Entries,
            queues: QueueLimits::default(),
            prefer_leaders: Vec::new(),
            first_names: [1, 2, 3],
        };
        let now = Duration::ZERO;
        let member = SteppedMember::start(recovered, settings, supports, Now { monotonic: now, wall_ms: 0 })?;
        let answering = configuration.members.keys().copied().collect();
        Ok(Self { member, answering, batches: BTreeMap::new(), now })
    }

    /// Starts member 1 of a new cluster, and runs it until it leads and has applied an entry of its term.
    fn leading(disk: &MemoryDisk, configuration: &Configuration) -> Self {
        let mut one = Self::start(disk, configuration, SECOND).unwrap();
        let end = one.now + PATIENCE;
        while one.member.raft().commit() == Index(0) && one.now < end {
            one.turn();
        }
        one.rest();
        one
    }

    fn level(&self) -> FeatureLevel {
        self.member.handle().published().view.level()
    }

    /// Runs all threads once, delivers the answers, and lets time pass.
    fn turn(&mut self) {
        self.member.turn(Now { monotonic: self.now, wall_ms: 0 });
        self.work();
        for (to, frame) in self.member.take_frames() {
            for message in wire::messages(frame).unwrap() {
                self.batches.extend(batches(&message));
                if let Some(answer) = answer(message).filter(|_| self.answering.contains(&to)) {
                    deliver(&self.member, to, &answer);
                }
            }
        }
        self.now += Duration::from_millis(1);
    }

    fn work(&mut self) {
        while self.member.has_to_write() {
            self.member.write().unwrap();
        }
        while self.member.has_to_apply() {
            self.member.apply().unwrap();
        }
        while self.member.has_to_snapshot() {
            self.member.snapshot();
        }
    }

    fn rest(&mut self) {
        (0..100).for_each(|_| self.turn());
    }

    fn state(&self, levels: impl IntoIterator<Item = (u64, FeatureLevel)>) {
        self.member.state_levels(levels.into_iter().map(|(member, level)| (id(member), level)).collect());
    }

    /// Runs the member until a call is answered.
    fn await_answer<T>(&mut self, call: impl Future<Output = T>) -> T {
        let mut call = Box::pin(call);
        let end = self.now + PATIENCE;
        while self.now < end {
            if let Poll::Ready(answer) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return answer;
            }
            self.turn();
        }
        panic!("no answer within {PATIENCE:?}")
    }

    fn raise(&mut self, to: Option<FeatureLevel>) -> Result<FeatureLevel, RaiseError> {
        let handle = self.member.handle();
        self.await_answer(async move { handle.raise_level(to).await })
    }

    fn change(
        &mut self,
        wanted: Configuration,
        supports: BTreeMap<MemberId, FeatureLevel>,
    ) -> Result<Index, ChangeError> {
        let (handle, expected) = (self.member.handle(), self.member.raft().configuration().1);
        let Configuration { voters, learners, members, .. } = wanted;
        let change = Change { expected, voters, learners, members };
        self.await_answer(async move { handle.change(change, supports).await })
    }
}

/// Index of each batch in a message, and the version of its encoding.
fn batches(message: &Message) -> Vec<(Index, u8)> {
    let Body::Append(append) = &message.body else { return Vec::new() };
    let version = |entry: &Entry| match &entry.payload {
        Payload::Normal(payload) => Some((entry.id.index, payload[0])),
        _ => None,
    };
    append.entries.iter().filter_map(version).collect()
}

/// What a member answers that accepts everything.
fn answer(Message { term, body }: Message) -> Option<Message> {
    let body = match body {
        Body::PreVote { .. } => Body::PreVoteReply { granted: true },
        Body::Vote { .. } => Body::VoteReply { granted: true },
        Body::Heartbeat { round, .. } => Body::HeartbeatReply { round },
        Body::Append(Append { prev, entries, round, .. }) => {
            let matched = entries.last().map_or(prev.index, |entry| entry.id.index);
            Body::AppendReply(AppendReply::Accepted { matched, round })
        }
        _ => return None,
    };
    Some(Message { term, body })
}

fn deliver(member: &SteppedMember, from: MemberId, message: &Message) {
    let mut frame = Vec::new();
    wire::put_message(&mut frame, message).unwrap();
    member.deliver(from, frame.into()).unwrap();
}

/// Format versions of the segments, oldest first.
fn segments(disk: &MemoryDisk) -> Vec<u8> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wal");
    disk.files().into_iter().filter(is_segment).map(|path| disk.contents(&path).unwrap()[12]).collect()
}

#[test]
fn a_member_alone_raises_its_level_and_changes_its_formats() {
    let (disk, alone) = (MemoryDisk::new(), configuration(ids([1]), ids([])));
    let mut one = One::leading(&disk, &alone);
    assert_eq!((one.level(), segments(&disk)), (FIRST, vec![1]));
    assert_eq!(one.raise(Some(FIRST)), Ok(FIRST), "a level that holds succeeds");
    assert_eq!(one.raise(None), Ok(SECOND));
    assert_eq!(one.level(), SECOND);
    assert_eq!(one.raise(None), Ok(SECOND), "a repeated call succeeds");
    one.rest();
    assert_eq!(segments(&disk), [1], "a segment begins with a batch");
    let handle = one.member.handle();
    for key in ["a", "b", "c", "d", "e", "f"] {
        one.await_answer(handle.propose(put(key))).unwrap();
    }
    one.now += Duration::from_secs(60);
    one.rest();
    assert_eq!(segments(&disk).last(), Some(&2));
    let newest = one.member.handle().status().snapshot;
    assert!(newest > Index(4), "a snapshot after the raise");
    drop(one);

    let one = One::start(&disk, &alone, SECOND).unwrap();
    assert_eq!(one.level(), SECOND, "the snapshot holds the level");
}

#[test]
fn the_level_is_raised_only_by_a_leader_that_supports_it() {
    let one = &mut One::start(&MemoryDisk::new(), &configuration(ids([1, 2, 3]), ids([])), SECOND).unwrap();
    one.answering.clear();
    assert_eq!(one.raise(Some(SECOND)), Err(RaiseError::NotLeader { leader: None }));
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1]), ids([])));
    let to = FeatureLevel(SUPPORTED.0 + 1);
    assert_eq!(one.raise(Some(to)), Err(RaiseError::TooOld { supports: SECOND, to }));
}

#[test]
fn a_member_that_is_silent_or_too_old_holds_the_level() {
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1, 2, 3]), ids([])));
    let held = |member: u64, supports| {
        Err(RaiseError::LevelHeld { member: id(member), name: format!("demo-{member}"), supports })
    };
    for to in [None, Some(SECOND)] {
        assert_eq!(one.raise(to), held(2, None), "nothing is known");
        one.state([(2, SECOND)]);
        assert_eq!(one.raise(to), held(3, None), "3 is not connected");
        one.state([]);
    }
    one.state([(2, SECOND), (3, FIRST)]);
    assert_eq!(one.raise(Some(SECOND)), held(3, Some(FIRST)));
    assert_eq!(one.raise(None), Ok(FIRST), "the highest level of all is the first one");
    assert_eq!(one.level(), FIRST);

    // 3 has stated its level and does not answer any more.
    one.state([(2, SECOND), (3, SECOND)]);
    one.answering.remove(&id(3));
    (0..2_000).for_each(|_| one.turn());
    assert_eq!(one.raise(None), held(3, None));
    one.answering.insert(id(3));
    (0..2_000).for_each(|_| one.turn());
    assert_eq!(one.raise(None), Ok(SECOND));
}

#[test]
fn a_learner_holds_the_level() {
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1, 2]), ids([3])));
    one.state([(2, SECOND), (3, FIRST)]);
    let held = RaiseError::LevelHeld { member: id(3), name: "demo-3".to_owned(), supports: Some(FIRST) };
    assert_eq!(one.raise(Some(SECOND)), Err(held));
    one.state([(2, SECOND), (3, SECOND)]);
    assert_eq!(one.raise(Some(SECOND)), Ok(SECOND));
}

#[test]
fn only_one_raise_or_change_is_in_progress() {
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1, 2]), ids([])));
    one.state([(2, SECOND)]);
    one.answering.clear();
    let handle = one.member.handle();
    let mut first = Box::pin(handle.raise_level(Some(SECOND)));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    one.turn();
    assert_eq!(one.raise(Some(SECOND)), Err(RaiseError::InFlight));
    // No member can be added meanwhile, because the raise may be committed and the new member was not asked.
    let wanted = configuration(ids([1, 2]), ids([3]));
    let refused = one.change(wanted.clone(), BTreeMap::new());
    assert!(matches!(refused, Err(ChangeError::Refused(raft::ChangeRefusal::InFlight { .. }))), "{refused:?}");
    one.answering = ids([2]);
    assert_eq!(one.await_answer(first), Ok(SECOND));

    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1, 2]), ids([])));
    one.state([(2, SECOND)]);
    one.answering.clear();
    let (handle, expected) = (one.member.handle(), one.member.raft().configuration().1);
    let Configuration { voters, learners, members, .. } = wanted;
    let change = Change { expected, voters, learners, members };
    let mut changing = Box::pin(handle.change(change, BTreeMap::new()));
    assert!(changing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    one.turn();
    assert_eq!(one.raise(Some(SECOND)), Err(RaiseError::InFlight));
}

#[test]
fn a_new_member_that_is_too_old_is_refused_by_name() {
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1]), ids([])));
    let wanted = configuration(ids([1]), ids([4]));
    assert!(one.change(wanted, [(id(4), FIRST)].into()).is_ok(), "the cluster is at the first level");
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1]), ids([])));
    one.raise(None).unwrap();
    let wanted = configuration(ids([1]), ids([4, 5]));
    let refused = one.change(wanted.clone(), [(id(4), SECOND), (id(5), FIRST)].into());
    let too_old = ChangeError::TooOld { member: id(5), name: "demo-5".to_owned(), supports: FIRST, level: SECOND };
    assert_eq!(refused, Err(too_old));
    assert!(one.change(wanted.clone(), [(id(4), SECOND)].into()).is_ok(), "what 5 supports is not known");
    assert!(one.change(wanted, [(id(5), FIRST)].into()).is_ok(), "5 is a member already");
}

/// A raise that a predecessor began may be in the log. Until it is applied, this leader does not know the level.
#[test]
fn a_new_leader_first_applies_what_its_predecessor_raised() {
    let disk = MemoryDisk::new();
    let three = configuration(ids([1, 2, 3]), ids([]));
    let mut one = One::start(&disk, &three, SECOND).unwrap();
    let raise = Batch { commands: vec![(9, Command::RaiseFeatureLevel { to: SECOND })] }.encode();
    let entries = vec![Entry { id: at(1, 1), time_ms: 0, payload: Payload::Normal(raise) }];
    let append = Append { prev: EntryId::default(), entries, commit: Index(0), round: 1 };
    deliver(&one.member, id(2), &Message { term: Term(1), body: Body::Append(append) });
    one.answering.clear();
    one.turn();
    one.answering = ids([2, 3]);
    let end = one.now + PATIENCE;
    while one.member.handle().status().leader != Some(id(1)) && one.now < end {
        one.turn();
    }
    assert_eq!(one.level(), FIRST, "the raise is not committed yet");
    let wanted = configuration(ids([1, 2, 3]), ids([4]));
    let refused = one.change(wanted, [(id(4), FIRST)].into());
    let not_yet = ChangeError::Refused(raft::ChangeRefusal::TermNotCommitted);
    assert_eq!(refused, Err(not_yet));
    one.rest();
    assert_eq!(one.level(), SECOND);
}

fn put(key: &'static str) -> Command {
    Command::Put(mvcc::Put { key: key.into(), ..mvcc::Put::default() })
}

#[test]
fn batches_are_written_in_the_version_of_the_level() {
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1, 2]), ids([])));
    one.state([(2, SECOND)]);
    let handle = one.member.handle();
    one.await_answer(handle.propose(put("a"))).unwrap();
    one.raise(None).unwrap();
    one.rest();
    one.await_answer(handle.propose(put("b"))).unwrap();
    let versions: Vec<u8> = one.batches.values().copied().collect();
    assert_eq!(versions, [1, 1, 2], "a put, the raise, and a put after it");
}

/// A member has applied the raise before its leader has, and forwards a batch of version 2. The raise is in the leader's
/// log, so the batch comes after it.
#[test]
fn a_leader_takes_a_batch_of_a_level_that_it_has_not_applied() {
    let one = &mut One::leading(&MemoryDisk::new(), &configuration(ids([1, 2, 3]), ids([])));
    one.state([(2, SECOND), (3, SECOND)]);
    one.answering.clear();
    let handle = one.member.handle();
    let mut raising = Box::pin(handle.raise_level(None));
    assert!(raising.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    one.turn();
    let payload = Payload::Normal(Batch { commands: vec![(9, put("a"))] }.encode_as(BatchFormat::V2));
    let term = one.member.raft().soft_state().term;
    let body = Body::Propose { proposals: vec![(ProposalId(1), payload)] };
    deliver(&one.member, id(2), &Message { term, body });
    one.turn();
    assert_eq!(one.level(), FIRST);
    one.answering = ids([2, 3]);
    assert_eq!(one.await_answer(raising), Ok(SECOND));
    one.rest();
    let versions: Vec<u8> = one.batches.values().copied().collect();
    assert_eq!(versions, [1, 2], "the raise, and the batch after it");
    let range = mvcc::Range { key: "a".into(), ..mvcc::Range::default() };
    assert_eq!(one.member.handle().published().view.range(&range).unwrap().count, 1);
}

fn at(term: u64, index: u64) -> EntryId {
    EntryId { term: Term(term), index: Index(index) }
}

/// Paths in the directory of snapshots.
fn snapshots(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.starts_with("/member/snap")).collect()
}

/// The disk of a member holds the raise in its log, or the level in its snapshot. A program that supports only the
/// first level reports that, and the program that wrote it goes on.
#[test]
fn a_program_that_is_too_old_for_its_disk_says_so() {
    for with_snapshot in [false, true] {
        let (disk, alone) = (MemoryDisk::new(), configuration(ids([1]), ids([])));
        let mut one = One::leading(&disk, &alone);
        one.raise(None).unwrap();
        let handle = one.member.handle();
        for key in ["a", "b", "c", "d", "e"].into_iter().filter(|_| with_snapshot) {
            one.await_answer(handle.propose(put(key))).unwrap();
        }
        one.now += Duration::from_secs(60);
        one.rest();
        assert_eq!(one.member.handle().status().snapshot > Index(0), with_snapshot);
        drop(one);
        let before = snapshots(&disk);
        let reason = One::start(&disk, &alone, FIRST).err().expect("the program is too old");
        assert!(reason.is_newer(), "{reason}");
        assert!(reason.to_string().ends_with("start a newer version"), "{reason}");
        let is_snapshot = matches!(reason, WireError::Snapshot(_));
        assert_eq!(is_snapshot, with_snapshot, "{reason}");
        assert_eq!(before, snapshots(&disk), "nothing was put aside");
        assert_eq!(One::leading(&disk, &alone).level(), SECOND, "the newer program goes on");
    }
}

/// A batch of an unknown version, a field of its header that must be understood, and a command of an unknown kind are
/// newer, too. They are found before a thread starts.
#[test]
fn unknown_entries_of_the_log_are_found_at_the_start() {
    let batch = Batch { commands: vec![(9, put("a"))] };
    let (first, second) = (batch.encode(), batch.encode_as(BatchFormat::V2));
    let other_kind: Bytes = [&first[..14], &[9], &first[15..]].concat().into();
    let other_version: Bytes = [&[3], &first[1..]].concat().into();
    // A header of two bytes: a tag, and the length 0.
    let field = |tag: u8| -> Bytes { [&second[..9], &[2, tag, 0], &second[10..]].concat().into() };
    let cases = [
        (first, SECOND, false),
        (second.clone(), SECOND, false),
        (second.clone(), FIRST, true),
        (other_kind, SECOND, true),
        (other_version, SECOND, true),
        (field(2), SECOND, false),
        (field(3), SECOND, true),
    ];
    for (payload, supports, is_newer) in cases {
        let (disk, three) = (MemoryDisk::new(), configuration(ids([1, 2, 3]), ids([])));
        let mut one = One::start(&disk, &three, SECOND).unwrap();
        let entries = vec![Entry { id: at(1, 1), time_ms: 0, payload: Payload::Normal(payload.clone()) }];
        let append = Append { prev: EntryId::default(), entries, commit: Index(0), round: 1 };
        deliver(&one.member, id(2), &Message { term: Term(1), body: Body::Append(append) });
        one.turn();
        drop(one);
        let started = One::start(&disk, &three, supports);
        assert_eq!(started.err().is_some_and(|reason| reason.is_newer()), is_newer, "{payload:?} at {supports}");
    }
}

/// The other members have raised the level, although this one does not support it. It must not go on with another
/// state.
#[test]
fn a_raise_that_the_program_does_not_support_ends_the_member() {
    let three = configuration(ids([1, 2, 3]), ids([]));
    let mut one = One::start(&MemoryDisk::new(), &three, FIRST).unwrap();
    let raise = Batch { commands: vec![(9, Command::RaiseFeatureLevel { to: SECOND })] }.encode();
    let entries = vec![Entry { id: at(1, 1), time_ms: 0, payload: Payload::Normal(raise) }];
    let append = Append { prev: EntryId::default(), entries, commit: Index(1), round: 1 };
    deliver(&one.member, id(2), &Message { term: Term(1), body: Body::Append(append) });
    one.member.turn(Now { monotonic: one.now, wall_ms: 0 });
    while one.member.has_to_write() {
        one.member.write().unwrap();
    }
    one.member.turn(Now { monotonic: one.now, wall_ms: 0 });
    assert!(one.member.has_to_apply());
    let reason = one.member.apply().unwrap_err();
    assert!(matches!(reason, ApplyError::TooNew { to: SECOND, supports: FIRST, .. }), "{reason}");
    assert_eq!(one.level(), FIRST);
}
