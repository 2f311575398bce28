//! A log of which only a part is in memory: entries leave the memory once they are durable, and are read back from the
//! disk for members that lag and to be applied. The test plays the disk.

#[path = "network/cluster.rs"]
mod network;

use network::solo::{Solo, Start, accepted, append, appends_to, applies, persists, rejected};
use network::{configuration, entry, entry_id, id};
use raft::{
    Body, Config, Entry, EntryId, Index, Limits, Message, Now, Output, Payload, ProposalId, ProposeRefusal, Raft,
    Restored, SnapshotMeta, Term, Unreadable,
};

/// Returns the reads for other members among the outputs: the member, the first and the last index.
fn reads(outputs: &[Output]) -> Vec<(u64, u64, u64)> {
    let read = |output: &Output| match output {
        Output::ReadLog { to, from, through, .. } => Some((to.0, from.0, through.0)),
        _ => None,
    };
    outputs.iter().filter_map(read).collect()
}

/// Returns the ranges that are read to be applied.
fn stored(outputs: &[Output]) -> Vec<(u64, u64)> {
    let range = |output: &Output| match output {
        Output::ApplyStored { first, last } => Some((first.0, last.0)),
        _ => None,
    };
    outputs.iter().filter_map(range).collect()
}

fn answers(solo: &mut Solo, from: u64, read: Result<Vec<Entry>, Unreadable>) -> Vec<Output> {
    let now = solo.now();
    solo.raft.log_read(now, id(3), Index(from), read);
    solo.drain()
}

/// Returns a leader none of whose six entries is in memory, and the entries. Every other member except 3 and 4 holds all
/// of them.
fn forgetful(voters: u64) -> (Solo, Vec<Entry>) {
    let forget = |config: &mut Config| {
        config.limits = Limits { log_bytes: 0, read_back_bytes: 0, ..Limits::default() };
        config.max_append_entries = 2;
    };
    let mut solo = Start::of(voters).config(forget).solo();
    let mut written = persists(&solo.leads());
    written.extend((1..6).flat_map(|number| persists(&solo.proposes(number))));
    solo.persisted();
    for from in [2, 5].into_iter().filter(|from| *from <= voters) {
        solo.acknowledged_by(from, 6);
    }
    solo.applies();
    assert_eq!((solo.raft.commit(), solo.raft.log_bytes()), (Index(6), 0), "every entry left the memory");
    (solo, written.into_iter().flat_map(|persist| persist.entries).collect())
}

/// Member 3 answers that it holds entry 1, which requests a read.
fn lags(solo: &mut Solo) {
    assert_eq!(reads(&solo.acknowledged_by(3, 1)), [(3, 2, 3)], "as many entries as one append has");
}

#[test]
fn an_evicted_entry_is_read_back_and_then_sent() {
    let (mut solo, entries) = forgetful(3);
    lags(&mut solo);
    assert_eq!(reads(&solo.waits(1)), [], "one read at a time");
    let outputs = answers(&mut solo, 2, Ok(entries[1..3].to_vec()));
    let appends = appends_to(&outputs, 3);
    assert_eq!(
        (appends[0].prev, &appends[0].entries[..], appends[0].commit),
        (entry_id(1, 1), &entries[1..3], Index(6))
    );
    assert_eq!(reads(&outputs), [(3, 4, 5)]);
    assert_eq!(reads(&solo.acknowledged_by(3, 3)), [], "one read at a time");
    let outputs = answers(&mut solo, 4, Ok(entries[3..5].to_vec()));
    assert_eq!((appends_to(&outputs, 3)[0].prev, reads(&outputs)), (entry_id(1, 3), vec![(3, 6, 6)]));
}

/// An answer may be late: the leader lost and regained leadership meanwhile, and another leader overwrote entries.
#[test]
fn an_answer_of_another_term_is_dropped() {
    let (mut solo, mut entries) = forgetful(3);
    lags(&mut solo);
    entries[2].id.term = Term(0);
    let outputs = answers(&mut solo, 2, Ok(entries[1..3].to_vec()));
    assert_eq!((appends_to(&outputs, 3), reads(&outputs)), (vec![], vec![(3, 2, 3)]), "the entries are read again");
    for wrong in [&entries[2..3], &entries[0..1], &[]] {
        let outputs = answers(&mut solo, 2, Ok(wrong.to_vec()));
        assert_eq!((appends_to(&outputs, 3), reads(&outputs)), (vec![], vec![(3, 2, 3)]), "{wrong:?}");
    }
    assert_eq!(answers(&mut solo, 4, Ok(entries[3..5].to_vec())), [], "nothing was asked for");
}

#[test]
fn a_member_gets_a_snapshot_instead_of_unreadable_entries() {
    let (mut solo, _) = forgetful(3);
    lags(&mut solo);
    let offer = Output::SendSnapshot { to: id(3), term: Term(1), at_least: Index(2) };
    assert_eq!(answers(&mut solo, 2, Err(Unreadable)), [offer]);
    assert!(solo.raft.progress()[&id(3)].snapshotting);
}

/// The snapshot that the driver had may end in the unreadable part of the log. The leader then asks for a later one, which
/// the driver takes of its applied state, so the member gets past that part; nothing is read twice.
#[test]
fn a_snapshot_that_ends_among_unreadable_entries_is_followed_by_a_later_one() {
    let (mut solo, _) = forgetful(3);
    lags(&mut solo);
    let offer = |at_least| Output::SendSnapshot { to: id(3), term: Term(1), at_least: Index(at_least) };
    assert_eq!(answers(&mut solo, 2, Err(Unreadable)), [offer(2)]);
    for (installed, next) in [(2, 3), (4, 5)] {
        assert_eq!(reads(&solo.waits(1)), [], "nothing is read while a snapshot is under way");
        assert_eq!(reads(&solo.acknowledged_by(3, installed)), [(3, next, next + 1)]);
        assert_eq!(answers(&mut solo, next, Err(Unreadable)), [offer(next)]);
    }
    assert_eq!(reads(&solo.acknowledged_by(3, 6)), [], "the member holds the whole log");
    assert!(!solo.raft.progress()[&id(3)].snapshotting);
}

#[test]
fn the_reads_under_way_are_bounded() {
    let (mut solo, _) = forgetful(5);
    lags(&mut solo);
    assert_eq!(reads(&solo.acknowledged_by(4, 1)), [], "one read is the limit");
    solo.raft.set_limits(Limits { log_bytes: 0, read_back_bytes: 2 << 20, ..Limits::default() });
    assert_eq!(reads(&solo.drain()), [(4, 2, 3)]);
}

/// The limit counts bytes: of three entries of 3 MiB, the driver gets one at a time.
#[test]
fn the_apply_window_counts_bytes() {
    let mut solo = Start::of(3).config(|config| config.limits.applying_bytes = 1 << 20).solo();
    let large = |index| Entry { payload: Payload::Normal(vec![0; 3 << 20].into()), ..entry(1, index) };
    let outputs = solo.receives(2, 1, append(entry_id(0, 0), (1..=3).map(large).collect(), 3));
    assert_eq!(applies(&outputs), [1]);
    for (done, next) in [(1, vec![2]), (2, vec![3]), (3, vec![])] {
        let now = solo.now();
        solo.raft.applied(now, Index(done));
        assert_eq!(applies(&solo.drain()), next);
    }
}

/// The other members commit without a member whose disk is slow, so only the member itself can bound its memory.
#[test]
fn a_follower_ignores_entries_while_its_disk_lags() {
    let mut solo = Start::of(3).config(|config| config.limits.unsettled_bytes = 100).solo();
    let next = |index| append(entry_id(1, index - 1), vec![entry(1, index)], 0);
    solo.receives(2, 1, append(entry_id(0, 0), (1..=4).map(|index| entry(1, index)).collect(), 0));
    assert_eq!((solo.receives(2, 1, next(5)), solo.raft.last()), (vec![], entry_id(1, 4)), "272 bytes are not durable");
    let outputs = solo.receives(2, 1, append(entry_id(1, 4), vec![], 0));
    assert_eq!((accepted(&outputs, 2), rejected(&outputs, 2)), (None, None), "what it holds is not durable yet");
    assert_eq!(accepted(&solo.persisted(), 2), Some(4));
    solo.receives(2, 1, next(5));
    assert_eq!(solo.raft.last(), entry_id(1, 5));
}

#[test]
fn a_leader_refuses_proposals_while_its_disk_lags() {
    let mut solo = Start::of(3).config(|config| config.limits.unsettled_bytes = 1_000).solo();
    solo.leads_with_commit();
    let propose = |solo: &mut Solo, number| {
        let now = solo.now();
        solo.raft.propose(now, vec![(ProposalId(number), Payload::Normal(vec![0; 900].into()))])
    };
    assert_eq!(propose(&mut solo, 1), Ok(()));
    solo.drain();
    solo.acknowledged_by_all();
    assert_eq!(solo.raft.commit(), Index(2), "committed by the other two");
    assert_eq!(propose(&mut solo, 2), Err(ProposeRefusal::Overloaded));
    solo.persisted();
    assert_eq!(propose(&mut solo, 2), Ok(()));
}

/// Returns a member that starts with a log of which only the last two of six entries are in memory. Nothing is known to
/// be committed.
fn restarted() -> Raft {
    let snapshot = SnapshotMeta { configuration: configuration(&[1, 2, 3], &[]).into(), ..SnapshotMeta::default() };
    let entries: Vec<Entry> = [1, 1, 2, 2, 2, 3].iter().zip(1..).map(|(term, index)| entry(*term, index)).collect();
    let hard_state = raft::HardState { term: Term(3), vote: None };
    let mut restored = Restored::of_entries(hard_state, snapshot, entries);
    restored.log.tail.drain(..4);
    restored.log.marks = vec![(Index(2), 2 << 20), (Index(4), 5 << 20)];
    Raft::new(Config::new(id(1), 1), restored, Now::default()).expect("sound")
}

fn receives(raft: &mut Raft, body: Body) -> Vec<Output> {
    raft.step(Now::default(), id(2), Message { term: Term(3), body });
    std::iter::from_fn(|| raft.next_output()).collect()
}

/// What is not in memory is applied from the disk, in ranges of about 4 MiB, and what is in memory follows.
#[test]
fn a_start_applies_from_the_disk_what_is_not_in_memory() {
    let mut raft = restarted();
    assert_eq!((raft.last(), raft.log_bytes()), (entry_id(3, 6), 136));
    let outputs = receives(&mut raft, append(entry_id(3, 6), vec![], 6));
    assert_eq!((stored(&outputs), applies(&outputs)), (vec![(1, 2), (3, 4)], vec![5, 6]));
    assert_eq!(accepted(&outputs, 2), Some(6));
}

/// Only the terms are needed to find out where two logs agree, and to truncate what is not in memory.
#[test]
fn a_log_is_truncated_below_what_is_in_memory() {
    let mut raft = restarted();
    let outputs = receives(&mut raft, append(EntryId { term: Term(3), index: Index(4) }, vec![], 0));
    assert_eq!(rejected(&outputs, 2), Some((4, entry_id(2, 4))));
    let outputs = receives(&mut raft, append(entry_id(1, 2), vec![entry(1, 3), entry(3, 4)], 3));
    assert_eq!((raft.last(), raft.log_bytes()), (entry_id(3, 4), 136));
    assert_eq!(persists(&outputs)[0].entries, [entry(1, 3), entry(3, 4)]);
    assert_eq!((stored(&outputs), applies(&outputs)), (vec![(1, 2)], vec![3]));
}
