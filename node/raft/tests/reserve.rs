//! Members whose volumes are short of space: who campaigns, who leads, and which proposals a leader refuses. The driver
//! alone measures space, so the tests set it.

#[path = "network/cluster.rs"]
mod network;

use network::solo::{Solo, Start, heartbeat, member, sent, sent_to};
use network::{Cluster, change_to, configuration, id};
use raft::{
    Body, ChangeRefusal, Config, DropReason, Index, Output, Payload, ProposalId, ProposeRefusal, Role, Standing,
};

/// Contents that begin with `p` add something, as those of [`Cluster::propose`] do.
fn puts_add_content(config: &mut Config) {
    config.adds_content = |content| content.starts_with(b"p");
}

fn stand(solo: &mut Solo, standing: Standing) -> Vec<Output> {
    let now = solo.now();
    solo.raft.set_standing(now, standing);
    solo.drain()
}

fn propose(solo: &mut Solo, number: u64, content: &'static [u8]) -> Result<(), ProposeRefusal> {
    let now = solo.now();
    let outcome = solo.raft.propose(now, vec![(ProposalId(number), Payload::Normal(content.into()))]);
    solo.drain();
    outcome
}

fn leader(voters: u64) -> Solo {
    let mut solo = Start::of(voters).config(puts_add_content).solo();
    solo.leads_with_commit();
    for _ in 0..15 {
        beat(&mut solo);
    }
    solo
}

fn says(solo: &mut Solo, from: u64, standing: Standing) -> Vec<Output> {
    let term = solo.term();
    solo.receives(from, term, Body::Standing(standing))
}

/// Time passes until the leader's next heartbeat, which the others answer.
fn beat(solo: &mut Solo) -> Vec<Output> {
    let outputs = solo.waits(150);
    let term = solo.term();
    for (to, message) in sent(&outputs) {
        if let Body::Heartbeat { round, .. } = message.body {
            solo.receives(to, term, Body::HeartbeatReply { round });
        }
    }
    outputs
}

fn asked_to_campaign(outputs: &[Output]) -> Vec<u64> {
    let asked = sent(outputs).into_iter().filter(|(_, message)| matches!(message.body, Body::TimeoutNow { .. }));
    asked.map(|(to, _)| to).collect()
}

#[test]
fn a_follower_says_beside_each_answer_that_it_is_below_its_reserve() {
    let mut solo = Start::of(3).solo();
    let answer = Body::HeartbeatReply { round: 1 };
    assert_eq!(sent_to(&solo.receives(2, 1, heartbeat(0, 1)), 2), [answer], "above: nothing is said");
    let below = Body::Standing(Standing::Below);
    assert_eq!(sent_to(&stand(&mut solo, Standing::Below), 2), std::slice::from_ref(&below), "at once");
    assert_eq!(sent_to(&stand(&mut solo, Standing::Below), 2), [], "it did not change");
    for round in 2..5 {
        let answer = Body::HeartbeatReply { round };
        assert_eq!(sent_to(&solo.receives(2, 1, heartbeat(0, round)), 2), [answer, below.clone()]);
    }
    assert_eq!(sent_to(&stand(&mut solo, Standing::Above), 2), [Body::Standing(Standing::Above)]);
    assert_eq!(sent_to(&solo.receives(2, 1, heartbeat(0, 9)), 2), [Body::HeartbeatReply { round: 9 }]);
}

/// A voter below its reserve lets two waits end before it campaigns, and an exhausted one four. Both campaign then: the
/// other voters may all be short of space, or lack entries.
#[test]
fn a_voter_below_its_reserve_campaigns_later_but_does_campaign() {
    for (standing, left) in [(Standing::Above, 0), (Standing::Below, 2), (Standing::Exhausted, 4)] {
        let mut solo = Start::of(3).solo();
        stand(&mut solo, standing);
        for wait in 0..left {
            let outputs = solo.waits_until_deadline();
            assert_eq!((sent(&outputs), solo.role()), (vec![], Role::Follower), "{standing:?}: wait {wait}");
        }
        for _ in 0..3 {
            let outputs = solo.waits_until_deadline();
            assert_eq!((sent(&outputs).len(), solo.role()), (2, Role::PreCandidate), "{standing:?}");
        }
        solo.receives(2, 1, heartbeat(0, 1));
        solo.persisted();
        solo.waits_until_deadline();
        let expected = if left == 0 { Role::PreCandidate } else { Role::Follower };
        assert_eq!(solo.role(), expected, "{standing:?}: a leader was heard, so it waits anew");
    }
}

#[test]
fn a_single_voter_campaigns_at_once() {
    let mut solo = Start::of(1).solo();
    stand(&mut solo, Standing::Exhausted);
    solo.waits_until_deadline();
    assert_eq!(solo.role(), Role::Candidate);
}

/// The leader has chosen this member, so a refusal would only prolong the transfer.
#[test]
fn a_voter_below_its_reserve_campaigns_when_its_leader_asks() {
    let mut solo = Start::of(3).solo();
    stand(&mut solo, Standing::Below);
    solo.receives(2, 1, heartbeat(0, 1));
    solo.persisted();
    solo.receives(2, 1, Body::TimeoutNow { last: raft::EntryId::default() });
    assert_eq!(solo.role(), Role::Candidate);
}

#[test]
fn a_leader_below_its_reserve_transfers_leadership_to_a_voter_above() {
    let mut solo = leader(3);
    beat(&mut solo);
    says(&mut solo, 2, Standing::Below);
    assert_eq!(asked_to_campaign(&beat(&mut solo)), [], "the leader itself has space");
    stand(&mut solo, Standing::Below);
    says(&mut solo, 2, Standing::Below);
    assert_eq!(asked_to_campaign(&beat(&mut solo)), [3]);
}

#[test]
fn a_voter_that_lags_is_no_target() {
    let mut solo = leader(3);
    solo.raft.prefer(solo.now(), [id(3)].into());
    for number in 0..70 {
        solo.proposes(number);
    }
    solo.persisted();
    let last = solo.raft.last().index.0;
    solo.acknowledged_by(2, last);
    beat(&mut solo);
    stand(&mut solo, Standing::Below);
    says(&mut solo, 2, Standing::Below);
    assert_eq!(asked_to_campaign(&beat(&mut solo)), []);
    assert_eq!(asked_to_campaign(&beat(&mut solo)), [], "3 lags by 70 entries, and 2 is below its reserve");
    solo.acknowledged_by(3, last);
    assert_eq!(asked_to_campaign(&beat(&mut solo)), [3]);
}

/// Each transfer interrupts the service, so those that fail become rare.
#[test]
fn transfers_that_fail_are_repeated_after_longer_and_longer_pauses() {
    let mut solo = leader(3);
    beat(&mut solo);
    stand(&mut solo, Standing::Below);
    let mut begun = Vec::new();
    let mut was_transferring = false;
    for _ in 0..600 {
        beat(&mut solo);
        let now = solo.now();
        let is_transferring = solo.raft.propose(now, vec![]) == Err(ProposeRefusal::Transferring);
        if is_transferring && !was_transferring {
            begun.push(solo.now_ms);
        }
        was_transferring = is_transferring;
    }
    let pauses: Vec<u64> = begun.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert_eq!(pauses[..4], [2, 4, 8, 16], "{pauses:?}");
    assert!(pauses[4..].iter().all(|pause| *pause == 16), "{pauses:?}");
}

/// A preferred member below its reserve would return the leadership.
#[test]
fn a_preferred_member_below_its_reserve_is_not_chosen() {
    let mut solo = leader(3);
    solo.raft.prefer(solo.now(), [id(3)].into());
    for _ in 0..40 {
        says(&mut solo, 3, Standing::Below);
        assert_eq!(asked_to_campaign(&beat(&mut solo)), []);
    }
    let now = solo.now();
    assert_eq!(solo.raft.transfer(now, None).ok(), member(2), "3 is preferred, but has less space");
}

#[test]
fn an_explicit_transfer_to_a_member_below_its_reserve_is_carried_out() {
    let mut solo = leader(3);
    beat(&mut solo);
    says(&mut solo, 2, Standing::Below);
    let now = solo.now();
    assert_eq!(solo.raft.transfer(now, member(2)).ok(), member(2));
    assert_eq!(asked_to_campaign(&solo.drain()), [2]);
}

/// Who is above its reserve, and what a leader accepts then: content, what only frees space, and neither.
#[test]
fn a_leader_refuses_what_no_quorum_has_space_for() {
    use Standing::{Above, Below, Exhausted};
    let cases: [(&[Standing], Standing); 8] = [
        (&[Above, Above, Below], Above),
        (&[Below, Above, Above], Above),
        (&[Above, Below, Below], Below),
        (&[Below, Below, Above], Below),
        (&[Exhausted, Below, Above], Below),
        (&[Below, Exhausted, Exhausted], Exhausted),
        (&[Above, Exhausted, Exhausted], Exhausted),
        (&[Above, Above, Above, Exhausted, Exhausted], Above),
    ];
    for (standings, expected) in cases {
        let mut solo = leader(standings.len() as u64);
        for (from, standing) in (1..).zip(standings) {
            if from == 1 {
                stand(&mut solo, *standing)
            } else {
                says(&mut solo, from, *standing)
            };
        }
        assert_eq!(solo.raft.quorum_standing(), Some(expected), "{standings:?}");
        let last = solo.raft.last();
        let put = propose(&mut solo, 1, b"put");
        assert_eq!(put.is_ok(), expected == Above, "{standings:?}: {put:?}");
        assert!(put.is_ok() || (put == Err(ProposeRefusal::NoSpace) && solo.raft.last() == last));
        let delete = propose(&mut solo, 2, b"delete");
        assert_eq!(delete, if expected == Exhausted { Err(ProposeRefusal::NoSpace) } else { Ok(()) }, "{standings:?}");
    }
}

/// Below one segment, an entry of a configuration has no space either. Nothing else of the change is refused.
#[test]
fn a_change_is_refused_only_when_a_quorum_is_exhausted() {
    for (standing, is_refused) in [(Standing::Below, false), (Standing::Exhausted, true)] {
        let mut solo = leader(3);
        beat(&mut solo);
        stand(&mut solo, standing);
        says(&mut solo, 2, standing);
        let now = solo.now();
        let index = solo.raft.configuration().1;
        let outcome = solo.raft.change(now, change_to(index, &[1, 2, 3], &[4]));
        assert_eq!(outcome == Err(ChangeRefusal::NoSpace), is_refused, "{standing:?}: {outcome:?}");
        assert_eq!(outcome.is_ok(), !is_refused);
    }
}

/// Each half of a joint configuration needs its own quorum.
#[test]
fn both_halves_of_a_joint_configuration_count() {
    let mut joint = configuration(&[1, 2, 3, 4, 5], &[]);
    joint.voters = network::ids(&[1, 4, 5]);
    joint.outgoing = network::ids(&[1, 2, 3]);
    let mut solo = Start::of(5).configuration(joint).config(puts_add_content).solo();
    solo.leads();
    for (short, expected) in
        [([2, 4], Standing::Above), ([2, 3], Standing::Below), ([4, 5], Standing::Below), ([3, 5], Standing::Above)]
    {
        for from in 2..=5 {
            let standing = if short.contains(&from) { Standing::Below } else { Standing::Above };
            says(&mut solo, from, standing);
        }
        assert_eq!(solo.raft.quorum_standing(), Some(expected), "{short:?}");
    }
}

/// The follower that forwarded them hears of it at once, and the others enter the log.
#[test]
fn forwarded_proposals_are_refused_one_by_one() {
    let mut solo = leader(3);
    says(&mut solo, 2, Standing::Below);
    says(&mut solo, 3, Standing::Below);
    let normal = |content: &'static [u8]| Payload::Normal(content.into());
    let proposals =
        vec![(ProposalId(7), normal(b"put")), (ProposalId(8), normal(b"delete")), (ProposalId(9), normal(b"put"))];
    let (term, last) = (solo.term(), solo.raft.last().index);
    let outputs = solo.receives(2, term, Body::Propose { proposals: proposals.clone() });
    let refused = Body::ProposeRefused { proposals: vec![ProposalId(7), ProposalId(9)], reason: DropReason::NoSpace };
    assert!(sent_to(&outputs, 2).contains(&refused), "{outputs:?}");
    assert_eq!(solo.raft.last().index, last.next());
    let again = solo.receives(2, term, Body::Propose { proposals });
    assert_eq!((sent(&again), solo.raft.last().index), (vec![], last.next()), "a duplicate of any of them is ignored");
}

#[test]
fn a_leader_forgets_what_a_silent_member_said() {
    let mut solo = leader(3);
    beat(&mut solo);
    says(&mut solo, 2, Standing::Below);
    says(&mut solo, 3, Standing::Below);
    for _ in 0..6 {
        beat(&mut solo);
        says(&mut solo, 3, Standing::Below);
    }
    assert_eq!(propose(&mut solo, 1, b"put"), Err(ProposeRefusal::NoSpace), "900 ms later");
    beat(&mut solo);
    assert_eq!(propose(&mut solo, 1, b"put"), Ok(()), "1,050 ms later");
}

#[test]
fn what_a_stranger_or_a_late_message_says_does_not_count() {
    let mut solo = leader(3);
    let term = solo.term();
    for from in [7, 8, 9] {
        solo.receives(from, term, Body::Standing(Standing::Exhausted));
        solo.receives(from - 5, term - 1, Body::Standing(Standing::Exhausted));
    }
    assert_eq!(solo.raft.quorum_standing(), Some(Standing::Above));
    assert_eq!((solo.role(), solo.term()), (Role::Leader, term));
}

/// A member below its reserve keeps no entries before its snapshot for members that lag.
#[test]
fn a_member_below_its_reserve_purges_the_whole_log_before_its_snapshot() {
    for (standing, first_kept) in [(Standing::Above, 1), (Standing::Below, 7)] {
        let mut solo = leader(3);
        for number in 1..=5 {
            solo.proposes(number);
        }
        solo.persisted();
        solo.acknowledged_by_all();
        solo.applies();
        stand(&mut solo, standing);
        assert_eq!(solo.raft.snapshot_taken(Index(6)), Index(first_kept), "{standing:?}");
    }
}

/// In a whole cluster: the leadership moves to a member above its reserve, puts go on, and a crash of the leader does not
/// bring it back.
#[test]
fn leadership_moves_to_a_member_above_its_reserve_and_stays_there() {
    for seed in 0..10 {
        let mut cluster = Cluster::adjusted(3, seed, puts_add_content);
        let first = cluster.elect();
        let other = first % 3 + 1;
        let above = other % 3 + 1;
        for number in [first, other] {
            cluster.with(number, |raft, now| raft.set_standing(now, Standing::Below));
        }
        cluster.until("a member above its reserve leads", 3_000, |cluster| cluster.leader() == Some(above));
        cluster.run_ms(1_000);
        assert_eq!(cluster.propose(above), None, "only one of three is above its reserve");
        cluster.with(other, |raft, now| raft.set_standing(now, Standing::Above));
        cluster.run_ms(50);
        let content = cluster.propose(above).expect("two of three are above their reserves");
        cluster.until("applied", 2_000, |cluster| cluster.has_applied(first, &content));
        cluster.crash(above);
        cluster.until("the other one leads", 6_000, |cluster| cluster.leader() == Some(other));
    }
}

/// No voter is above its reserve: one of them leads nevertheless, and serves what needs no space.
#[test]
fn members_that_are_all_below_their_reserves_elect_a_leader() {
    for seed in 0..10 {
        let mut cluster = Cluster::adjusted(3, seed, puts_add_content);
        let first = cluster.elect();
        for number in 1..=3 {
            cluster.with(number, |raft, now| raft.set_standing(now, Standing::Below));
        }
        cluster.run_ms(5_000);
        assert_eq!(cluster.leader(), Some(first), "there is no better one");
        cluster.crash(first);
        cluster.until("another leads", 10_000, |cluster| cluster.leader().is_some_and(|leader| leader != first));
        let successor = cluster.elect();
        cluster.run_ms(3_000);
        assert_eq!(cluster.leader(), Some(successor), "seed {seed}: it knows that there is no better one");
        assert_eq!(cluster.propose(successor), None);
        let other = (1..=3).find(|number| ![first, successor].contains(number)).expect("three members");
        cluster.with(other, |raft, now| raft.set_standing(now, Standing::Above));
        cluster.until("it is above its reserve", 3_000, |cluster| cluster.leader() == Some(other));
    }
}
