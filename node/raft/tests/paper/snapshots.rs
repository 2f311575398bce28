//! Log compaction (§5).

use std::sync::Arc;

use raft::{Body, Configuration, Index, Output, SnapshotMeta};

use crate::network::solo::{
    Solo, Start, accepted, append, appends_to, applies, grants_vote, heartbeat, persists, sent_to,
};
use crate::network::{configuration, entry, entry_id, id};

fn meta(term: u64, index: u64, configuration: Configuration, configuration_index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: entry_id(term, index),
        time_ms: index,
        configuration: Arc::new(configuration),
        configuration_index: Index(configuration_index),
    }
}

fn due(outputs: &[Output]) -> Vec<u64> {
    let due = |output: &Output| match output {
        Output::SnapshotDue { index } => Some(index.0),
        _ => None,
    };
    outputs.iter().filter_map(due).collect()
}

fn discards(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::DiscardSnapshot { .. }))
}

/// Returns the leader of three members. Its log has `count` entries, all of which are durable, committed and applied.
fn long_leader(count: u64, trailing: u64) -> Solo {
    let mut solo = Start::of(3)
        .config(|config| {
            config.snapshot_threshold = count;
            config.snapshot_trailing = trailing;
        })
        .solo();
    solo.leads_with_commit();
    for number in 1..count {
        solo.proposes(number);
    }
    solo.persisted();
    solo.acknowledged_by(2, count);
    solo
}

/// §5.1: "each server takes snapshots independently, covering just the committed entries in its log". A snapshot is due
/// when enough entries were applied since the last one. The snapshot ends at or before the last durable entry.
#[test]
fn a_snapshot_is_due_at_the_threshold() {
    let mut solo = long_leader(10, 3);
    assert_eq!(due(&solo.applies()), [10]);
    assert_eq!(due(&solo.applies()), [], "a snapshot is requested once");
    assert_eq!(solo.raft.snapshot_taken(Index(10)), Index(8), "three entries before the snapshot stay");
    solo.proposes(99);
    assert_eq!(due(&solo.applies()), []);

    let mut follower = Start::of(3).config(|config| config.snapshot_threshold = 2).solo();
    follower.receives(2, 1, append(entry_id(0, 0), vec![entry(1, 1), entry(1, 2), entry(1, 3)], 3));
    assert_eq!(due(&follower.applies()), [], "the entries are applied, but not durable here");
    assert_eq!(follower.snapshot_meta(3), None, "no snapshot may be taken there");
    assert_eq!(due(&follower.persisted()), [3]);
}

/// §5.1: the description of a snapshot contains "the index and term of the last entry it replaces" and "the latest
/// configuration from the log as of last included index".
#[test]
fn the_description_of_a_snapshot_is_that_of_its_index() {
    let mut solo = long_leader(4, 0);
    assert_eq!(solo.snapshot_meta(4), None, "not applied yet");
    solo.applies();
    let meta = solo.snapshot_meta(3).expect("applied");
    assert_eq!((meta.last, meta.configuration_index), (entry_id(1, 3), Index(0)));
    assert_eq!(*meta.configuration, configuration(&[1, 2, 3], &[]));
    solo.raft.snapshot_taken(Index(4));
    assert_eq!(solo.snapshot_meta(4).expect("the entry at the purge mark is known").last, entry_id(1, 4));
    assert_eq!(solo.snapshot_meta(3), None, "purged");
}

/// §5.3: "the leader must occasionally send snapshots to followers that lag behind ... when the leader has already
/// discarded the next log entry that it needs to send".
#[test]
fn a_member_that_needs_purged_entries_gets_a_snapshot() {
    let mut solo = long_leader(10, 0);
    offers(&mut solo);
    solo.proposes(77);
    assert_eq!(appends_to(&solo.drain(), 3), [], "no entries meanwhile");
    // The snapshot arrives and is installed.
    let now = solo.now();
    solo.raft.snapshot_sent(now, id(3), Ok(()));
    assert_eq!(solo.drain(), []);
    let outputs = solo.acknowledged_by(3, 10);
    assert_eq!(appends_to(&outputs, 3)[0].prev, entry_id(1, 10), "replication continues after the snapshot");
}

/// A member installed the offered snapshot, but its acknowledgement was lost, and the log was purged beyond the
/// snapshot meanwhile. The leader asks whether the member holds the entry at the purge mark. The answer shows, long
/// before the installation times out, that the member needs another snapshot.
#[test]
fn a_purge_past_an_installed_snapshot_leads_to_another_one() {
    let mut solo = long_leader(10, 0);
    offers(&mut solo);
    let now = solo.now();
    solo.raft.snapshot_sent(now, id(3), Ok(()));
    (20..25).for_each(|number| drop(solo.proposes(number)));
    solo.persisted();
    solo.acknowledged_by(2, 15);
    solo.applies();
    solo.raft.snapshot_taken(Index(15));
    solo.waits(200);
    let asked = solo.receives(3, 1, Body::HeartbeatReply { round: 1 });
    assert_eq!(appends_to(&asked, 3)[0].prev, entry_id(1, 15));
    let outputs = solo.rejected_by(3, 15, entry_id(0, 0));
    assert!(outputs.is_empty(), "the snapshot is still in progress: {outputs:?}");
    let outputs = solo.rejected_by(3, 15, entry_id(1, 10));
    let again = Output::SendSnapshot { to: id(3), term: raft::Term(1), at_least: Index(15) };
    assert!(outputs.contains(&again), "{outputs:?}");
}

/// Lets member 3 return with an empty log, and expects the offer of a snapshot at index 10.
fn offers(solo: &mut Solo) {
    solo.applies();
    solo.raft.snapshot_taken(Index(10));
    let outputs = solo.rejected_by(3, 0, entry_id(0, 0));
    assert_eq!(appends_to(&outputs, 3), []);
    let mut outputs = Vec::new();
    for _ in 0..40 {
        outputs.extend(solo.waits(50));
        solo.receives(2, 1, Body::HeartbeatReply { round: u64::MAX });
        for body in sent_to(&outputs, 3) {
            if let Body::Heartbeat { round, .. } = body {
                outputs.extend(solo.receives(3, 1, Body::HeartbeatReply { round }));
            }
        }
        for append in appends_to(&outputs, 3) {
            outputs = solo.rejected_by(3, append.prev.index.0, entry_id(0, 0));
        }
        if let Some(Output::SendSnapshot { to, term, at_least }) =
            outputs.iter().find(|output| matches!(output, Output::SendSnapshot { .. }))
        {
            assert_eq!((*to, term.0, *at_least), (id(3), 1, Index(10)));
            break;
        }
    }
    assert!(solo.raft.progress()[&id(3)].snapshotting, "{:?}", solo.raft.progress());
}

/// A snapshot that did not arrive is offered again after a pause.
#[test]
fn a_failed_snapshot_is_offered_again_after_a_pause() {
    let mut cluster = crate::network::Cluster::adjusted(3, 5, |config| {
        config.snapshot_threshold = 10;
        config.snapshot_trailing = 0;
    });
    let leader = cluster.elect();
    let lagging = if leader == 3 { 2 } else { 3 };
    cluster.crash(lagging);
    for _ in 0..40 {
        cluster.propose(leader);
        cluster.run_ms(5);
    }
    cluster.keep_sent = true;
    cluster.snapshots_fail = 3;
    cluster.start(lagging);
    cluster.until("the member has caught up", 20_000, |cluster| {
        cluster.member(lagging).state == cluster.member(leader).state && cluster.snapshots_fail == 0
    });
    let began = cluster.sent.first().expect("a snapshot was sent").at_ms;
    assert!(cluster.now_ms - began >= 3_000, "an election timeout passes between two attempts");
}

/// §5.3: "If the snapshot contains new information not already in the follower's log", the follower "discards its
/// entire log".
#[test]
fn a_snapshot_replaces_the_log_that_it_supersedes() {
    let mut solo = Start::of(3).log(&[1, 1, 1]).solo();
    let outputs = solo.receives(2, 2, Body::InstallSnapshot(meta(2, 9, configuration(&[1, 2, 4], &[]), 7)));
    let install = outputs.iter().find_map(|output| match output {
        Output::InstallSnapshot { from, hard_state, meta, .. } => Some((*from, *hard_state, meta.last)),
        _ => None,
    });
    let (from, hard_state, last) = install.expect("installed");
    assert_eq!((from, last), (id(2), entry_id(2, 9)));
    assert_eq!(hard_state.expect("the term is new").term.0, 2);
    assert_eq!(persists(&outputs), [], "the install carries everything");
    assert_eq!(accepted(&outputs, 2), None, "not acknowledged before it is durable");
    assert_eq!((solo.raft.last(), solo.raft.commit()), (entry_id(2, 9), Index(9)));
    assert_eq!(solo.raft.configuration().1, Index(7));
    assert_eq!(accepted(&solo.persisted(), 2), Some(9));
    let outputs = solo.receives(2, 2, append(entry_id(2, 9), vec![entry(2, 10)], 10));
    assert_eq!(applies(&outputs), [10]);
}

/// §5.3: a snapshot of "a prefix of its log" is discarded, because "entries following the snapshot are still valid and
/// must be retained".
#[test]
fn a_snapshot_of_a_known_prefix_is_discarded() {
    let mut solo = Start::of(3).log(&[1, 1, 1]).solo();
    let outputs = solo.receives(2, 1, Body::InstallSnapshot(meta(1, 2, configuration(&[1, 2, 3], &[]), 0)));
    assert!(discards(&outputs));
    assert_eq!(
        (solo.raft.last(), solo.raft.commit()),
        (entry_id(1, 3), Index(2)),
        "the snapshot proves that index 2 is committed"
    );
    assert_eq!(accepted(&outputs, 2), Some(2));
    let outputs = solo.receives(2, 1, Body::InstallSnapshot(meta(1, 1, configuration(&[1, 2, 3], &[]), 0)));
    assert!(discards(&outputs), "stale");
}

/// A snapshot from an outdated leader, or with an invalid description, is discarded and not installed.
#[test]
fn a_stale_or_invalid_snapshot_is_discarded() {
    let mut solo = Start::of(3).term(4).solo();
    let sound = configuration(&[1, 2, 3], &[]);
    let cases = [
        (3, meta(3, 9, sound.clone(), 0)),
        (4, meta(9, 9, sound.clone(), 0)),
        (4, meta(4, 9, sound.clone(), 12)),
        (4, meta(4, 9, Configuration::default(), 0)),
        (4, meta(4, u64::MAX, sound, 0)),
    ];
    for (term, meta) in cases {
        let outputs = solo.receives(2, term, Body::InstallSnapshot(meta.clone()));
        assert!(discards(&outputs), "{meta:?}");
        assert_eq!(solo.raft.last(), entry_id(0, 0));
    }
}

/// A member restarts with a snapshot and a log that begins before the end of the snapshot.
#[test]
fn a_member_restarts_with_snapshot_and_log() {
    let entries: Vec<_> = (3..=8).map(|index| entry(1, index)).collect();
    let hard_state = raft::HardState { term: raft::Term(2), vote: None };
    let restored = raft::Restored::of_entries(hard_state, meta(1, 5, configuration(&[1, 2, 3], &[]), 2), entries);
    let now = raft::Now::default();
    let raft = raft::Raft::new(raft::Config::new(id(1), 1), restored, now).expect("sound");
    assert_eq!((raft.commit(), raft.last()), (Index(5), entry_id(1, 8)));
    assert_eq!(raft.snapshot_meta(Index(5), 5).expect("known").last, entry_id(1, 5));
}

/// After a crash, the disk may still hold an old log that an installed snapshot replaced. The core drops such a log. A
/// log with a gap is refused.
#[test]
fn a_superseded_log_is_dropped_and_a_broken_one_refused() {
    let start = |snapshot: SnapshotMeta, entries: Vec<raft::Entry>| {
        let hard_state = raft::HardState { term: raft::Term(9), vote: None };
        let restored = raft::Restored::of_entries(hard_state, snapshot, entries);
        raft::Raft::new(raft::Config::new(id(1), 1), restored, raft::Now::default())
    };
    let snapshot = meta(3, 5, configuration(&[1], &[]), 0);
    let short = start(snapshot.clone(), vec![entry(1, 1), entry(1, 2)]).expect("superseded");
    assert_eq!(short.last(), entry_id(3, 5));
    let other = start(snapshot.clone(), (1..=9).map(|index| entry(1, index)).collect()).expect("superseded");
    assert_eq!(other.last(), entry_id(3, 5), "the log disagrees with the snapshot");
    let gap = start(snapshot.clone(), vec![entry(3, 7)]);
    assert!(matches!(gap, Err(raft::ConfigError::BrokenLog { .. })));
    let hole = start(snapshot.clone(), vec![entry(3, 6), entry(3, 8)]);
    assert!(matches!(hole, Err(raft::ConfigError::BrokenLog { .. })));
    let older = start(snapshot.clone(), vec![entry(2, 6)]);
    assert!(matches!(older, Err(raft::ConfigError::BrokenLog { .. })), "terms do not fall after a snapshot either");
    let falling = start(snapshot, vec![entry(3, 6), entry(2, 7)]);
    assert!(matches!(falling, Err(raft::ConfigError::BrokenLog { .. })));
}

/// Votes depend on the whole log, including the part that a snapshot replaced.
#[test]
fn a_snapshot_counts_in_elections() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 2, Body::InstallSnapshot(meta(2, 9, configuration(&[1, 2, 3], &[]), 0)));
    solo.persisted();
    solo.waits(3_000);
    let term = solo.term();
    solo.receives(3, term + 1, Body::Vote { last: entry_id(2, 8), transfer: false });
    assert!(!grants_vote(&solo.persisted(), 3));
    solo.receives(3, term + 2, Body::Vote { last: entry_id(2, 9), transfer: false });
    assert!(grants_vote(&solo.persisted(), 3));
}

/// Lagging members that still answer delay the purge, up to a limit.
#[test]
fn the_purge_waits_for_active_members() {
    let mut solo = long_leader(100, 10);
    solo.applies();
    let round = 1;
    solo.acknowledged_in_round(3, 60, round);
    solo.acknowledged_in_round(2, 100, round);
    assert_eq!(solo.raft.snapshot_taken(Index(100)), Index(61), "member 3 still needs entry 61");
    assert!(solo.raft.progress().values().all(|progress| !progress.snapshotting));

    let mut slow = long_leader(100, 10);
    slow.applies();
    slow.acknowledged_in_round(3, 1, round);
    assert_eq!(slow.raft.snapshot_taken(Index(100)), Index(21), "the bound is eight times the trailing entries");
    let outputs = slow.receives(3, 1, heartbeat(0, 0));
    assert_eq!(applies(&outputs), []);
}

/// A snapshot of this member becomes durable while a newer, received snapshot is being installed. Only entries that the
/// older snapshot holds are purged, because after a crash the member may have to start from that snapshot.
#[test]
fn a_purge_never_runs_ahead_of_an_install() {
    let mut follower = Start::of(3).config(|config| config.snapshot_trailing = 0).solo();
    follower.receives(2, 1, append(entry_id(0, 0), (1..=6).map(|index| entry(1, index)).collect(), 4));
    follower.persisted();
    follower.applies();
    follower.receives(2, 1, Body::InstallSnapshot(meta(1, 20, configuration(&[1, 2, 3], &[]), 0)));
    assert_eq!(follower.raft.snapshot_taken(Index(4)), Index(5));
}
