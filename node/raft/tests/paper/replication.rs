//! Log replication (§3.5), commitment (§3.6), persistence (§3.8) and writing to the leader's disk in parallel
//! (§10.2.1).

use raft::{Body, DropReason, Index, Output, Payload, ProposalId, ProposeRefusal};

use crate::network::solo::{
    Start, accepted, append, appends_to, applies, heartbeat, persists, rejected, sent, sent_to,
};
use crate::network::{entry, entry_id, id};

/// §3.5: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to each
/// of the other servers", each with "the index and term of the entry in its log that immediately precedes the new
/// entries".
#[test]
fn a_proposal_is_appended_and_sent_to_every_member() {
    let mut solo = Start::of(3).log(&[1]).solo();
    solo.leads_with_commit();
    let outputs = solo.proposes(1);
    let written = persists(&outputs);
    assert_eq!(written[0].entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [entry_id(2, 3)]);
    for to in [2, 3] {
        let appends = appends_to(&outputs, to);
        assert_eq!(appends.len(), 1);
        assert_eq!(appends[0].prev, entry_id(2, 2));
        assert_eq!(appends[0].entries, written[0].entries);
    }
}

/// §3.4, §3.6.2: the first entry that a new leader appends is a no-op of its own term.
#[test]
fn a_new_leader_appends_a_no_op() {
    let mut solo = Start::of(3).log(&[1, 1]).solo();
    let outputs = solo.leads();
    let entries: Vec<_> = persists(&outputs).into_iter().flat_map(|persist| persist.entries).collect();
    assert_eq!((entries[0].id, &entries[0].payload), (entry_id(2, 3), &Payload::Noop));
}

/// §10.2.1: "the leader can write to its disk in parallel with replicating to the followers". The append is sent while
/// the write is in progress. The leader's own copy of the entry counts only when the copy is durable.
#[test]
fn the_leader_replicates_while_it_writes() {
    let mut solo = Start::of(3).solo();
    let outputs = solo.leads();
    assert_eq!(appends_to(&outputs, 2).len(), 1, "the append is sent before any acknowledgement");
    solo.acknowledged_by(2, 1);
    assert_eq!(solo.raft.commit(), Index(0), "one follower and a copy that is not durable are no majority of three");
    solo.persisted();
    assert_eq!(solo.raft.commit(), Index(1));

    let mut other = Start::of(3).solo();
    other.leads();
    other.acknowledged_by(2, 1);
    other.acknowledged_by(3, 1);
    assert_eq!(
        other.raft.commit(),
        Index(1),
        "§10.2.1: an entry may be committed before the leader's own disk holds it"
    );
}

/// §3.5: "A log entry is committed once the leader that created the entry has replicated it on a majority of the
/// servers."
#[test]
fn a_majority_commits() {
    for voters in 1..=7 {
        let mut solo = Start::of(voters).solo();
        solo.leads();
        solo.persisted();
        for from in 2..=voters {
            let holders = from;
            solo.acknowledged_by(from, 1);
            let expected = u64::from(holders * 2 > voters);
            assert_eq!(solo.raft.commit(), Index(expected), "{holders} of {voters}");
        }
        assert_eq!(solo.raft.commit(), Index(1));
    }
}

/// §3.5: "Once a follower learns that a log entry is committed, it applies the entry to its local state machine (in log
/// order)". The leader sends a new commit index immediately, without waiting for the next heartbeat.
#[test]
fn followers_learn_of_a_commit_at_once() {
    let mut leader = Start::of(3).solo();
    leader.leads_with_commit();
    leader.proposes(1);
    leader.persisted();
    let outputs = leader.acknowledged_by(2, 2);
    assert_eq!(applies(&outputs), [2]);
    assert_eq!(sent_to(&outputs, 2), [heartbeat(2, 0)], "it acknowledged the entry, so it gets the commit index");
    assert_eq!(sent_to(&outputs, 3), [], "it has not acknowledged the entry");
    let outputs = leader.acknowledged_by(3, 2);
    assert_eq!(sent_to(&outputs, 3), [heartbeat(2, 0)]);

    let mut follower = Start::of(3).solo();
    follower.receives(2, 1, append(entry_id(0, 0), vec![entry(1, 1), entry(1, 2)], 0));
    follower.persisted();
    assert_eq!(applies(&follower.receives(2, 1, heartbeat(1, 0))), [1]);
    assert_eq!(applies(&follower.receives(2, 1, append(entry_id(1, 2), vec![entry(1, 3)], 3))), [2, 3]);
}

/// §3.5: "If the follower does not find an entry in its log with the same index and term, then it refuses the new
/// entries."
#[test]
fn a_follower_checks_consistency() {
    let cases = [
        (&[1, 1][..], entry_id(1, 2), true),
        (&[1, 1], entry_id(1, 1), true),
        (&[1, 1], entry_id(0, 0), true),
        (&[1, 1], entry_id(1, 3), false),
        (&[1, 1], entry_id(2, 2), false),
        (&[1, 2], entry_id(1, 2), false),
    ];
    for (log, prev, agrees) in cases {
        let mut solo = Start::of(3).log(log).term(3).solo();
        let outputs = solo.receives(2, 3, append(prev, vec![], 0));
        assert_eq!(accepted(&outputs, 2), agrees.then_some(prev.index.0), "log {log:?}, prev {prev}");
        assert_eq!(rejected(&outputs, 2).is_some(), !agrees);
    }
}

/// §3.5: "If an existing entry conflicts with a new one (same index but different terms), delete the existing entry and
/// all that follow it" (figure 3.1). Without a conflict, no entry is deleted.
#[test]
fn only_conflicting_entries_are_removed() {
    let log = &[1, 1, 2];
    let cases = [
        ((1, 2), &[3][..], &[1, 1, 3][..]),
        ((1, 1), &[3, 3], &[1, 3, 3]),
        ((0, 0), &[3], &[3]),
        // Entries that agree with the append are kept, and so are the entries after them, even if the append arrives
        // late.
        ((0, 0), &[1], &[1, 1, 2]),
        ((1, 1), &[1, 2], &[1, 1, 2]),
        ((1, 2), &[2, 3], &[1, 1, 2, 3]),
    ];
    for ((term, index), brought, left) in cases {
        let mut solo = Start::of(3).log(log).term(3).solo();
        let entries = (index + 1..).zip(brought).map(|(at, term)| entry(*term, at)).collect();
        let outputs = solo.receives(2, 3, append(entry_id(term, index), entries, 0));
        assert_eq!(solo.raft.last(), entry_id(left[left.len() - 1], left.len() as u64), "{log:?} + {brought:?}");
        let written: Vec<u64> = persists(&outputs).iter().flat_map(|p| &p.entries).map(|e| e.id.term.0).collect();
        assert!(left.ends_with(&written), "only new entries are written: {written:?} of {left:?}");
    }
}

/// §3.5: "a leader never overwrites or deletes entries in its own log" (leader append-only, figure 3.2).
#[test]
fn a_leader_appends_only() {
    let mut solo = Start::of(3).log(&[1, 1]).solo();
    solo.leads();
    let last = solo.raft.last();
    solo.receives(2, 2, append(entry_id(0, 0), vec![entry(2, 1)], 0));
    solo.receives(2, 2, heartbeat(3, 1));
    assert_eq!((solo.raft.last(), solo.raft.commit()), (last, Index(0)));
}

/// §3.5: a refusal contains the last entry that may agree, so that the leader can skip whole terms.
#[test]
fn a_refusal_skips_whole_terms_on_the_followers_side() {
    let cases = [
        // Each case: the follower's log, the refused `prev`, and the expected hint.
        (&[1, 1, 1][..], (4, 9), (1, 3)),
        (&[1, 1, 2, 2, 2], (1, 5), (1, 2)),
        (&[2, 2, 2], (1, 3), (0, 0)),
        (&[1, 3, 3, 3, 5, 5], (4, 6), (3, 4)),
        (&[], (4, 9), (0, 0)),
    ];
    for (log, prev, hint) in cases {
        let mut solo = Start::of(3).log(log).term(9).solo();
        let outputs = solo.receives(2, 9, append(entry_id(prev.0, prev.1), vec![], 0));
        assert_eq!(rejected(&outputs, 2), Some((prev.1, entry_id(hint.0, hint.1))), "{log:?}, {prev:?}");
    }
}

/// §3.5: "the leader decrements nextIndex and retries". This leader skips whole terms of its own log.
#[test]
fn a_refusal_skips_whole_terms_on_the_leaders_side() {
    let cases = [
        // Each case: the leader's log before its no-op, the hint, and the expected next `prev`.
        (&[1, 1, 1, 1][..], (1, 2), (1, 2)),
        (&[1, 1, 3, 3, 3], (2, 5), (1, 2)),
        (&[1, 1, 3, 3, 3], (3, 4), (3, 4)),
        (&[2, 2], (1, 2), (0, 0)),
        (&[2, 2], (0, 0), (0, 0)),
    ];
    for (log, hint, prev) in cases {
        let mut solo = Start::of(3).log(log).solo();
        solo.leads();
        let outputs = solo.rejected_by(2, log.len() as u64, entry_id(hint.0, hint.1));
        let appends = appends_to(&outputs, 2);
        assert_eq!(appends[0].prev, entry_id(prev.0, prev.1), "{log:?}, hint {hint:?}");
        let outputs = solo.acknowledged_by(2, prev.1 + appends[0].entries.len() as u64);
        assert_eq!(appends_to(&outputs, 2), [], "the follower then has every entry");
    }
}

/// Figure 3.6 (figure 7 of the short paper): each of the followers' logs in the figure becomes equal to the leader's
/// log.
#[test]
fn figure_3_6_every_follower_converges() {
    let leader = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for (name, log) in ('a'..).zip(followers) {
        let mut lead = Start::of(7).log(leader).term(7).solo();
        let mut follower = Start::of(7).log(log).term(7).solo();
        let mut outputs = lead.leads();
        let mut messages = 0;
        // Both cores have ID 1. The leader knows the follower as member 2, and the follower knows the leader as member
        // 3.
        while lead.raft.progress()[&id(2)].matched < lead.raft.last().index {
            let mut answers = Vec::new();
            for body in sent_to(&outputs, 2) {
                messages += 1;
                let mut said = follower.receives(3, 8, body);
                said.extend(follower.persisted());
                answers.extend(sent_to(&said, 3));
            }
            assert!(messages < 10, "({name}) takes at most two messages per term");
            outputs = answers.into_iter().flat_map(|body| lead.receives(2, 8, body)).collect();
        }
        assert_eq!(follower.raft.last(), lead.raft.last(), "({name})");
    }
}

/// Figure 3.7 (figure 8 of the short paper): an entry of an earlier term is not committed by counting, even if a
/// majority holds it. The commit of an entry of the leader's own term also commits the earlier entry.
#[test]
fn figure_3_7_earlier_terms_commit_only_with_the_leaders_own() {
    // Step (c) of the figure: S1 holds an entry of term 2 at index 2 and leads term 4; S2 and S3 hold that entry, too.
    let mut solo = Start::of(5).log(&[1, 2]).term(3).solo();
    solo.leads();
    solo.persisted();
    solo.acknowledged_by(2, 2);
    solo.acknowledged_by(3, 2);
    solo.acknowledged_by(4, 2);
    assert_eq!(solo.raft.commit(), Index(0), "(d) may still happen: S5 can win with term 3 and overwrite it");
    // Step (e) of the figure: when a majority holds the entry of term 4, S5 cannot win.
    solo.acknowledged_by(2, 3);
    assert_eq!(solo.raft.commit(), Index(0));
    let outputs = solo.acknowledged_by(3, 3);
    assert_eq!(solo.raft.commit(), Index(3));
    assert_eq!(applies(&outputs), [1, 2, 3]);
}

/// §3.8, §3.5: an append is acknowledged up to its own last entry, when its entries are durable.
#[test]
fn an_append_is_acknowledged_when_durable() {
    let mut solo = Start::of(3).log(&[1, 1, 1]).solo();
    let outputs = solo.receives(2, 1, append(entry_id(1, 3), vec![entry(1, 4)], 0));
    assert_eq!(accepted(&outputs, 2), None);
    assert_eq!(accepted(&solo.persisted(), 2), Some(4));
    // Only index 2 is acknowledged, although the log is longer. Index 2 is durable already, so the answer is sent
    // immediately.
    let outputs = solo.receives(2, 1, append(entry_id(1, 1), vec![entry(1, 2)], 0));
    assert_eq!(accepted(&outputs, 2), Some(2));
}

/// §10.2.2: "the leader can pipeline AppendEntries". It sends appends without waiting for answers, up to a maximum
/// number in flight.
#[test]
fn appends_are_pipelined_within_the_window() {
    let mut solo = Start::of(3)
        .config(|config| {
            config.max_inflight_messages = 3;
            config.max_append_entries = 2;
        })
        .solo();
    solo.leads_with_commit();
    let mut appends = Vec::new();
    for number in 0..8 {
        appends.extend(appends_to(&solo.proposes(number), 2));
    }
    assert_eq!(appends.len(), 3, "the window is full");
    let outputs = solo.acknowledged_by(2, 2);
    let more = appends_to(&outputs, 2);
    assert_eq!(
        more.iter().map(|append| append.entries.len()).collect::<Vec<_>>(),
        [2],
        "the window admits one append, of two entries"
    );
    let outputs = solo.acknowledged_by(2, 4);
    assert_eq!(appends_to(&outputs, 2).iter().map(|append| append.entries.len()).collect::<Vec<_>>(), [2, 1]);
}

/// The bytes in flight are limited, too.
#[test]
fn the_window_counts_bytes() {
    let mut solo = Start::of(3).config(|config| config.max_inflight_bytes = 100).solo();
    solo.leads_with_commit();
    let now = solo.now();
    let mut sends = 0;
    for number in 0..5 {
        let payload = Payload::Normal(vec![0; 60].into());
        solo.raft.propose(now, vec![(ProposalId(number), payload)]).expect("taken");
        sends += appends_to(&solo.drain(), 2).len();
    }
    assert_eq!(sends, 2, "the second append fills the window");
}

/// All proposals between two requests for an output share one write and one append to each member.
#[test]
fn proposals_between_two_outputs_share_a_write() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    let now = solo.now();
    for number in 0..10 {
        solo.raft.propose(now, vec![(ProposalId(number), Payload::Barrier)]).expect("taken");
    }
    let outputs = solo.drain();
    assert_eq!(persists(&outputs).len(), 1);
    assert_eq!(appends_to(&outputs, 2).len(), 1);
}

/// §3.5: "If followers crash or run slowly, or if network packets are lost, the leader retries AppendEntries RPCs
/// indefinitely."
#[test]
fn answers_to_heartbeats_reveal_lost_appends() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    solo.proposes(1); // Lost.
    let outputs = solo.waits_until_deadline();
    let heartbeats = sent_to(&outputs, 2);
    let Some(Body::Heartbeat { round, .. }) = heartbeats.first() else { panic!("a heartbeat is due: {outputs:?}") };
    let asked = appends_to(&solo.receives(2, 1, Body::HeartbeatReply { round: *round }), 2);
    assert_eq!(
        (asked[0].prev, asked[0].entries.len()),
        (entry_id(1, 2), 0),
        "an empty append asks whether the last one arrived"
    );
    let resent = appends_to(&solo.rejected_by(2, 2, entry_id(1, 1)), 2);
    assert_eq!((resent[0].prev, resent[0].entries.len()), (entry_id(1, 1), 1));
    // If the probe is lost, too, the leader sends another probe after a later answer from the member.
    assert_eq!(
        appends_to(&solo.receives(2, 1, Body::HeartbeatReply { round: *round }), 2),
        [],
        "no probe within a heartbeat interval"
    );
    solo.waits(150);
    let again = appends_to(&solo.receives(2, 1, Body::HeartbeatReply { round: *round }), 2);
    assert_eq!((again[0].prev, &again[0].entries), (resent[0].prev, &resent[0].entries));
}

/// After a broken connection, the leader probes again from the entry after the last acknowledged one.
#[test]
fn a_broken_connection_restarts_after_the_last_match() {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    solo.proposes(1);
    solo.proposes(2);
    solo.raft.unreachable(id(2));
    solo.drain();
    let outputs = solo.receives(2, 1, Body::HeartbeatReply { round: 1 });
    let appends = appends_to(&outputs, 2);
    assert_eq!(appends.len(), 1, "one probe");
    assert_eq!((appends[0].prev, appends[0].entries.len()), (entry_id(1, 1), 2));
}

/// Figure 3.1: the follower's commit index becomes "min(leaderCommit, index of last new entry)".
#[test]
fn a_follower_commits_only_what_the_append_proves() {
    let mut solo = Start::of(3).log(&[1, 1, 1]).solo();
    solo.receives(2, 2, append(entry_id(1, 1), vec![], 9));
    assert_eq!(solo.raft.commit(), Index(1), "its entries 2 and 3 may differ from the leader's");
    solo.receives(2, 2, append(entry_id(1, 1), vec![entry(1, 2)], 9));
    assert_eq!(solo.raft.commit(), Index(2));
}

/// The time stamps of entries strictly increase, even when the wall clock is set back.
#[test]
fn time_stamps_strictly_increase() {
    let mut solo = Start::of(1).log(&[1]).solo();
    solo.waits_until_deadline();
    solo.persisted();
    let mut stamps = Vec::new();
    for (number, wall_ms) in [5_000_000, 4_000_000, 4_000_000, 6_000_000].into_iter().enumerate() {
        let now = raft::Now { wall_ms, ..solo.now() };
        solo.raft.propose(now, vec![(ProposalId(number as u64), Payload::Barrier)]).expect("taken");
        stamps.extend(persists(&solo.drain()).iter().flat_map(|p| &p.entries).map(|entry| entry.time_ms));
    }
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");
    assert_eq!(stamps[stamps.len() - 4..], [5_000_000, 5_000_001, 5_000_002, 6_000_000]);
}

/// §6.3, client interaction: a follower forwards proposals to its leader, and reports the proposals that the leader
/// refuses.
#[test]
fn a_follower_forwards_proposals() {
    let mut solo = Start::of(3).solo();
    let now = solo.now();
    let proposals = vec![(ProposalId(4), Payload::Barrier)];
    assert_eq!(solo.raft.propose(now, proposals.clone()), Err(ProposeRefusal::NoLeader));
    solo.receives(2, 1, heartbeat(0, 1));
    solo.raft.propose(now, proposals.clone()).expect("forwarded");
    assert_eq!(sent_to(&solo.drain(), 2), [Body::Propose { proposals }]);
    let refused = Body::ProposeRefused { proposals: vec![ProposalId(4)], reason: DropReason::Overloaded };
    let outputs = solo.receives(2, 1, refused);
    assert_eq!(outputs, [Output::Dropped { proposal: ProposalId(4), reason: DropReason::Overloaded }]);
}

/// The leader accepts a forwarded proposal only once, and refuses a proposal that exceeds the leader's limit.
#[test]
fn a_leader_accepts_a_forwarded_proposal_once() {
    let mut solo = Start::of(3).config(|config| config.limits.unsettled_bytes = 300).solo();
    solo.leads_with_commit();
    let propose = |number: u64, bytes: usize| {
        let payload = Payload::Normal(vec![0; bytes].into());
        Body::Propose { proposals: vec![(ProposalId(number), payload)] }
    };
    solo.receives(2, 1, propose(1, 100));
    solo.receives(2, 1, propose(1, 100));
    assert_eq!(solo.raft.last(), entry_id(1, 2), "the duplicate changes nothing");
    let outputs = solo.receives(2, 1, propose(2, 200));
    let refused = Body::ProposeRefused { proposals: vec![ProposalId(2)], reason: DropReason::Overloaded };
    assert_eq!(sent_to(&outputs, 2), [refused]);
    let now = solo.now();
    let own = solo.raft.propose(now, vec![(ProposalId(1), Payload::Normal(vec![0; 200].into()))]);
    assert_eq!(own, Err(ProposeRefusal::Overloaded));
    solo.persisted();
    solo.acknowledged_by_all();
    assert_eq!(
        sent(&solo.receives(2, 1, propose(2, 200))),
        [],
        "the original was refused, so a duplicate must not enter the log"
    );
    solo.receives(2, 1, propose(3, 9_000));
    assert_eq!(solo.raft.last(), entry_id(1, 3), "while nothing is uncommitted, even a large proposal is accepted");
    solo.receives(3, 1, propose(3, 10));
    assert_eq!(solo.raft.last(), entry_id(1, 3), "the same ID from another member is new, but exceeds the limit");
}

/// Neither a client nor another member can propose a configuration.
#[test]
fn configurations_cannot_be_proposed() {
    let mut solo = Start::of(1).solo();
    solo.waits_until_deadline();
    solo.persisted();
    solo.persisted();
    let now = solo.now();
    let foreign = Payload::Configuration(crate::network::configuration(&[9], &[]).into());
    let outcome = solo.raft.propose(now, vec![(ProposalId(1), foreign.clone())]);
    assert_eq!(outcome, Err(ProposeRefusal::Reserved));
    let last = solo.raft.last();
    solo.receives(2, 1, Body::Propose { proposals: vec![(ProposalId(1), foreign), (ProposalId(2), Payload::Noop)] });
    assert_eq!(solo.raft.last(), last);
}

/// The bytes of an append are limited; a single larger entry is sent alone.
#[test]
fn an_append_is_bounded_in_bytes() {
    let mut solo = Start::of(3).config(|config| config.max_append_bytes = 10).solo();
    solo.leads_with_commit();
    let sized = |name: u64, bytes: usize| (ProposalId(name), Payload::Normal(vec![0; bytes].into()));
    let now = solo.now();
    solo.raft.propose(now, vec![sized(1, 4), sized(2, 5), sized(3, 20), sized(4, 1)]).expect("taken");
    let outputs = solo.drain();
    let counts: Vec<usize> = appends_to(&outputs, 2).iter().map(|append| append.entries.len()).collect();
    assert_eq!(counts, [2, 1, 1]);
}
