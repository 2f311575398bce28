//! Whole clusters with and without faults. Owns scenarios that lead from an election to applied entries. Does not own
//! tests of single statements of the thesis (`paper.rs`).

#[path = "network/cluster.rs"]
mod network;

use network::Cluster;

#[test]
fn three_members_elect_and_replicate() {
    let mut cluster = Cluster::of(3, 1);
    let leader = cluster.elect();
    let content = cluster.propose(leader).expect("a leader accepts proposals");
    cluster.until("applied everywhere", 1_000, |cluster| (1..=3).all(|number| cluster.has_applied(number, &content)));
}
