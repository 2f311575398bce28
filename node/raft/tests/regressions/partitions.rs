//! Partial partitions (openraft#2080, Cloudflare 2020): if one member can reach a quorum, the cluster makes progress.

use std::collections::BTreeSet;

use crate::network::{Cluster, id};

/// The ten links between five members.
const LINKS: [(u64, u64); 10] = [(1, 2), (1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5)];

/// Tests every set of remaining links between five members in which one member reaches at least two others: the cluster
/// must serve. Of several sets that differ only in the names of followers, one is tested.
#[test]
fn every_link_graph_with_a_quorum_serves() {
    let mut seen = BTreeSet::new();
    let mut played = 0;
    for graph in 0..1024_u32 {
        let links: Vec<(u64, u64)> = (0..10).filter(|bit| graph >> bit & 1 == 1).map(|bit| LINKS[bit]).collect();
        let degree = |number: u64| links.iter().filter(|(one, two)| *one == number || *two == number).count();
        if (1..=5).all(|number| degree(number) < 2) || !seen.insert(canonical(&links)) {
            continue;
        }
        played += 1;
        serves(&links);
    }
    assert!(played > 60, "{played} graphs");
}

/// Returns the smallest set of links that results from renaming members 2 to 5. Member 1 keeps its name, because it
/// leads when the links are cut.
fn canonical(links: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut best: Option<Vec<(u64, u64)>> = None;
    for names in permutations(&[2, 3, 4, 5]) {
        let rename = |number: u64| if number == 1 { 1 } else { names[number as usize - 2] };
        let mut renamed: Vec<(u64, u64)> =
            links.iter().map(|(one, two)| (rename(*one).min(rename(*two)), rename(*one).max(rename(*two)))).collect();
        renamed.sort_unstable();
        if best.as_ref().is_none_or(|best| renamed < *best) {
            best = Some(renamed);
        }
    }
    best.unwrap_or_default()
}

fn permutations(numbers: &[u64]) -> Vec<Vec<u64>> {
    if numbers.len() < 2 {
        return vec![numbers.to_vec()];
    }
    let mut all = Vec::new();
    for place in 0..numbers.len() {
        let mut rest = numbers.to_vec();
        let first = rest.remove(place);
        for mut tail in permutations(&rest) {
            tail.insert(0, first);
            all.push(tail);
        }
    }
    all
}

#[track_caller]
fn serves(links: &[(u64, u64)]) {
    let mut cluster = Cluster::of(5, 77);
    cluster.elect_member(1);
    cluster.run_ms(300);
    for (one, two) in LINKS {
        if !links.contains(&(one, two)) {
            cluster.cut_link(one, two);
        }
    }
    let end = cluster.now_ms + 60_000;
    loop {
        // Proposes to every member that considers itself leader; one of these members can commit.
        let leaders: Vec<u64> =
            (1..=5).filter(|number| cluster.raft(*number).soft_state().leader == Some(id(*number))).collect();
        for leader in leaders {
            if let Some(content) = cluster.propose(leader) {
                cluster.run_ms(50);
                if cluster.has_applied(leader, &content) {
                    return;
                }
            }
        }
        cluster.run_ms(50);
        assert!(cluster.now_ms < end, "no member serves with links {links:?}\n{}", cluster.render());
    }
}

/// A member with a flapping or one-way link does not depose a leader whose messages reach the other members.
#[test]
fn a_member_that_receives_no_message_does_no_harm() {
    for isolated in [2, 3] {
        let mut cluster = Cluster::of(3, 5);
        cluster.elect_member(1);
        let term = cluster.raft(1).soft_state().term;
        // The messages of `isolated` reach every other member, but `isolated` receives no message.
        for other in 1..=3 {
            cluster.network.cut(id(other), id(isolated));
        }
        cluster.run_ms(20_000);
        assert_eq!((cluster.leader(), cluster.raft(1).soft_state().term), (Some(1), term));
        cluster.heal();
        cluster.run_ms(5_000);
        assert_eq!(
            (cluster.leader(), cluster.raft(1).soft_state().term),
            (Some(1), term),
            "the same leader still leads when the link is back"
        );
    }
}

/// A leader that receives no messages steps down, although its own messages reach all other members.
#[test]
fn a_leader_that_receives_no_message_is_replaced() {
    let mut cluster = Cluster::of(3, 6);
    cluster.elect_member(1);
    cluster.run_ms(500);
    for other in 2..=3 {
        cluster.network.cut(id(other), id(1));
    }
    cluster.until("another leader", 5_000, |cluster| cluster.leader().is_some_and(|leader| leader != 1));
}

/// A leader that was cut off returns with entries that no other member holds. The entries that were committed meanwhile
/// overwrite them.
#[test]
fn a_minority_leaders_entries_are_overwritten() {
    let mut cluster = Cluster::of(5, 8);
    let old = cluster.elect();
    cluster.cut_off(old);
    let lost = cluster.propose(old).expect("it still considers itself leader");
    cluster.until("another leader", 10_000, |cluster| cluster.leader().is_some_and(|leader| leader != old));
    let leader = cluster.elect();
    let kept = cluster.propose(leader).expect("served");
    cluster.until("committed", 1_000, |cluster| cluster.has_applied(leader, &kept));
    cluster.heal();
    cluster.until("the old leader follows", 10_000, |cluster| cluster.has_applied(old, &kept));
    assert!(!cluster.has_applied(old, &lost));
    assert_eq!(cluster.member(old).dropped.len(), 1, "its proposer learns that it was dropped");
}
