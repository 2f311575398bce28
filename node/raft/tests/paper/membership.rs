//! Cluster membership changes (chapter 4), by joint consensus (§4.3).

use std::time::Duration;

use raft::{
    Body, ChangeRefusal, Configuration, Index, Output, Payload, ProposalId, ProposeRefusal, RemovalVerdict, Role,
};

use crate::network::solo::{Solo, Start, append, appends_to, grants_vote, heartbeat, member, persists, sent, sent_to};
use crate::network::{Cluster, change_to, configuration, entry_id, id, ids};

fn config_entry(term: u64, index: u64, configuration: Configuration) -> raft::Entry {
    raft::Entry { id: entry_id(term, index), time_ms: index, payload: Payload::Configuration(configuration.into()) }
}

fn joint(incoming: &[u64], outgoing: &[u64]) -> Configuration {
    let both_halves: Vec<u64> = incoming.iter().chain(outgoing).copied().collect();
    let mut joint = configuration(&both_halves, &[]);
    joint.voters = ids(incoming);
    joint.outgoing = ids(outgoing);
    joint
}

/// Returns a leader whose learners hold its whole log and have answered recently.
fn leader_with_learners(voters: &[u64], learners: &[u64]) -> Solo {
    let mut solo = Start::of(3).configuration(configuration(voters, learners)).solo();
    solo.leads();
    solo.persisted();
    for from in voters.iter().chain(learners).filter(|number| **number != 1) {
        solo.acknowledged_in_round(*from, 1, 1);
    }
    assert_eq!(solo.raft.commit(), Index(1));
    solo
}

fn change(solo: &mut Solo, voters: &[u64], learners: &[u64]) -> Result<Index, ChangeRefusal> {
    let expected = solo.raft.configuration().1;
    let now = solo.now();
    solo.raft.change(now, change_to(expected, voters, learners))
}

/// §4.1: "The new configuration takes effect on each server as soon as it is added to that server's log". The entry
/// need not be committed.
#[test]
fn a_configuration_is_in_force_when_appended() {
    let mut solo = Start::of(3).solo();
    let next = configuration(&[1, 2, 3], &[4]);
    solo.receives(2, 1, append(entry_id(0, 0), vec![config_entry(1, 1, next.clone())], 0));
    assert_eq!(solo.raft.configuration(), (&next, Index(1)));
    assert_eq!(solo.raft.committed_configuration(), (&configuration(&[1, 2, 3], &[]), Index(0)));
    solo.receives(2, 1, heartbeat(1, 1));
    assert_eq!(solo.raft.committed_configuration(), (&next, Index(1)));
}

/// §4.1: "a server must be prepared to fall back to the previous configuration in its log". A server does so when the
/// entry of the newer configuration is truncated.
#[test]
fn a_truncated_configuration_is_not_in_force_any_more() {
    let mut solo = Start::of(3).solo();
    let first = configuration(&[1, 2, 3], &[4]);
    let second = configuration(&[2, 3], &[]);
    let entries = vec![config_entry(1, 1, first.clone()), config_entry(1, 2, second)];
    solo.receives(2, 1, append(entry_id(0, 0), entries, 0));
    assert_eq!(solo.raft.configuration().1, Index(2));
    assert_eq!(solo.role(), Role::Follower, "it still has a vote in the committed configuration");
    solo.receives(3, 2, append(entry_id(1, 1), vec![crate::network::entry(2, 2)], 0));
    assert_eq!(solo.raft.configuration(), (&first, Index(1)));
}

/// The configuration depends only on snapshot and log. Every restart therefore restores it, even if only the snapshot
/// is left.
#[test]
fn a_restart_finds_the_same_configuration() {
    let mut cluster = Cluster::adjusted(3, 3, |config| {
        config.snapshot_threshold = 5;
        config.snapshot_trailing = 1;
    });
    cluster.elect();
    cluster.add_blank(4);
    cluster.reconfigure(&[1, 2, 3], &[4]);
    cluster.reconfigure(&[1, 2, 4], &[]);
    for _ in 0..30 {
        let leader = cluster.elect();
        cluster.propose(leader);
        cluster.run_ms(10);
    }
    for number in [1, 2, 4] {
        let before = cluster.raft(number).configuration().0.clone();
        let index = cluster.raft(number).configuration().1;
        assert!(
            cluster.member(number).disk.durable().snapshot.last.index >= index,
            "the snapshot has replaced the entry"
        );
        cluster.restart(number);
        assert_eq!(cluster.raft(number).configuration(), (&before, index), "{number}");
        assert_eq!(before.voters, ids(&[1, 2, 4]));
        assert_eq!(before.removed, ids(&[3]));
    }
}

/// §4.3: "log entries are replicated to all servers in both configurations" and "agreement requires majorities from
/// both the old and new configurations".
#[test]
fn a_joint_configuration_needs_both_majorities() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[4, 5]);
    let index = change(&mut solo, &[1, 4, 5], &[]).expect("legal");
    let outputs = solo.drain();
    for to in 2..=5 {
        assert_eq!(appends_to(&outputs, to).len(), 1, "to {to}");
    }
    let (now, _) = solo.raft.configuration();
    assert_eq!((&now.voters, &now.outgoing), (&ids(&[1, 4, 5]), &ids(&[1, 2, 3])));
    solo.persisted();
    solo.acknowledged_by(4, index.0);
    solo.acknowledged_by(5, index.0);
    assert_eq!(solo.raft.commit(), Index(1), "the incoming electorate alone does not commit");
    solo.acknowledged_by(2, index.0);
    assert_eq!(solo.raft.commit(), index);
}

/// §4.3: "Once Cold,new has been committed ... it is now safe for the leader to create a log entry describing Cnew".
/// The leader creates that entry automatically.
#[test]
fn a_joint_configuration_is_left_when_committed() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[4, 5]);
    let index = change(&mut solo, &[1, 4, 5], &[2]).expect("legal");
    solo.drain();
    solo.persisted();
    assert!(solo.raft.configuration().0.is_joint(), "not committed yet");
    assert_eq!(solo.raft.configuration().0.learners_next, ids(&[2]));
    solo.acknowledged_by(4, index.0);
    let outputs = solo.acknowledged_by(2, index.0);
    let left: Vec<_> = persists(&outputs).into_iter().flat_map(|persist| persist.entries).collect();
    assert_eq!(left.len(), 1);
    let (now, at) = solo.raft.configuration();
    assert_eq!((at, now.is_joint()), (index.next(), false));
    assert_eq!((&now.voters, &now.learners, &now.removed), (&ids(&[1, 4, 5]), &ids(&[2]), &ids(&[3])));
    assert_eq!(appends_to(&outputs, 3).len(), 1, "the outgoing electorate is served until the leave is committed");
}

/// §4.3: in a joint configuration, an election also needs both majorities.
#[test]
fn an_election_needs_both_majorities() {
    let mut solo = Start::of(3).configuration(joint(&[1, 2, 3], &[1, 4, 5])).solo();
    solo.campaigns();
    solo.receives(2, 1, Body::VoteReply { granted: true });
    solo.receives(3, 1, Body::VoteReply { granted: true });
    assert_eq!(solo.role(), Role::Candidate);
    solo.receives(5, 1, Body::VoteReply { granted: true });
    assert_eq!(solo.role(), Role::Leader);

    let mut lost = Start::of(3).configuration(joint(&[1, 2, 3], &[1, 4, 5])).solo();
    lost.campaigns();
    lost.receives(4, 1, Body::VoteReply { granted: false });
    lost.receives(5, 1, Body::VoteReply { granted: false });
    assert_eq!(lost.role(), Role::Follower, "one electorate refuses, so the election is lost");
}

/// §4.3, §4.2.2: if the leader crashes during a change, "a new leader may be chosen under either" configuration. The
/// new leader finishes the change.
#[test]
fn a_new_leader_finishes_its_predecessors_change() {
    let mut solo = Start::of(3).solo();
    let begun = joint(&[1, 2, 4], &[1, 2, 3]);
    solo.receives(2, 1, append(entry_id(0, 0), vec![config_entry(1, 1, begun)], 0));
    solo.persisted();
    solo.waits(3_000);
    solo.leads();
    solo.persisted();
    solo.acknowledged_by(2, 2);
    let outputs = solo.drain();
    assert_eq!((solo.raft.commit(), solo.raft.configuration().1), (Index(2), Index(3)), "{outputs:?}");
    assert_eq!(solo.raft.configuration().0.voters, ids(&[1, 2, 4]));
    assert!(!solo.raft.configuration().0.is_joint());
}

/// Ongaro 2015 (raft-dev, "bug in single-server membership changes"): a leader creates no configuration entry before it
/// has committed an entry of its own term.
#[test]
fn no_change_before_a_commit_in_the_leaders_term() {
    let mut solo = Start::of(3).configuration(configuration(&[1, 2, 3], &[4])).solo();
    solo.leads();
    solo.persisted();
    for from in 2..=4 {
        solo.receives(from, 1, Body::HeartbeatReply { round: 1 });
    }
    assert_eq!(change(&mut solo, &[1, 2, 3], &[]), Err(ChangeRefusal::TermNotCommitted));
    solo.acknowledged_by(2, 1);
    assert_eq!(change(&mut solo, &[1, 2, 3], &[]), Ok(Index(2)));
}

/// A change of only learners or addresses needs one step. As with any change, a second change must wait until the first
/// is committed.
#[test]
fn learners_come_and_go_in_one_step() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[4]);
    let index = change(&mut solo, &[1, 2, 3], &[5]).expect("legal");
    let (now, at) = solo.raft.configuration();
    assert_eq!((at, now.is_joint(), &now.learners, &now.removed), (index, false, &ids(&[5]), &ids(&[4])));
    assert_eq!(now.members.keys().copied().collect::<std::collections::BTreeSet<_>>(), ids(&[1, 2, 3, 5]));
    solo.drain();
    let busy = change(&mut solo, &[1, 2, 3], &[6]);
    assert_eq!(busy, Err(ChangeRefusal::InFlight { pending: index }));
    assert_eq!(change(&mut solo, &[1, 2, 3], &[5]), Ok(index), "the requested change is already in progress");
}

/// An illegal change is refused with a specific reason, and nothing enters the log.
#[test]
fn illegal_changes_are_refused_with_a_reason() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[4]);
    let last = solo.raft.last();
    let now = solo.now();
    assert_eq!(change(&mut solo, &[], &[4]), Err(ChangeRefusal::NoVoters));
    assert_eq!(change(&mut solo, &[1, 2, 3, 4], &[4]), Err(ChangeRefusal::Overlap { member: id(4) }));
    assert_eq!(change(&mut solo, &[1, 2, 3, 9], &[]), Err(ChangeRefusal::NotLearner { member: id(9) }));
    let many: Vec<u64> = (1..=10).collect();
    assert_eq!(change(&mut solo, &many, &[]), Err(ChangeRefusal::TooManyVoters { voters: 10, limit: 9 }));
    let mut nameless = change_to(Index(0), &[1, 2, 3], &[5]);
    nameless.members.remove(&id(5));
    assert_eq!(solo.raft.change(now, nameless), Err(ChangeRefusal::Unknown { member: id(5) }));
    let stale = solo.raft.change(now, change_to(Index(9), &[1, 2], &[]));
    assert_eq!(stale, Err(ChangeRefusal::Stale { expected: Index(9), actual: Index(0) }));
    assert_eq!(
        solo.raft.change(now, change_to(Index(9), &[1, 2, 3], &[4])),
        Ok(Index(0)),
        "the configuration is already the requested one"
    );
    solo.raft.transfer(now, member(2)).expect("starts");
    assert_eq!(change(&mut solo, &[1, 2, 3], &[]), Err(ChangeRefusal::Transferring { target: id(2) }));
    assert_eq!(solo.raft.last(), last, "nothing entered the log");
    let mut follower = Start::of(3).solo();
    follower.receives(2, 1, heartbeat(0, 1));
    assert_eq!(change(&mut follower, &[1, 2], &[]), Err(ChangeRefusal::NotLeader { leader: member(2) }));
}

/// §4.2.1: a new server must catch up before it becomes a voter.
#[test]
fn a_learner_votes_only_when_it_caught_up() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[4]);
    for number in 0..65 {
        solo.proposes(number);
    }
    assert_eq!(
        change(&mut solo, &[1, 2, 4], &[]),
        Err(ChangeRefusal::LearnerBehind { learner: id(4), lag: 65, limit: 64 })
    );
    solo.acknowledged_by(4, 2);
    assert!(change(&mut solo, &[1, 2, 4], &[]).is_ok());
}

/// A change is refused if too few of the requested voters answer, because it might never be committed.
#[test]
fn a_change_to_unreachable_voters_is_refused() {
    let mut solo = Start::of(3).configuration(configuration(&[1, 2, 3], &[4, 5])).solo();
    solo.leads();
    solo.persisted();
    solo.acknowledged_in_round(2, 1, 1);
    solo.acknowledged_in_round(3, 1, 1);
    solo.acknowledged_by(4, 1);
    solo.acknowledged_by(5, 1); // The leader knows the logs of 4 and 5, but not when these members last answered.
    assert_eq!(change(&mut solo, &[1, 4, 5], &[]), Err(ChangeRefusal::QuorumAtRisk { reachable: 1, voters: 3 }));
    solo.receives(4, 1, Body::HeartbeatReply { round: 1 });
    assert!(change(&mut solo, &[1, 4, 5], &[]).is_ok());
}

/// §4.2.2: a leader that a change removes manages the cluster "while it is not part of the configuration", until the
/// entry that leaves the joint configuration is committed. Meanwhile it does not count itself. Afterwards it transfers
/// leadership and steps down.
#[test]
fn a_removed_leader_transfers_leadership_and_leaves() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[]);
    let index = change(&mut solo, &[2, 3], &[]).expect("legal");
    solo.drain();
    solo.persisted();
    solo.acknowledged_by(2, index.0);
    assert!(
        solo.raft.configuration().0.is_joint(),
        "of the incoming {{2, 3}} only one holds it, and the leader does not count there"
    );
    solo.acknowledged_by(3, index.0);
    let leave = index.next();
    assert_eq!(solo.raft.configuration().1, leave);
    solo.persisted();
    solo.acknowledged_by(2, leave.0);
    assert_eq!((solo.raft.commit(), solo.role()), (index, Role::Leader), "its own copy does not count");
    let outputs = solo.acknowledged_by(3, leave.0);
    assert_eq!(solo.raft.commit(), leave);
    let handed = sent(&outputs).into_iter().filter(|(_, message)| matches!(message.body, Body::TimeoutNow { .. }));
    assert_eq!(handed.count(), 1, "{outputs:?}");
    let outputs = solo.receives(2, 2, Body::Vote { last: entry_id(1, leave.0), transfer: true });
    assert!(outputs.contains(&Output::Removed { index: leave }), "{outputs:?}");
    assert_eq!(solo.raft.deadline(), Duration::MAX, "a removed member has nothing to do any more");
}

/// §4.2.2: a removed leader continues to lead only for a limited time. If no member becomes leader before the transfer
/// times out, the removed leader steps down.
#[test]
fn a_removed_leader_without_a_successor_steps_down() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[]);
    let index = change(&mut solo, &[2, 3], &[]).expect("legal");
    for entry in [index, index.next()] {
        solo.drain();
        solo.persisted();
        solo.acknowledged_by(2, entry.0);
        solo.acknowledged_by(3, entry.0);
    }
    assert_eq!((solo.raft.commit(), solo.role()), (index.next(), Role::Leader), "it transfers leadership");
    let mut outputs = Vec::new();
    for _ in 0..10 {
        solo.now_ms += 100;
        for round in 2..30 {
            solo.receives(2, 1, Body::HeartbeatReply { round });
        }
        outputs.extend(solo.waits(0));
    }
    assert!(outputs.contains(&Output::Removed { index: index.next() }), "{outputs:?}");
}

/// IDs are never reused. A removed member can return only with an empty volume, which gives the member a new ID.
#[test]
fn a_removed_member_cannot_come_back() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[4]);
    change(&mut solo, &[1, 2, 3], &[]).expect("a learner is removed in one step");
    solo.drain();
    solo.persisted();
    solo.acknowledged_by_all();
    let last = solo.raft.last();
    assert_eq!(change(&mut solo, &[1, 2, 3], &[4]), Err(ChangeRefusal::WasRemoved { member: id(4) }));
    assert_eq!(solo.raft.last(), last, "nothing entered the log");
}

/// §4.2.2: "a server that is not part of its own latest configuration should still start new elections, as it might
/// still be needed until the Cnew entry is committed".
#[test]
fn a_member_left_out_campaigns_until_that_is_committed() {
    let mut solo = Start::of(3).solo();
    let without_it = configuration(&[2, 3, 4], &[]);
    solo.receives(2, 1, append(entry_id(0, 0), vec![config_entry(1, 1, without_it)], 0));
    solo.persisted();
    solo.waits(3_000);
    let outputs = solo.campaigns();
    let asked: Vec<u64> = sent(&outputs)
        .into_iter()
        .filter(|(_, message)| matches!(message.body, Body::Vote { .. }))
        .map(|(to, _)| to)
        .collect();
    assert_eq!(asked, [2, 3, 4], "it requests votes from the latest configuration");
    solo.receives(2, 2, Body::VoteReply { granted: true });
    assert_eq!(solo.role(), Role::Candidate, "its own vote does not count in that configuration");
    solo.receives(3, 2, Body::VoteReply { granted: true });
    assert_eq!(solo.role(), Role::Leader);
}

/// §4.2.3: removed servers do not disturb the cluster, and the other servers notify them of their removal.
#[test]
fn removed_members_are_notified_and_unknown_members_are_not() {
    let mut removed = configuration(&[1, 2], &[]);
    removed.removed = ids(&[3]);
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, append(entry_id(0, 0), vec![config_entry(1, 1, removed)], 0));
    solo.persisted();
    solo.waits(1_000);
    let ask = Body::PreVote { last: entry_id(9, 9) };
    let outputs = solo.receives(3, 9, ask.clone());
    assert!(!sent_to(&outputs, 3).iter().any(|body| matches!(body, Body::Removed { .. })), "not committed yet");
    solo.receives(2, 1, heartbeat(1, 1));
    solo.waits(1_500);
    assert_eq!(sent_to(&solo.receives(3, 9, ask.clone()), 3), [Body::Removed { index: Index(1) }]);
    assert_eq!(sent(&solo.receives(3, 9, Body::VoteReply { granted: true })), [], "answers are not answered");
    let outputs = solo.receives(8, 9, ask);
    assert_eq!(
        sent_to(&outputs, 8),
        [Body::PreVoteReply { granted: true }],
        "this log may lag the configuration that added the unknown member"
    );
}

/// A notice may be forged, so a member asks the other voters, and stops taking part only after one of them confirms it.
#[test]
fn a_member_verifies_a_notice_of_its_removal() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, append(entry_id(0, 0), vec![config_entry(1, 1, configuration(&[1, 2, 3], &[4]))], 1));
    assert_eq!(
        solo.receives(2, 1, Body::Removed { index: Index(1) }),
        [],
        "it knows a newer configuration that contains it"
    );
    assert_eq!(solo.receives(9, 1, Body::Removed { index: Index(7) }), [Output::VerifyRemoval], "of any sender");
    assert_eq!(solo.receives(2, 1, Body::Removed { index: Index(8) }), [], "one verification at a time");
    assert_eq!(solo.is_told(RemovalVerdict::Undecided), [Output::VerifyRemoval]);
    assert_eq!(solo.is_told(RemovalVerdict::Contained { index: Index(7) }), [Output::VerifyRemoval], "that voter lags");
    let outputs = solo.is_told(RemovalVerdict::Removed { index: Index(9) });
    assert!(outputs.contains(&Output::Removed { index: Index(9) }), "{outputs:?}");
    assert_eq!(solo.receives(2, 1, Body::Removed { index: Index(9) }), [], "once");
    assert_eq!(solo.is_told(RemovalVerdict::Removed { index: Index(9) }), [], "once");
    solo.waits(10_000);
    assert_ne!(solo.role(), Role::PreCandidate);
}

#[test]
fn a_refuted_notice_has_no_effect() {
    let refuted = |refute: fn(&mut Solo)| {
        let mut solo = Start::of(3).solo();
        assert_eq!(solo.receives(9, 1, Body::Removed { index: Index(7) }), [Output::VerifyRemoval]);
        refute(&mut solo);
        let outputs = solo.is_told(RemovalVerdict::Unreached);
        assert!(!outputs.contains(&Output::VerifyRemoval), "{outputs:?}");
        solo.persisted();
        solo.waits_until_deadline();
        assert_eq!(solo.role(), Role::PreCandidate, "it campaigns as before");
    };
    refuted(|solo| assert_eq!(solo.is_told(RemovalVerdict::Contained { index: Index(7) }), []));
    refuted(|solo| drop(solo.receives(2, 1, heartbeat(0, 1))));
    refuted(|solo| drop(solo.receives(2, 1, append(entry_id(0, 0), Vec::new(), 0))));
}

/// Such a member could not win an election. If it was removed, its votes would only disturb the cluster.
#[test]
fn a_member_that_cannot_verify_a_notice_does_not_campaign() {
    let mut solo = Start::of(3).solo();
    solo.receives(2, 1, heartbeat(0, 1));
    solo.persisted();
    assert_eq!(solo.receives(9, 1, Body::Removed { index: Index(7) }), [Output::VerifyRemoval]);
    assert!(solo.is_told(RemovalVerdict::Unreached).contains(&Output::VerifyRemoval));
    assert_eq!((solo.role(), solo.raft.soft_state().leader), (Role::Follower, None));
    let now = solo.now();
    let proposal = vec![(ProposalId(1), Payload::Normal(b"x".as_slice().into()))];
    assert_eq!(solo.raft.propose(now, proposal), Err(ProposeRefusal::NoLeader));
    assert_eq!(solo.raft.deadline(), Duration::MAX);
    for _ in 0..5 {
        assert_eq!(solo.waits(10_000), []);
    }
    let vote = Body::PreVote { last: entry_id(5, 5) };
    assert_eq!(sent_to(&solo.receives(3, 9, vote), 3), [Body::PreVoteReply { granted: true }], "it may be a voter");
    assert_eq!(solo.is_told(RemovalVerdict::Undecided), [Output::VerifyRemoval], "it reaches a voter again");
    solo.waits_until_deadline();
    assert_eq!(solo.role(), Role::PreCandidate);
}

#[test]
fn a_candidate_that_cannot_verify_a_notice_gives_up() {
    let mut solo = Start::of(3).solo();
    solo.campaigns();
    solo.receives(9, 1, Body::Removed { index: Index(7) });
    solo.is_told(RemovalVerdict::Unreached);
    assert_eq!(solo.role(), Role::Follower);
}

/// No other member could confirm the notice, and the member may hold the only copy of the data.
#[test]
fn a_member_without_other_voters_ignores_a_notice() {
    for configuration in [configuration(&[1], &[2]), Configuration::default()] {
        let mut solo = Start::of(1).configuration(configuration).solo();
        assert_eq!(solo.receives(2, 1, Body::Removed { index: Index(7) }), []);
    }
}

#[test]
fn a_leader_ignores_a_notice() {
    let mut solo = leader_with_learners(&[1, 2, 3], &[]);
    assert_eq!(solo.receives(2, 1, Body::Removed { index: Index(7) }), []);
    assert_eq!(solo.is_told(RemovalVerdict::Removed { index: Index(7) }), []);
    assert_eq!(solo.role(), Role::Leader);
}

/// A member also learns of its removal from its own log, when the entry of the configuration is committed.
#[test]
fn a_member_learns_its_removal_from_the_log() {
    let mut without_it = configuration(&[2, 3], &[]);
    without_it.removed = ids(&[1]);
    let mut solo = Start::of(3).solo();
    let outputs = solo.receives(2, 1, append(entry_id(0, 0), vec![config_entry(1, 1, without_it)], 0));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Removed { .. })), "appended is not committed");
    let outputs = solo.receives(2, 1, heartbeat(1, 1));
    assert!(outputs.contains(&Output::Removed { index: Index(1) }));
}

/// A member that has no configuration or no vote never campaigns.
#[test]
fn blank_members_and_learners_never_campaign() {
    for without_vote in [Configuration::default(), configuration(&[2, 3], &[1])] {
        let mut solo = Start::of(3).configuration(without_vote).solo();
        assert_eq!((solo.role(), solo.raft.deadline()), (Role::Learner, Duration::MAX));
        for _ in 0..10 {
            assert_eq!(solo.waits(10_000), []);
        }
        assert_eq!((solo.role(), solo.term()), (Role::Learner, 0));
    }
}

/// A voter that does not know yet that it is a voter answers vote requests (etcd#12359).
#[test]
fn learners_answer_votes() {
    let mut solo = Start::of(3).configuration(configuration(&[2, 3], &[1])).solo();
    let outputs = solo.receives(2, 1, Body::PreVote { last: entry_id(0, 0) });
    assert_eq!(sent_to(&outputs, 2), [Body::PreVoteReply { granted: true }]);
    solo.receives(2, 1, Body::Vote { last: entry_id(0, 0), transfer: false });
    assert!(grants_vote(&solo.persisted(), 2));
}

/// A learner forgets a leader that is silent. Otherwise it would continue to refer clients to that leader.
#[test]
fn a_learner_forgets_a_silent_leader() {
    let mut solo = Start::of(3).configuration(configuration(&[2, 3], &[1])).solo();
    solo.receives(2, 1, heartbeat(0, 1));
    assert_eq!(solo.raft.soft_state().leader, member(2));
    solo.waits_until_deadline();
    assert_eq!((solo.raft.soft_state().leader, solo.role()), (None, Role::Learner));
    assert_eq!(solo.raft.deadline(), Duration::MAX);
}

/// One change can replace any members, even the leader, by other members while the cluster serves clients.
#[test]
fn any_configuration_leads_to_any_other() {
    let targets: [(&[u64], &[u64]); 6] = [
        (&[1, 2, 3, 4, 5], &[]),
        (&[4, 5, 6], &[1]),
        (&[6], &[7]),
        (&[7], &[]),
        (&[7, 8, 9], &[10]),
        (&[8, 9, 10], &[]),
    ];
    let mut cluster = Cluster::of(3, 11);
    cluster.elect();
    for number in 4..=10 {
        cluster.add_blank(number);
    }
    for (voters, learners) in targets {
        // New voters are added as learners first, as the operator does.
        let leader = cluster.elect();
        let (now, _) = cluster.raft(leader).configuration();
        let old: Vec<u64> = now.voters.iter().map(|id| id.0).collect();
        let fresh = voters.iter().chain(learners).filter(|number| !old.contains(number)).copied();
        let mut first: Vec<u64> = fresh.collect();
        first.extend(now.learners.iter().map(|id| id.0).filter(|number| !first.contains(number)).collect::<Vec<_>>());
        cluster.reconfigure(&old, &first);
        cluster.reconfigure(voters, learners);
        let leader = cluster.elect();
        assert!(voters.contains(&leader), "a leader without a vote has stepped down");
        let content = cluster.propose(leader).expect("served");
        cluster.until("every member applied the entry", 5_000, |cluster| {
            voters.iter().chain(learners).all(|number| cluster.has_applied(*number, &content))
        });
    }
    cluster.until("the removed members know of their removal", 20_000, |cluster| {
        (1..=7).all(|number| cluster.member(number).removed.is_some())
    });
}
