//! Late, duplicate and false acknowledgements, answers and requests.

use std::time::Duration;

use raft::{AppendReply, Body, Index, Message, Output, ReadContext, Role, Term};

use crate::network::solo::{Start, accepted, append, grants_vote, heartbeat, member, sent, sent_to};
use crate::network::{entry, entry_id, id};

/// hashicorp/raft#695: an answer to a heartbeat raised the term of a leader, which continued to append in the new term.
#[test]
fn a_leader_never_sends_in_a_term_that_it_did_not_win() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    let mut outputs = solo.receives(2, 4, Body::HeartbeatReply { round: 1 });
    for _ in 0..20 {
        outputs.extend(solo.waits(100));
        outputs.extend(solo.acknowledged_by(3, 1));
    }
    for (_, message) in sent(&outputs) {
        assert!(!matches!(message.body, Body::Append(_) | Body::Heartbeat { .. }), "{message:?}");
    }
    let now = solo.now();
    assert!(solo.raft.propose(now, vec![(raft::ProposalId(1), raft::Payload::Barrier)]).is_err());
}

/// CCF#6016, openraft cecb5de8: an acknowledgement counted although its entries had been truncated.
#[test]
fn a_write_of_truncated_entries_acknowledges_nothing() {
    let mut solo = Start::of(3).log(&[1]).solo();
    solo.receives(2, 1, append(entry_id(1, 1), vec![entry(1, 2), entry(1, 3), entry(1, 4)], 0));
    let first = solo.issued.expect("under way");
    solo.receives(3, 2, append(entry_id(1, 1), vec![entry(2, 2)], 0));
    let now = solo.now();
    solo.raft.persisted(now, first);
    let outputs = solo.drain();
    assert_eq!(accepted(&outputs, 2), None, "its leader is deposed, and its entries are truncated");
    assert_eq!(accepted(&outputs, 3), None, "the new leader's entries are not durable");
    let outputs = solo.persisted();
    assert_eq!((accepted(&outputs, 2), accepted(&outputs, 3)), (None, Some(2)));
}

/// An acknowledgement of truncated entries must not count, even if the log has grown longer than before the truncation.
#[test]
fn durability_ends_where_the_log_was_truncated() {
    let mut solo = Start::of(3).log(&[1]).solo();
    solo.receives(2, 1, append(entry_id(1, 1), (2..=6).map(|index| entry(1, index)).collect(), 0));
    let first = solo.issued.expect("under way");
    solo.receives(3, 2, append(entry_id(1, 3), (4..=9).map(|index| entry(2, index)).collect(), 0));
    let now = solo.now();
    solo.raft.persisted(now, first);
    solo.drain();
    let outputs = solo.receives(3, 2, append(entry_id(1, 3), vec![entry(2, 4)], 0));
    assert_eq!(accepted(&outputs, 3), None, "the durable write carried another entry 4, of an older term");
    assert_eq!(accepted(&solo.persisted(), 3), Some(9));
}

/// CCF#6016 on a leader: an acknowledgement beyond the end of the leader's log is ignored.
#[test]
fn an_acknowledgement_past_the_log_is_ignored() {
    let mut solo = Start::of(3).solo();
    solo.leads();
    solo.persisted();
    solo.acknowledged_by(2, 900);
    assert_eq!((solo.raft.commit(), solo.raft.progress()[&id(2)].matched), (Index(0), Index(0)));
    solo.acknowledged_by(9, 1);
    assert_eq!(solo.raft.commit(), Index(0), "an acknowledgement of an unknown member does not count");
}

/// A late refusal does not cancel an earlier acknowledgement.
#[test]
fn a_late_refusal_revokes_nothing() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    solo.proposes(1);
    solo.proposes(2);
    solo.acknowledged_by(2, 3);
    let before = solo.raft.progress()[&id(2)];
    for prev in 0..=3 {
        solo.rejected_by(2, prev, entry_id(0, 0));
        assert_eq!(solo.raft.progress()[&id(2)], before, "refusal of {prev}");
    }
}

/// etcd#20418: with retried contexts and delayed acknowledgements, a read was confirmed without a round of its own.
#[test]
fn delayed_and_duplicate_answers_confirm_no_read() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    let round_of = |outputs: &[Output]| match sent_to(outputs, 2).first() {
        Some(Body::Heartbeat { round, .. }) => *round,
        other => panic!("a round begins: {other:?}"),
    };
    let now = solo.now();
    solo.raft.read(now, ReadContext(1));
    let first = round_of(&solo.drain());
    solo.receives(2, 1, Body::HeartbeatReply { round: first });
    let now = solo.now();
    solo.raft.read(now, ReadContext(2));
    let second = round_of(&solo.drain());
    assert!(second > first, "rounds are never reused");
    for _ in 0..3 {
        let outputs = solo.receives(2, 1, Body::HeartbeatReply { round: first });
        assert_eq!(outputs, [], "an answer to the first round proves nothing about the second");
        let late = AppendReply::Accepted { matched: Index(1), round: first };
        assert_eq!(solo.receives(3, 1, Body::AppendReply(late)), []);
    }
    let outputs = solo.receives(3, 1, Body::HeartbeatReply { round: second });
    assert_eq!(outputs, [Output::ReadReady { context: ReadContext(2), index: Index(1) }]);
}

/// raft-rs#234: TimeoutNow arrives long after the transfer was aborted.
#[test]
fn a_late_request_to_campaign_finds_no_lease() {
    let mut solo = Start::of(3).config(|config| config.lease_reads = true).solo();
    solo.leads_with_commit();
    let now = solo.now();
    solo.raft.transfer(now, member(2)).expect("starts");
    solo.drain();
    // The transfer is aborted, and rounds are answered for a long time. Then member 2 wins the election that TimeoutNow
    // requested.
    for _ in 0..50 {
        let outputs = solo.waits(100);
        for (to, message) in sent(&outputs) {
            if let Body::Heartbeat { round, .. } = message.body {
                solo.receives(to, 1, Body::HeartbeatReply { round });
            }
        }
        let now = solo.now();
        solo.raft.read(now, ReadContext(solo.now_ms));
        let outputs = solo.drain();
        assert!(!outputs.iter().any(|output| matches!(output, Output::ReadReady { .. })), "only a round may serve");
    }
    assert_eq!(solo.role(), Role::Leader);
    // Member 2 can win although the leader is alive: because of the transfer, a voter grants its vote to member 2 even
    // if the voter has just received a heartbeat from the leader.
    let mut voter = Start::of(3).solo();
    voter.receives(3, 1, heartbeat(0, 1));
    voter.receives(2, 2, Body::Vote { last: entry_id(1, 1), transfer: true });
    assert!(grants_vote(&voter.persisted(), 2));
}

/// tikv#8381, redpanda#19: a member that stepped down forgot its vote.
#[test]
fn stepping_down_keeps_the_vote() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    solo.waits(1_000);
    assert_eq!((solo.role(), solo.term()), (Role::Follower, 1), "no quorum answered");
    solo.waits(0);
    let mut outputs = solo.receives(3, 1, Body::Vote { last: entry_id(9, 9), transfer: false });
    outputs.extend(solo.persisted());
    assert!(!grants_vote(&outputs, 3), "it voted for itself in term 1");

    let mut restarted = Start::of(3).term(1).vote(2).solo();
    assert!(!grants_vote(&restarted.receives(3, 1, Body::Vote { last: entry_id(0, 0), transfer: false }), 3));
    assert!(grants_vote(&restarted.receives(2, 1, Body::Vote { last: entry_id(0, 0), transfer: false }), 2));
}

/// A vote that was granted in one term is not sent in the next term.
#[test]
fn a_promise_of_an_earlier_term_is_dropped() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, Body::Vote { last: entry_id(0, 0), transfer: false });
    solo.receives(3, 2, Body::Vote { last: entry_id(0, 0), transfer: false });
    let outputs = solo.persisted();
    assert!(!grants_vote(&outputs, 2));
    assert!(grants_vote(&outputs, 3));
    assert!(sent(&outputs).iter().all(|(_, message)| message.term == Term(2)));
}

/// openraft#2080: a leader without a quorum refused proposals but continued to send heartbeats. Therefore no other
/// member could become leader.
#[test]
fn a_leader_that_stepped_down_is_silent() {
    let mut solo = Start::of(5).solo();
    solo.leads_with_commit();
    solo.waits(1_000);
    assert_eq!(solo.role(), Role::Follower, "no quorum answered for an election timeout");
    for _ in 0..5 {
        for (_, Message { body, .. }) in sent(&solo.waits(200)) {
            assert!(matches!(body, Body::PreVote { .. }), "{body:?}");
        }
    }
}

/// Acknowledgements may arrive in any order; the highest acknowledged index counts.
#[test]
fn acknowledgements_are_cumulative_in_any_order() {
    let orders: [[u64; 4]; 4] = [[2, 3, 4, 5], [5, 4, 3, 2], [3, 5, 2, 4], [4, 2, 5, 3]];
    for order in orders {
        let mut solo = Start::of(3).solo();
        solo.leads_with_commit();
        for number in 0..4 {
            solo.proposes(number);
        }
        solo.persisted();
        for matched in order {
            solo.acknowledged_by(2, matched);
        }
        assert_eq!(solo.raft.commit(), Index(5), "{order:?}");
        assert_eq!(solo.raft.progress()[&id(2)].next, Index(6));
    }
}

/// No timeout passes while the monotonic clock does not advance, even if the wall clock jumps.
#[test]
fn only_monotonic_time_ends_waits() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, heartbeat(0, 1));
    let now = solo.now();
    let jumped = raft::Now { wall_ms: now.wall_ms + 3_600_000, ..now };
    solo.raft.tick(jumped);
    assert_eq!((solo.drain(), solo.role()), (vec![], Role::Follower));
    let back = raft::Now { monotonic: now.monotonic - Duration::from_secs(5), wall_ms: 0 };
    solo.raft.tick(back);
    assert_eq!((solo.drain(), solo.role()), (vec![], Role::Follower));
}
