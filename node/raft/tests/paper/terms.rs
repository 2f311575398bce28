//! Terms (§3.3).

use crate::network::solo::{Start, accepted, append, grants_vote, heartbeat, sent_to};
use crate::network::{entry, entry_id};
use raft::{Body, Role};

/// "If one server's current term is smaller than the other's, then it updates its current term to the larger value."
#[test]
fn a_newer_term_is_taken_over_from_any_message() {
    let bodies = [
        heartbeat(0, 1),
        append(entry_id(0, 0), vec![], 0),
        Body::Vote { last: entry_id(0, 0), transfer: false },
        Body::VoteReply { granted: false },
        Body::PreVoteReply { granted: false },
        Body::HeartbeatReply { round: 0 },
    ];
    for body in bodies {
        let mut solo = Start::of(3).term(2).solo();
        solo.receives(2, 5, body.clone());
        assert_eq!(solo.term(), 5, "after {body:?}");
    }
}

/// "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
#[test]
fn candidates_and_leaders_step_back_for_a_newer_term() {
    let mut candidate = Start::of(3).solo();
    candidate.campaigns();
    candidate.receives(2, 5, Body::VoteReply { granted: false });
    assert_eq!((candidate.role(), candidate.term()), (Role::Follower, 5));

    let mut leader = Start::of(3).solo();
    leader.leads();
    leader.receives(2, 5, heartbeat(0, 1));
    assert_eq!((leader.role(), leader.term()), (Role::Follower, 5));
    assert_eq!(leader.raft.soft_state().leader, crate::network::solo::member(2));
}

/// "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn stale_requests_are_rejected_and_their_senders_learn_the_term() {
    let mut solo = Start::of(3).term(5).solo();
    let outputs = solo.receives(2, 4, append(entry_id(0, 0), vec![entry(4, 1)], 1));
    assert_eq!(accepted(&outputs, 2), None);
    assert_eq!(solo.raft.last(), entry_id(0, 0), "no entry was appended");
    let answers = crate::network::solo::sent(&outputs);
    assert!(
        answers.iter().all(|(_, message)| message.term.0 == 5) && !answers.is_empty(),
        "the sender learns the term"
    );

    let outputs = solo.receives(2, 4, Body::Vote { last: entry_id(4, 9), transfer: false });
    assert!(!grants_vote(&outputs, 2));
    assert_eq!(sent_to(&outputs, 2), [Body::VoteReply { granted: false }]);
}

/// "Current terms are exchanged whenever servers communicate", but replies of an older term are ignored.
#[test]
fn stale_answers_are_ignored() {
    let mut solo = Start::of(5).term(4).solo();
    solo.campaigns();
    for from in 2..=5 {
        solo.receives(from, 4, Body::VoteReply { granted: true });
    }
    assert_eq!((solo.role(), solo.term()), (Role::Candidate, 5), "votes of term 4 do not count in term 5");
}
