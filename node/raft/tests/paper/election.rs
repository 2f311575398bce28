//! Leader election (§3.4), the restriction on it (§3.6.1), pre-vote (§9.6), disruptive servers (§4.2.3), check-quorum
//! (§6.2) and leadership transfer (§3.10).

use std::collections::BTreeSet;
use std::time::Duration;

use raft::{Body, HardState, MemberId, Output, ProposalId, ProposeRefusal, Role, Term, TransferRefusal};

use crate::network::solo::{Start, append, grants_vote, heartbeat, member, persists, sent, sent_to};
use crate::network::{entry, entry_id, id};

fn vote(term: u64, index: u64) -> Body {
    Body::Vote { last: entry_id(term, index), transfer: false }
}

/// §3.4: "When servers start up, they begin as followers."
#[test]
fn every_member_starts_as_follower() {
    let solo = Start::of(3).term(7).solo();
    assert_eq!((solo.role(), solo.term()), (Role::Follower, 7));
    assert_eq!(solo.raft.soft_state().leader, None);
}

/// §3.4: "A server remains in follower state as long as it receives valid RPCs from a leader or candidate."
#[test]
fn heartbeats_keep_a_follower() {
    let mut solo = Start::of(3).term(1).solo();
    for round in 1..100 {
        solo.waits(900);
        solo.receives(2, 1, heartbeat(0, round));
        assert_eq!((solo.role(), solo.term()), (Role::Follower, 1));
    }
}

/// §3.4: "To begin an election, a follower increments its current term and transitions to candidate state. It then
/// votes for itself and issues RequestVote RPCs in parallel to each of the other servers in the cluster."
#[test]
fn a_candidate_votes_for_itself_and_asks_every_other_member() {
    let mut solo = Start::of(3).term(2).solo();
    let outputs = solo.campaigns();
    let written: Vec<HardState> = persists(&outputs).into_iter().filter_map(|persist| persist.hard_state).collect();
    assert_eq!(written, [HardState { term: Term(3), vote: Some(id(1)) }]);
    let mut asked: Vec<u64> = Vec::new();
    for (to, message) in sent(&outputs) {
        if let Body::Vote { transfer, last } = message.body {
            assert_eq!((message.term, transfer, last), (Term(3), false, entry_id(0, 0)));
            asked.push(to);
        }
    }
    assert_eq!(asked, [2, 3]);
}

/// §3.4: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the
/// same term". A candidate becomes a follower when a majority refuses.
#[test]
fn a_majority_decides() {
    for voters in 1..=7 {
        for granting in 0..voters {
            let mut solo = Start::of(voters).solo();
            if voters == 1 {
                solo.waits_until_deadline();
                assert_eq!(solo.role(), Role::Candidate, "its own vote counts only when it is durable");
                solo.persisted();
                assert_eq!(solo.role(), Role::Leader);
                continue;
            }
            solo.campaigns();
            for from in 2..=voters {
                let term = solo.term();
                solo.receives(from, term, Body::VoteReply { granted: from <= granting + 1 });
            }
            let expected = if (granting + 1) * 2 > voters { Role::Leader } else { Role::Follower };
            assert_eq!(solo.role(), expected, "{} of {voters} votes", granting + 1);
        }
    }
}

/// §3.4: votes are counted per server, so two votes from one server count once.
#[test]
fn a_duplicate_vote_counts_once() {
    let mut solo = Start::of(5).solo();
    solo.campaigns();
    for _ in 0..5 {
        solo.receives(2, 1, Body::VoteReply { granted: true });
    }
    assert_eq!(solo.role(), Role::Candidate);
}

/// §3.4: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
#[test]
fn one_vote_per_term_first_come_first_served() {
    let mut solo = Start::of(3).term(1).solo();
    solo.receives(2, 2, vote(0, 0));
    assert!(grants_vote(&solo.persisted(), 2));
    assert!(!grants_vote(&solo.receives(3, 2, vote(9, 9)), 3));
    assert!(grants_vote(&solo.receives(2, 2, vote(0, 0)), 2), "the same candidate gets the same answer again");
    let outputs = solo.receives(3, 3, vote(0, 0));
    assert!(!grants_vote(&outputs, 3), "no vote is sent before it is durable");
    assert!(grants_vote(&solo.persisted(), 3), "a new term has a new vote");
}

/// §3.4: "If the leader's term (included in its RPC) is at least as large as the candidate's current term, then the
/// candidate recognizes the leader as legitimate and returns to follower state."
#[test]
fn a_candidate_yields_to_the_leader_of_its_term() {
    for body in [heartbeat(0, 1), append(entry_id(0, 0), vec![entry(1, 1)], 0)] {
        let mut solo = Start::of(3).solo();
        solo.campaigns();
        solo.receives(2, 1, body);
        assert_eq!((solo.role(), solo.raft.soft_state().leader), (Role::Follower, member(2)));
    }
}

/// §3.4: "election timeouts are chosen randomly from a fixed interval". The interval is [1×, 2×) of the configured
/// timeout, and every wait draws a new timeout.
#[test]
fn election_timeouts_are_random_within_the_interval() {
    let mut waits = BTreeSet::new();
    for seed in 0..200 {
        let solo = Start::of(3).config(|config| config.seed = seed).solo();
        let wait = solo.raft.deadline() - Duration::from_secs(10);
        assert!(wait >= Duration::from_secs(1) && wait < Duration::from_secs(2), "{wait:?}");
        waits.insert(wait.as_millis());
    }
    assert!(waits.len() > 150, "different seeds draw different waits: {} values", waits.len());

    let mut solo = Start::of(3).solo();
    let mut waits = BTreeSet::new();
    for _ in 0..50 {
        solo.waits_until_deadline();
        waits.insert((solo.raft.deadline() - solo.now().monotonic).as_micros());
    }
    assert!(waits.len() > 40, "every wait is drawn again: {} values", waits.len());
}

/// §3.4: "each candidate ... restarts its randomized election timeout at the start of an election". If the timeout
/// passes without a winner, the candidate starts another election.
#[test]
fn a_split_vote_leads_to_a_campaign_in_a_newer_term() {
    let mut solo = Start::of(5).config(|config| config.pre_vote = false).solo();
    solo.waits_until_deadline();
    solo.persisted();
    solo.receives(2, 1, Body::VoteReply { granted: true });
    assert_eq!((solo.role(), solo.term()), (Role::Candidate, 1));
    solo.waits_until_deadline();
    assert_eq!((solo.role(), solo.term()), (Role::Candidate, 2));
}

/// §3.4: after a silence, the timeout of the first election is about half as long as the timeouts of later elections,
/// so that a split vote costs little time. The later timeouts are longer, because otherwise a cluster with slow disks
/// would never elect a leader.
#[test]
fn the_first_election_is_short_and_later_ones_are_not() {
    let seconds = |range: std::ops::Range<f64>, wait: Duration| range.contains(&wait.as_secs_f64());
    for pre_vote in [false, true] {
        for seed in 0..50 {
            let config = |config: &mut raft::Config| (config.pre_vote, config.seed) = (pre_vote, seed);
            let mut solo = Start::of(3).config(config).solo();
            let mut waits = Vec::new();
            for _ in 0..3 {
                solo.waits_until_deadline();
                if pre_vote {
                    let term = solo.term() + 1;
                    solo.receives(2, term, Body::PreVoteReply { granted: true });
                }
                assert_eq!(solo.role(), Role::Candidate);
                waits.push(solo.raft.deadline() - solo.now().monotonic);
                solo.persisted();
            }
            assert!(seconds(0.5..1.0, waits[0]) && waits[1..].iter().all(|wait| seconds(1.0..2.0, *wait)), "{waits:?}");
        }
    }
}

/// §3.6.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate". Logs are compared
/// first by the term of the last entry, then by length.
#[test]
fn only_an_up_to_date_log_gets_a_vote() {
    let cases = [
        (&[1, 1][..], (1, 2), true),
        (&[1, 1], (1, 3), true),
        (&[1, 1], (1, 1), false),
        (&[1, 1], (2, 1), true),
        (&[1, 2], (1, 9), false),
        (&[1, 2], (2, 2), true),
        (&[], (0, 0), true),
    ];
    for (log, (term, index), granted) in cases {
        let mut solo = Start::of(3).log(log).term(5).solo();
        let mut outputs = solo.receives(2, 6, vote(term, index));
        outputs.extend(solo.persisted());
        assert_eq!(grants_vote(&outputs, 2), granted, "voter's log {log:?}, candidate's last entry {term}/{index}");
    }
}

/// §3.8: "a server must persist its current term and vote". It does so before it sends its vote, and before it requests
/// votes.
#[test]
fn no_promise_is_sent_before_it_is_durable() {
    let mut voter = Start::of(3).solo();
    let outputs = voter.receives(2, 1, vote(0, 0));
    assert_eq!(persists(&outputs)[0].hard_state, Some(HardState { term: Term(1), vote: Some(id(2)) }));
    assert_eq!(sent(&outputs), [], "no message is sent before the write is acknowledged");
    assert!(grants_vote(&voter.persisted(), 2));

    let mut candidate = Start::of(3).config(|config| config.pre_vote = false).solo();
    let outputs = candidate.waits_until_deadline();
    assert_eq!(sent(&outputs), []);
    assert_eq!(sent(&candidate.persisted()).len(), 2);
}

/// §9.6: "a candidate only increments its term if it first learns from a majority of the cluster that they would be
/// willing to grant the candidate their votes".
#[test]
fn a_pre_vote_changes_no_term() {
    let mut solo = Start::of(5).term(3).solo();
    let outputs = solo.waits_until_deadline();
    assert_eq!((solo.role(), solo.term()), (Role::PreCandidate, 3));
    assert!(sent(&outputs).iter().all(|(_, message)| message.term == Term(4)), "it asks for the term of its campaign");
    assert_eq!(persists(&outputs), []);
    solo.receives(2, 4, Body::PreVoteReply { granted: true });
    assert_eq!((solo.role(), solo.term()), (Role::PreCandidate, 3));
    solo.receives(3, 4, Body::PreVoteReply { granted: true });
    assert_eq!((solo.role(), solo.term()), (Role::Candidate, 4));

    let mut refused = Start::of(5).term(3).solo();
    refused.waits_until_deadline();
    for from in 2..=4 {
        refused.receives(from, 3, Body::PreVoteReply { granted: false });
    }
    assert_eq!((refused.role(), refused.term()), (Role::Follower, 3));
}

/// §9.6: a pre-vote request changes nothing at its receiver. The receiver refuses if the sender's log is shorter.
#[test]
fn answering_a_pre_vote_changes_nothing() {
    let mut solo = Start::of(3).log(&[1, 2]).solo();
    let before = solo.raft.deadline();
    let outputs = solo.receives(2, 3, Body::PreVote { last: entry_id(2, 2) });
    let granted = sent(&outputs);
    assert_eq!(granted[0].1.term, Term(3), "a grant carries the requested term");
    assert_eq!(granted[0].1.body, Body::PreVoteReply { granted: true });
    assert_eq!((solo.term(), solo.raft.deadline()), (2, before));
    assert_eq!(persists(&outputs), []);
    let outputs = solo.receives(3, 3, Body::PreVote { last: entry_id(2, 1) });
    assert_eq!(sent_to(&outputs, 3), [Body::PreVoteReply { granted: false }]);
    assert_eq!(sent(&outputs)[0].1.term, Term(2), "a refusal carries the receiver's term");
}

/// §9.6, §4.2.3: members that follow a live leader refuse a pre-vote. The leader itself refuses, too.
#[test]
fn a_live_leader_is_not_disturbed() {
    let mut follower = Start::of(3).term(1).solo();
    follower.receives(2, 1, heartbeat(0, 1));
    let outputs = follower.receives(3, 2, Body::PreVote { last: entry_id(9, 9) });
    assert_eq!(sent_to(&outputs, 3), [Body::PreVoteReply { granted: false }]);

    let mut leader = Start::of(3).solo();
    leader.leads();
    let outputs = leader.receives(3, 9, Body::PreVote { last: entry_id(9, 9) });
    assert_eq!(sent_to(&outputs, 3), [Body::PreVoteReply { granted: false }]);
    assert_eq!((leader.role(), leader.term()), (Role::Leader, 1));
}

/// §4.2.3: "if a server receives a RequestVote request within the minimum election timeout of hearing from a current
/// leader, it does not update its term or grant its vote".
#[test]
fn a_vote_request_within_the_minimum_timeout_is_ignored() {
    let mut solo = Start::of(3).term(1).solo();
    solo.receives(2, 1, heartbeat(0, 1));
    solo.waits(999);
    solo.receives(3, 9, vote(9, 9));
    assert_eq!(solo.term(), 1);
    solo.waits(1);
    solo.receives(3, 9, vote(9, 9));
    assert_eq!(solo.term(), 9);
    assert!(grants_vote(&solo.persisted(), 3));
}

/// §6.2: "a leader ... steps down if an election timeout elapses without a successful round of heartbeats to a
/// majority".
#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut solo = Start::of(5).solo();
    solo.leads_with_commit();
    let began = solo.now_ms;
    while solo.role() == Role::Leader {
        let outputs = solo.waits_until_deadline();
        // One of the four other members answers. Together with the leader, these are only two of five voters.
        for body in sent_to(&outputs, 2) {
            if let Body::Heartbeat { round, .. } = body {
                solo.receives(2, 1, Body::HeartbeatReply { round });
            }
        }
        assert!(solo.now_ms <= began + 1_000, "it steps down within one election timeout");
    }
    assert_eq!((solo.role(), solo.term()), (Role::Follower, 1), "its term stays the same");
}

/// §6.2: a leader continues to lead as long as a majority answers.
#[test]
fn a_leader_with_a_minimal_quorum_stays() {
    let mut solo = Start::of(5).solo();
    solo.leads_with_commit();
    for _ in 0..100 {
        let outputs = solo.waits_until_deadline();
        for (to, message) in sent(&outputs) {
            if let (2 | 3, Body::Heartbeat { round, .. }) = (to, message.body) {
                solo.receives(to, 1, Body::HeartbeatReply { round });
            }
        }
        assert_eq!(solo.role(), Role::Leader);
    }
}

/// §3.10: "The prior leader stops accepting new client requests". It brings the target up to date and then "sends a
/// TimeoutNow request".
#[test]
fn a_transfer_waits_for_the_targets_log() {
    let mut solo = Start::of(3).solo();
    solo.leads();
    solo.persisted();
    solo.acknowledged_by(3, 1);
    let now = solo.now();
    assert_eq!(solo.raft.transfer(now, member(2)), Ok(id(2)));
    let outputs = solo.drain();
    assert!(!sent_to(&outputs, 2).iter().any(|body| matches!(body, Body::TimeoutNow { .. })));
    let refusal = solo.raft.propose(now, vec![(ProposalId(9), raft::Payload::Barrier)]);
    assert_eq!(refusal, Err(ProposeRefusal::Transferring));
    let outputs = solo.acknowledged_by(2, 1);
    assert!(sent_to(&outputs, 2).contains(&Body::TimeoutNow { last: entry_id(1, 1) }));
    assert_eq!(solo.raft.transfer(now, member(3)), Err(TransferRefusal::InFlight { target: id(2) }));
    assert_eq!(solo.raft.transfer(now, member(9)), Err(TransferRefusal::NotVoter { target: id(9) }));
}

/// §3.10: "If leadership transfer does not complete after about an election timeout, the prior leader aborts the
/// transfer and resumes accepting client requests."
#[test]
fn a_transfer_that_takes_too_long_ends() {
    let mut solo = Start::of(3).config(|config| config.transfer_timeout = Duration::from_millis(400)).solo();
    solo.leads_with_commit();
    let now = solo.now();
    solo.raft.transfer(now, member(2)).expect("starts");
    solo.drain();
    solo.waits(399);
    let now = solo.now();
    assert!(solo.raft.propose(now, vec![(ProposalId(1), raft::Payload::Barrier)]).is_err());
    solo.waits(1);
    assert_eq!(solo.role(), Role::Leader);
    solo.proposes(2);
}

/// §3.10: the target "starts a new election ... exactly as if the target's election timer had triggered". Other members
/// grant their votes although they have just received a message from the leader.
#[test]
fn the_target_campaigns_at_once_and_gets_votes() {
    let mut target = Start::of(3).log(&[1]).solo();
    target.receives(2, 1, heartbeat(0, 1));
    target.receives(2, 1, Body::TimeoutNow { last: entry_id(1, 1) });
    assert_eq!((target.role(), target.term()), (Role::Candidate, 2));
    let outputs = target.persisted();
    assert_eq!(sent_to(&outputs, 3), [Body::Vote { last: entry_id(1, 1), transfer: true }]);

    let mut voter = Start::of(3).log(&[1]).solo();
    voter.receives(2, 1, heartbeat(0, 1));
    voter.receives(3, 2, Body::Vote { last: entry_id(1, 1), transfer: true });
    assert!(grants_vote(&voter.persisted(), 3));
}

/// §3.10: a target campaigns only if its durable log reaches the leader's last entry, and only if the request comes
/// from its current leader.
#[test]
fn a_premature_request_to_campaign_or_one_from_another_member_is_ignored() {
    let mut solo = Start::of(3).log(&[1]).solo();
    solo.receives(2, 1, Body::TimeoutNow { last: entry_id(1, 1) });
    assert_eq!(solo.role(), Role::Follower, "it does not know that 2 leads");
    solo.receives(2, 1, append(entry_id(1, 1), vec![entry(1, 2)], 1));
    solo.receives(2, 1, Body::TimeoutNow { last: entry_id(1, 2) });
    assert_eq!(solo.role(), Role::Follower, "its log is not durable yet");
    solo.receives(2, 1, Body::TimeoutNow { last: entry_id(1, 3) });
    assert_eq!(solo.role(), Role::Follower, "its log is too short");
    solo.persisted();
    solo.receives(3, 1, Body::TimeoutNow { last: entry_id(1, 2) });
    assert_eq!(solo.role(), Role::Follower, "3 does not lead");
    solo.receives(2, 1, Body::TimeoutNow { last: entry_id(1, 2) });
    assert_eq!(solo.role(), Role::Candidate);
}

/// If a transfer is requested without a target, the leader chooses the voter with the longest log among those that
/// answered recently.
#[test]
fn the_best_successor_has_the_longest_log_among_active_voters() {
    let mut solo = Start::of(5).solo();
    solo.leads();
    solo.persisted();
    let now = solo.now();
    assert_eq!(solo.raft.transfer(now, None), Err(TransferRefusal::NoTarget), "no other voter answered");
    solo.proposes(1);
    solo.acknowledged_in_round(3, 2, 1);
    solo.acknowledged_in_round(4, 1, 1);
    let now = solo.now();
    assert_eq!(solo.raft.transfer(now, None), Ok(id(3)));
    assert_eq!(
        solo.raft.transfer(now, member(1)),
        Ok(id(1)),
        "a transfer to the leader itself succeeds without effect"
    );
    let leaderless = Start::of(3).solo().raft.transfer(now, None);
    assert_eq!(leaderless, Err(TransferRefusal::NotLeader));
}

/// Every change of the role is reported exactly once.
#[test]
fn role_changes_are_reported() {
    let mut solo = Start::of(1).solo();
    let mut outputs = solo.waits_until_deadline();
    outputs.extend(solo.persisted());
    let roles: Vec<(Role, Option<MemberId>)> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Changed(state) => Some((state.role, state.leader)),
            _ => None,
        })
        .collect();
    assert_eq!(roles, [(Role::Candidate, None), (Role::Leader, member(1))]);
}
