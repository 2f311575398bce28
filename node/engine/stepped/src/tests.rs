//! Unit tests of a stepped member.

use std::collections::BTreeSet;
use std::path::Path;

use memory_disk::MemoryDisk;
use raft::{Append, AppendReply, Config, Entry, EntryId, MemberInfo, Payload};
use storage::{ClusterId, ClusterIdentity, Options, Start, Storage};

use super::*;

const NOW: Now = Now { monotonic: Duration::ZERO, wall_ms: 0 };

fn id(index: u64) -> EntryId {
    EntryId { term: Term(1), index: Index(index) }
}

/// Starts one of three voters on an empty disk.
fn member(disk: &MemoryDisk) -> SteppedMember {
    let voters: BTreeSet<MemberId> = (1..=3).map(MemberId).collect();
    let members = voters.iter().map(|id| (*id, MemberInfo::default())).collect();
    let identity = ClusterIdentity {
        cluster_id: ClusterId([7; 16]),
        token_sha256: [1; 32],
        own: MemberInfo::default(),
        first_configuration: Configuration { voters, members, ..Configuration::default() },
    };
    let options = Options::new(MemberId(1), 3);
    let mut recovered = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap();
    recovered.raft = recovered.storage.bootstrap(identity, &Start::Empty).unwrap().unwrap();
    recovered.identity = recovered.storage.identity().clone();
    let settings = Settings {
        raft: Config { snapshot_threshold: 1, snapshot_trailing: 0, ..Config::new(MemberId(1), 5) },
        commit_timeout: Duration::from_secs(2),
        snapshots: SnapshotTrigger::Entries,
        queues: QueueLimits::default(),
        prefer_leaders: Vec::new(),
        first_names: [1, 2, 3],
    };
    SteppedMember::start(recovered, settings, SUPPORTED, NOW).unwrap()
}

fn deliver(member: &SteppedMember, from: MemberId, message: &Message) {
    let mut frame = Vec::new();
    wire::put_message(&mut frame, message).unwrap();
    member.deliver(from, frame.into()).unwrap();
}

/// Delivers the answer of the voter `from` to a message. Member 3 never answers appends, so only a snapshot can bring it up
/// to date.
fn answer(member: &SteppedMember, from: MemberId, Message { term, body }: Message) {
    let body = match body {
        Body::PreVote { .. } => Body::PreVoteReply { granted: true },
        Body::Vote { .. } => Body::VoteReply { granted: true },
        Body::Heartbeat { round, .. } => Body::HeartbeatReply { round },
        Body::Append(Append { prev, entries, round, .. }) if from == MemberId(2) => {
            let matched = entries.last().map_or(prev.index, |entry| entry.id.index);
            Body::AppendReply(AppendReply::Accepted { matched, round })
        }
        _ => return,
    };
    deliver(member, from, &Message { term, body });
}

/// Runs the member until `end`. The member's threads work without delay, and the other voters answer without delay.
/// Returns the snapshot transfers that began.
fn run(member: &mut SteppedMember, mut monotonic: Duration, end: Duration) -> Vec<SnapshotDue> {
    let mut begun = Vec::new();
    while monotonic < end {
        member.turn(Now { monotonic, wall_ms: 0 });
        while member.has_to_write() {
            member.write().unwrap();
        }
        while member.has_to_apply() {
            member.apply().unwrap();
        }
        while member.has_to_snapshot() {
            member.snapshot();
        }
        begun.extend(member.take_snapshots_due());
        for (to, frame) in member.take_frames() {
            wire::messages(frame).unwrap().into_iter().for_each(|message| answer(member, to, message));
        }
        monotonic += Duration::from_micros(100);
        if !member.is_due(monotonic) {
            monotonic = member.deadline();
        }
    }
    begun
}

/// The core may output a write after the output which reports that the member was removed.
#[test]
fn the_tombstone_is_written_after_all_other_writes_of_a_turn() {
    let mut member = member(&MemoryDisk::new());
    let entries = vec![Entry { id: id(1), time_ms: 0, payload: Payload::Noop }];
    let append = Append { prev: EntryId::default(), entries, commit: Index(0), round: 1 };
    deliver(&member, MemberId(2), &Message { term: Term(1), body: Body::Append(append) });
    member.removal_verified(RemovalVerdict::Removed { index: Index(9) });
    let turn = member.turn(NOW);
    let place = |is: fn(&Output) -> bool| turn.outputs.iter().position(is).unwrap();
    let removed = place(|output| matches!(output, Output::Removed { .. }));
    assert!(turn.ended && removed < place(|output| matches!(output, Output::Persist(_))));
    let mut written = Vec::new();
    while member.has_to_write() {
        written.extend(member.write().unwrap());
    }
    // The volume is measured in between.
    written.retain(|written| !matches!(written, Written::Nothing));
    assert!(matches!(written[..], [Written::Persisted(_), Written::Tombstone { .. }]), "{written:?}");
}

/// The core requests a transfer again after 600 election timeouts, but a large snapshot may take longer.
#[test]
fn a_slow_transfer_is_not_restarted() {
    let mut member = member(&MemoryDisk::new());
    let long = Duration::from_secs(700);
    let begun = run(&mut member, Duration::ZERO, long);
    assert!(matches!(begun[..], [SnapshotDue { to: MemberId(3), number: 1, .. }]), "{begun:?}");
    member.snapshot_sent(MemberId(3), 1, Err(()));
    let begun = run(&mut member, long, long + Duration::from_secs(10));
    assert!(
        matches!(begun[..], [SnapshotDue { to: MemberId(3), number: 2, .. }]),
        "no transfer began after the first one had ended: {begun:?}"
    );
}

/// The core neither installs nor discards a snapshot that it was not notified of, so the snapshot would stay on the disk.
#[test]
fn a_snapshot_is_not_kept_if_the_core_cannot_be_notified() {
    let disk = MemoryDisk::new();
    let mut member = member(&disk);
    let files = disk.files();
    let meta = SnapshotMeta { last: id(5), ..SnapshotMeta::default() };
    let content = SnapshotContent { meta, bytes: Vec::new(), size: 0, crc32c: 0 };
    member.receive_snapshot(MemberId(2), Term(1), content.clone()).unwrap();
    assert_eq!(disk.files().len(), files.len() + 1, "the snapshot was not kept");
    member.stop();
    assert!(member.turn(NOW).ended);
    while member.has_to_write() {
        member.write().unwrap();
    }
    assert_eq!(disk.files(), files, "the unused snapshot was not discarded");
    assert!(member.receive_snapshot(MemberId(2), Term(1), content).is_err());
    assert_eq!(disk.files(), files, "the snapshot was kept although the core has ended");
}
