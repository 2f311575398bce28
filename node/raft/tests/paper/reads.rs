//! Linearizable reads without an entry in the log (§6.4), and lease reads (§6.4.1).

use raft::{Body, Index, Output, ReadContext};

use crate::network::solo::{Solo, Start, append, grants_vote, heartbeat, sent, sent_to};
use crate::network::{change_to, configuration, entry, entry_id};

fn read(solo: &mut Solo, context: u64) -> Vec<Output> {
    let now = solo.now();
    solo.raft.read(now, ReadContext(context));
    solo.drain()
}

fn ready(outputs: &[Output]) -> Vec<(u64, u64)> {
    let ready = |output: &Output| match output {
        Output::ReadReady { context, index } => Some((context.0, index.0)),
        _ => None,
    };
    outputs.iter().filter_map(ready).collect()
}

fn failed(outputs: &[Output]) -> Vec<u64> {
    let failed = |output: &Output| match output {
        Output::ReadFailed { context } => Some(context.0),
        _ => None,
    };
    outputs.iter().filter_map(failed).collect()
}

/// Returns the round of the heartbeat to a member.
fn round_to(outputs: &[Output], to: u64) -> u64 {
    let round = |body: Body| match body {
        Body::Heartbeat { round, .. } => Some(round),
        _ => None,
    };
    sent_to(outputs, to).into_iter().filter_map(round).max().expect("a heartbeat was sent")
}

/// "If the leader has not yet marked an entry from its current term committed, it waits until it has done so."
#[test]
fn no_read_is_confirmed_before_a_commit_in_the_leaders_term() {
    let mut solo = Start::of(3).log(&[1, 1]).solo();
    solo.leads();
    assert_eq!(ready(&read(&mut solo, 7)), []);
    assert_eq!(ready(&solo.receives(2, 2, Body::HeartbeatReply { round: 1 })), []);
    solo.persisted();
    let outputs = solo.acknowledged_by(2, 3);
    let round = round_to(&outputs, 2);
    let outputs = solo.receives(2, 2, Body::HeartbeatReply { round });
    assert_eq!(ready(&outputs), [(7, 3)], "the read uses the commit index of that moment, not 2");
}

/// "The leader saves its current commit index". Then it "issues a new round of heartbeats and waits for their
/// acknowledgments from a majority of the cluster".
#[test]
fn a_read_waits_for_a_round_that_began_after_it() {
    let mut solo = Start::of(5).solo();
    solo.leads_with_commit();
    let outputs = read(&mut solo, 1);
    let round = round_to(&outputs, 2);
    assert_eq!(ready(&solo.receives(2, 1, Body::HeartbeatReply { round: round - 1 })), []);
    assert_eq!(ready(&solo.receives(3, 1, Body::HeartbeatReply { round: round - 1 })), []);
    assert_eq!(ready(&solo.receives(2, 1, Body::HeartbeatReply { round })), []);
    assert_eq!(ready(&solo.receives(2, 1, Body::HeartbeatReply { round })), [], "a duplicate answer counts once");
    assert_eq!(ready(&solo.receives(4, 1, Body::HeartbeatReply { round: round + 1000 })), [], "there is no such round");
    assert_eq!(ready(&solo.receives(4, 1, Body::HeartbeatReply { round })), [(1, 1)]);
    assert_eq!(ready(&solo.receives(5, 1, Body::HeartbeatReply { round })), [], "answered once");
}

/// "the leader can use a single round of heartbeats for any number of read-only queries that it has accumulated."
#[test]
fn reads_share_rounds() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    let now = solo.now();
    for context in 0..1000 {
        solo.raft.read(now, ReadContext(context));
    }
    let outputs = solo.drain();
    assert_eq!(sent_to(&outputs, 2).len(), 1, "all reads share one round");
    let round = round_to(&outputs, 2);
    assert_eq!(ready(&solo.receives(2, 1, Body::HeartbeatReply { round })).len(), 1000);

    let mut rounds = 0;
    for context in 1000..2000 {
        rounds += sent_to(&read(&mut solo, context), 2).len();
    }
    assert!(rounds <= 4, "rounds in progress are bounded: {rounds}");
    let outputs = solo.receives(2, 1, Body::HeartbeatReply { round: round + 4 });
    let next = round_to(&outputs, 2);
    let outputs = solo.receives(2, 1, Body::HeartbeatReply { round: next });
    assert_eq!(ready(&outputs).len(), 1000 - 4);
}

/// "followers can ... ask the leader for its current read index" and wait for the answer. No read is answered twice.
#[test]
fn a_follower_asks_its_leader() {
    for learner in [false, true] {
        let members = if learner { configuration(&[2, 3], &[1]) } else { configuration(&[1, 2, 3], &[]) };
        let mut solo = Start::of(3).configuration(members).solo();
        assert_eq!(failed(&read(&mut solo, 1)), [1], "there is no leader");
        solo.receives(2, 1, heartbeat(0, 1));
        let outputs = read(&mut solo, 2);
        assert_eq!(sent_to(&outputs, 2), [Body::ReadIndex { context: ReadContext(2) }]);
        let reply = Body::ReadIndexReply { context: ReadContext(2), index: Some(Index(9)) };
        assert_eq!(ready(&solo.receives(2, 1, reply.clone())), [(2, 9)]);
        assert_eq!(ready(&solo.receives(2, 1, reply)), [], "a duplicate answer has no effect");
        read(&mut solo, 3);
        let reply = Body::ReadIndexReply { context: ReadContext(3), index: None };
        assert_eq!(failed(&solo.receives(2, 1, reply)), [3]);
    }
}

/// A forwarded read is always either confirmed or failed.
#[test]
fn a_forwarded_read_fails_in_the_end() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, heartbeat(0, 1));
    read(&mut solo, 1);
    solo.waits(500);
    solo.receives(2, 1, heartbeat(0, 2));
    read(&mut solo, 2);
    solo.waits(500);
    assert_eq!(solo.raft.deadline(), solo.now().monotonic + std::time::Duration::from_millis(500));
    assert_eq!(failed(&solo.receives(2, 2, heartbeat(0, 1))), [], "a failed read does not fail again");
    assert_eq!(failed(&solo.receives(3, 3, heartbeat(0, 1))), [2], "the new leader does not know the read");
    read(&mut solo, 3);
    solo.raft.unreachable(crate::network::id(3));
    assert_eq!(failed(&solo.drain()), [3]);
}

/// A leader that steps down fails all waiting reads: its own reads and the reads that other members forwarded.
#[test]
fn reads_fail_when_leadership_ends() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    read(&mut solo, 1);
    solo.receives(3, 1, Body::ReadIndex { context: ReadContext(5) });
    let outputs = solo.receives(2, 2, heartbeat(0, 1));
    assert_eq!(failed(&outputs), [1]);
    assert!(sent_to(&outputs, 3).contains(&Body::ReadIndexReply { context: ReadContext(5), index: None }));
}

/// A single voter confirms reads without an answer from another member.
#[test]
fn a_single_voter_confirms_alone() {
    let mut solo = Start::of(1).solo();
    solo.waits_until_deadline();
    solo.persisted();
    assert_eq!(ready(&read(&mut solo, 1)), [], "its no-op is not durable yet");
    assert_eq!(ready(&solo.persisted()), [(1, 1)]);
    assert_eq!(ready(&read(&mut solo, 2)), [(2, 1)]);
}

/// §4.3 with §6.4: in a joint configuration, a round needs both majorities.
#[test]
fn a_round_needs_both_majorities() {
    let mut solo = Start::of(3).configuration(configuration(&[1, 4, 5], &[2, 3])).solo();
    solo.leads_with_commit();
    for from in 2..=5 {
        solo.acknowledged_in_round(from, 1, 1);
    }
    let now = solo.now();
    solo.raft.change(now, change_to(Index(0), &[1, 2, 3], &[])).expect("legal");
    solo.drain();
    let outputs = read(&mut solo, 1);
    let round = round_to(&outputs, 2);
    assert_eq!(ready(&solo.receives(2, 1, Body::HeartbeatReply { round })), []);
    assert_eq!(
        ready(&solo.receives(3, 1, Body::HeartbeatReply { round })),
        [],
        "the incoming electorate alone is no quorum"
    );
    assert_eq!(ready(&solo.receives(4, 1, Body::HeartbeatReply { round })).len(), 1);
}

fn lease() -> Solo {
    let mut solo = Start::of(3).config(|config| config.lease_reads = true).solo();
    solo.leads_with_commit();
    solo
}

/// §6.4.1: "Once the leader's heartbeats were acknowledged by a majority of the cluster, the leader would extend its
/// lease to start + election timeout / clock drift bound". The lease is measured from the start of the round, not from
/// its answers.
#[test]
fn a_lease_runs_from_the_start_of_a_round() {
    let mut solo = lease();
    assert_eq!(ready(&read(&mut solo, 1)), [], "no round was answered yet, so there is no lease");
    let outputs = solo.waits(150);
    let round = round_to(&outputs, 2);
    let began = solo.now_ms;
    solo.waits(100);
    assert_eq!(
        ready(&solo.receives(2, 1, Body::HeartbeatReply { round })),
        [(1, 1)],
        "the answered round confirms the waiting read"
    );
    assert_eq!(ready(&read(&mut solo, 2)), [(2, 1)]);
    solo.now_ms = began + 499;
    assert_eq!(ready(&read(&mut solo, 3)), [(3, 1)]);
    solo.now_ms = began + 500;
    assert_eq!(ready(&read(&mut solo, 4)), [], "the lease has ended, so reads need a round");
}

/// §6.4.1: "the leader should expire its lease" before it sends TimeoutNow. Afterwards the leader has no lease for the
/// rest of its term.
#[test]
fn a_lease_ends_with_a_transfer_for_good() {
    let mut solo = lease();
    let outputs = solo.waits(150);
    let round = round_to(&outputs, 2);
    solo.receives(2, 1, Body::HeartbeatReply { round });
    assert_eq!(ready(&read(&mut solo, 1)), [(1, 1)]);
    let now = solo.now();
    solo.raft.transfer(now, crate::network::solo::member(2)).expect("starts");
    let outputs = solo.drain();
    assert!(sent(&outputs).iter().any(|(_, message)| matches!(message.body, Body::TimeoutNow { .. })));
    assert_eq!(ready(&read(&mut solo, 2)), []);
    // The target does not campaign. The transfer times out, and members answer rounds again.
    let mut latest = 0;
    for _ in 0..12 {
        let outputs = solo.waits(100);
        for (to, message) in sent(&outputs) {
            if let (2, Body::Heartbeat { round, .. }) = (to, message.body) {
                latest = round;
                solo.receives(2, 1, Body::HeartbeatReply { round });
            }
        }
    }
    solo.proposes(1);
    assert!(latest > round);
    assert_eq!(ready(&read(&mut solo, 3)), [], "TimeoutNow may still be in flight, so reads need a round");
}

/// A restarted member respects a lease that may depend on its answers before the crash.
#[test]
fn a_restarted_voter_refuses_votes_for_an_election_timeout() {
    let restored = raft::Restored {
        snapshot: raft::SnapshotMeta {
            configuration: configuration(&[1, 2, 3], &[]).into(),
            ..raft::SnapshotMeta::default()
        },
        ..raft::Restored::default()
    };
    let config = raft::Config::new(crate::network::id(1), 3);
    let at = |ms| raft::Now { monotonic: std::time::Duration::from_millis(ms), wall_ms: ms };
    let mut raft = raft::Raft::new(config, restored, at(5_000)).expect("sound");
    let request = |transfer| raft::Message { term: raft::Term(1), body: Body::Vote { last: entry_id(0, 0), transfer } };
    raft.step(at(5_999), crate::network::id(2), request(false));
    assert_eq!(
        raft.soft_state().term,
        raft::Term(0),
        "the request is ignored, because a lease may rest on an earlier answer"
    );
    raft.step(at(5_999), crate::network::id(3), request(true));
    assert_eq!(
        raft.soft_state().term,
        raft::Term(1),
        "a leadership transfer is granted, because the leader's lease has ended"
    );
}

/// §4.2.3: a server that "receives a RequestVote request within the minimum election timeout of hearing from a current
/// leader" "does not update its term or grant its vote". A late answer may have raised the server's term to the
/// candidate's term. The server must refuse its vote in this case, too, because the leader's lease may still rely on
/// the server's earlier answers.
#[test]
fn a_newer_term_does_not_end_the_trust_in_a_leader() {
    for receives_late_answer in [false, true] {
        let mut solo = Start::of(3).solo();
        solo.receives(2, 1, append(entry_id(0, 0), vec![entry(1, 1)], 0));
        solo.persisted();
        if receives_late_answer {
            solo.receives(3, 2, Body::VoteReply { granted: false });
            assert_eq!(solo.term(), 2);
            solo.persisted();
        }
        let ask = || Body::Vote { last: entry_id(1, 1), transfer: false };
        let mut outputs = solo.receives(3, 2, ask());
        outputs.extend(solo.persisted());
        assert!(!grants_vote(&outputs, 3), "its leader's lease may rest on its answers");
        solo.now_ms += 1_000;
        let mut outputs = solo.receives(3, 2, ask());
        outputs.extend(solo.persisted());
        assert!(grants_vote(&outputs, 3), "it grants the vote after an election timeout without that leader");
    }
}

/// A follower's read may wait for an entry that the follower does not know to be committed yet.
#[test]
fn a_read_index_may_be_ahead_of_the_followers_commit() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, append(entry_id(0, 0), vec![entry(1, 1)], 0));
    read(&mut solo, 1);
    let reply = Body::ReadIndexReply { context: ReadContext(1), index: Some(Index(5)) };
    assert_eq!(ready(&solo.receives(2, 1, reply)), [(1, 5)], "the driver waits until 5 is applied");
}
