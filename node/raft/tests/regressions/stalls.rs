//! Stalled disks (hashicorp/raft#503, #612, #614, tikv#19626, etcd#15247): a leader answers messages but cannot write.

use crate::network::Cluster;

#[test]
fn a_leader_with_a_stalled_disk_is_replaced() {
    for seed in 0..10 {
        let mut cluster = Cluster::of(3, seed);
        let leader = cluster.elect();
        cluster.run_ms(500);
        cluster.member_mut(leader).disk_ms = None;
        cluster.propose(leader);
        let election_timeout_ms = 1_000;
        cluster.until("another leader serves", 2 * election_timeout_ms, |cluster| {
            cluster.leader().is_some_and(|other| other != leader)
        });
        let successor = cluster.leader().expect("just seen");
        cluster.until("the entry is applied", 1_000, |cluster| {
            cluster.raft(successor).commit() == cluster.raft(successor).last().index
        });
        cluster.heal();
        let content = cluster.propose(successor).expect("served");
        cluster.until("the disk recovers, and the member catches up", 5_000, |cluster| {
            cluster.has_applied(leader, &content)
        });
    }
}

/// Followers with stalled disks acknowledge nothing, grant no votes and do not campaign. A quorum of other members
/// continues to serve.
#[test]
fn followers_with_stalled_disks_do_no_harm() {
    let mut cluster = Cluster::of(5, 4);
    let leader = cluster.elect();
    let stalled: Vec<u64> = (1..=5).filter(|number| *number != leader).take(2).collect();
    for number in &stalled {
        cluster.member_mut(*number).disk_ms = None;
    }
    let content = cluster.propose(leader).expect("served");
    cluster.until("the other members commit", 1_000, |cluster| cluster.has_applied(leader, &content));
    cluster.run_ms(10_000);
    assert_eq!(cluster.leader(), Some(leader));
    assert!(
        stalled
            .iter()
            .all(|number| cluster.raft(*number).soft_state().term.0 == cluster.raft(leader).soft_state().term.0)
    );
    cluster.heal();
    cluster
        .until("they catch up", 5_000, |cluster| stalled.iter().all(|number| cluster.has_applied(*number, &content)));
}

/// A member whose disk is stalled does not prevent the election of a new leader after the old one fails.
#[test]
fn a_stalled_member_does_not_campaign() {
    let mut cluster = Cluster::of(5, 9);
    let leader = cluster.elect();
    let stalled = if leader == 1 { 2 } else { 1 };
    cluster.member_mut(stalled).disk_ms = None;
    cluster.propose(leader);
    cluster.run_ms(100);
    cluster.crash(leader);
    cluster.until("another leader", 6_000, |cluster| cluster.leader().is_some());
    assert_ne!(cluster.leader(), Some(stalled));
    let successor = cluster.elect();
    let content = cluster.propose(successor).expect("served");
    cluster.until("served", 1_000, |cluster| cluster.has_applied(successor, &content));
}

/// A state machine that hangs delays nothing else. Its core gives it no more entries than the apply window.
#[test]
fn a_hanging_state_machine_delays_nothing_else() {
    let mut cluster = Cluster::of(3, 2);
    let leader = cluster.elect();
    let hanging = if leader == 1 { 2 } else { 1 };
    cluster.member_mut(hanging).apply_stalls = true;
    let mut last = Vec::new();
    for _ in 0..50 {
        last = cluster.propose(leader).expect("served");
        cluster.run_ms(2);
    }
    cluster.until("the other members apply", 1_000, |cluster| cluster.has_applied(leader, &last));
    assert_eq!(cluster.raft(hanging).commit(), cluster.raft(leader).commit());
    cluster.heal();
    cluster.until("it applies the entries, too", 1_000, |cluster| cluster.has_applied(hanging, &last));
}
