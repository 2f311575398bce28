//! Raft thesis §3.10: "one or more servers may be more suitable to lead the cluster than others"; the thesis continues:
//! "the cluster leader [could] periodically check to see whether one of its available followers would be more suitable,
//! and if so, transfer its leadership to that server". Owns the tests of the effects of preferred leaders, and of the
//! limits on their timing.

use std::collections::BTreeSet;
use std::time::Duration;

use raft::{Body, Output};

use crate::network::solo::{Solo, Start, member, sent_to};
use crate::network::{Cluster, ids};

fn prefer(cluster: &mut Cluster, preferred: &[u64]) {
    let running: Vec<u64> = cluster.members.keys().map(|id| id.0).filter(|number| cluster.runs(*number)).collect();
    for number in running {
        cluster.with(number, |raft, now| raft.prefer(now, ids(preferred)));
    }
}

fn leader_preferring(preferred: &[u64]) -> Solo {
    let mut solo = Start::of(3).solo();
    solo.leads_with_commit();
    let now = solo.now();
    solo.raft.prefer(now, ids(preferred));
    solo.drain();
    solo
}

/// Advances time by `ms`, while every other member answers every round.
fn beats(solo: &mut Solo, ms: u64) -> Vec<Output> {
    let mut all = Vec::new();
    for _ in 0..ms.div_ceil(150) {
        let outputs = solo.waits(150);
        for from in [2, 3] {
            for body in sent_to(&outputs, from) {
                if let Body::Heartbeat { round, .. } = body {
                    let term = solo.term();
                    all.extend(solo.receives(from, term, Body::HeartbeatReply { round }));
                }
            }
        }
        all.extend(outputs);
    }
    all
}

fn requests_to_campaign(outputs: &[Output], to: u64) -> usize {
    sent_to(outputs, to).iter().filter(|body| matches!(body, Body::TimeoutNow { .. })).count()
}

#[test]
fn a_settled_leader_transfers_leadership_to_a_preferred_member() {
    let mut solo = leader_preferring(&[3]);
    assert_eq!(requests_to_campaign(&beats(&mut solo, 1_500), 3), 0, "a new leader keeps the leadership for a while");
    assert!(requests_to_campaign(&beats(&mut solo, 900), 3) > 0);
}

#[test]
fn a_preferred_leader_and_one_without_preferences_stay() {
    for preferred in [&[1, 3][..], &[], &[9]] {
        let mut solo = leader_preferring(preferred);
        let outputs = beats(&mut solo, 30_000);
        assert_eq!(requests_to_campaign(&outputs, 3) + requests_to_campaign(&outputs, 2), 0, "{preferred:?}");
    }
}

/// §3.10: a target must be up to date; otherwise the cluster could not serve while the target catches up.
#[test]
fn a_member_that_lacks_committed_entries_is_not_chosen() {
    let mut solo = leader_preferring(&[3]);
    solo.proposes(1);
    solo.persisted();
    solo.acknowledged_by(2, 2);
    assert_eq!(solo.raft.commit(), solo.raft.last().index);
    assert_eq!(requests_to_campaign(&beats(&mut solo, 5_000), 3), 0);
    solo.acknowledged_by(3, 2);
    assert!(requests_to_campaign(&beats(&mut solo, 300), 3) > 0);
}

/// After a failed transfer to a preferred member, the next attempt comes ten election timeouts later.
#[test]
fn a_preferred_member_that_fails_is_not_asked_repeatedly() {
    let mut solo = leader_preferring(&[3]);
    beats(&mut solo, 2_400);
    let outputs = beats(&mut solo, 9_000);
    let now = solo.now();
    assert!(solo.raft.propose(now, Vec::new()).is_ok(), "the transfer has ended");
    assert!(requests_to_campaign(&outputs, 3) < 8, "requests stop when the transfer ends");
    assert!(requests_to_campaign(&beats(&mut solo, 4_000), 3) > 0, "it is asked again later");
}

/// The pause between transfers also applies across terms. Otherwise a member whose disk stalls under a leader's load
/// would win, return the leadership immediately, and receive it again, repeatedly.
#[test]
fn a_preferred_member_that_returns_the_leadership_is_not_asked_repeatedly() {
    let mut solo = leader_preferring(&[3]);
    assert!(requests_to_campaign(&beats(&mut solo, 2_400), 3) > 0);
    let last = solo.raft.last();
    let term = solo.term() + 1;
    solo.receives(3, term, Body::Vote { last, transfer: true });
    solo.persisted();
    solo.receives(3, term, Body::Heartbeat { commit: raft::Index(0), round: 1 });
    solo.receives(3, term, Body::TimeoutNow { last });
    solo.persisted();
    let term = solo.term();
    solo.receives(2, term, Body::VoteReply { granted: true });
    solo.persisted();
    solo.acknowledged_by_all();
    assert_eq!(requests_to_campaign(&beats(&mut solo, 7_000), 3), 0);
    assert!(requests_to_campaign(&beats(&mut solo, 4_000), 3) > 0, "it is asked again later");
}

/// A broken connection does not delay the transfer if there are no new entries, because then nothing must be sent
/// again.
#[test]
fn a_broken_connection_keeps_no_preferred_member_from_leading() {
    let mut solo = leader_preferring(&[3]);
    solo.acknowledged_by_all();
    solo.raft.unreachable(raft::MemberId(3));
    solo.drain();
    assert!(requests_to_campaign(&beats(&mut solo, 2_400), 3) > 0);
}

/// Preferred members draw their election timeouts from the first half of the interval, other members from the second
/// half. A lost leader is therefore replaced as quickly as without preferences.
#[test]
fn preferred_members_campaign_first() {
    for (preferred, least, most) in [(1, 1_000, 1_500), (2, 1_500, 2_000)] {
        let mut waits = BTreeSet::new();
        for seed in 0..100 {
            let mut solo = Start::of(3).config(|config| config.seed = seed).solo();
            let now = solo.now();
            solo.raft.prefer(now, ids(&[preferred]));
            solo.receives(3, 1, Body::Heartbeat { commit: raft::Index(0), round: 1 });
            let wait = solo.raft.deadline() - solo.now().monotonic;
            assert!(wait >= Duration::from_millis(least) && wait < Duration::from_millis(most), "{wait:?}");
            waits.insert(wait);
        }
        assert!(waits.len() > 50, "still random");
    }
}

#[test]
fn a_preferred_successor_comes_first() {
    let mut solo = leader_preferring(&[2]);
    beats(&mut solo, 150);
    let now = solo.now();
    assert_eq!(solo.raft.transfer(now, None).ok(), member(2), "3 holds as much, but is not preferred");
}

/// In a whole cluster, the preferred member receives the leadership, loses it in a crash, and receives it again.
#[test]
fn leadership_comes_back_to_the_preferred_member() {
    for seed in 0..5 {
        let mut cluster = Cluster::of(3, seed);
        cluster.elect();
        prefer(&mut cluster, &[2]);
        cluster.until("2 leads", 10_000, |cluster| cluster.leader() == Some(2));
        cluster.crash(2);
        cluster.until("another member leads meanwhile", 4_000, |cluster| cluster.leader().is_some());
        cluster.start(2);
        prefer(&mut cluster, &[2]);
        cluster.until("2 leads again", 15_000, |cluster| cluster.leader() == Some(2));
        let content = cluster.propose(2).expect("served");
        cluster.until("applied", 2_000, |cluster| (1..=3).all(|number| cluster.has_applied(number, &content)));
    }
}

/// A preferred member whose disk stalls transfers the leadership. It does not receive the leadership again before its
/// disk recovers.
#[test]
fn a_stalled_disk_outweighs_the_preference() {
    let mut cluster = Cluster::of(3, 3);
    cluster.elect();
    prefer(&mut cluster, &[1]);
    cluster.until("1 leads", 10_000, |cluster| cluster.leader() == Some(1));
    cluster.run_ms(500);
    cluster.member_mut(1).disk_ms = None;
    cluster.propose(1);
    cluster.until("another leads", 2_000, |cluster| cluster.leader().is_some_and(|leader| leader != 1));
    let successor = cluster.leader().expect("just seen");
    cluster.run_ms(20_000);
    assert_eq!(cluster.leader(), Some(successor), "1 lacks committed entries");
    cluster.heal();
    cluster.until("1 leads again", 15_000, |cluster| cluster.leader() == Some(1));
}
