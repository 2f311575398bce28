//! Links that suffice for progress: every link graph of five members in which three are fully connected, and every
//! graph in which one member is connected to at least two others (openraft#2080, Cloudflare 2020). Owns the graphs.
//! Links are cut while a leader runs, whichever member that leader is.
//!
//! Progress means that clients' writes keep committing, and that elections come to an end although some members receive
//! nothing from the leader.

use std::time::Duration;

use raft::MemberId;
use world::seed::Seed;

use super::{only_leader, until};
use crate::cores::{CoreCluster, Options};
use crate::fault::Faults;
use crate::invariant::{Checked, ensure};
use crate::profile::Profile;
use crate::sweep::catching_panics;

/// Number of members.
const MEMBERS: u64 = 5;
/// Number of graphs: each of the ten links is present or not.
pub const GRAPHS: u64 = 1 << 10;
/// Number of additional random graphs with one-way links.
pub const ONE_WAY: u64 = 250;

/// Number of election timeouts within which elections must end. The case fails if a leader is elected later.
const SETTLES_WITHIN: u32 = 30;

/// Kind of a link graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No member is connected to a majority.
    NoQuorum,
    /// Some member is connected to a majority, but no majority is fully connected.
    Star,
    /// Some majority is fully connected.
    ConnectedQuorum,
}

/// Links of a graph, each as a pair of members; both directions are present.
fn links(graph: u64) -> Vec<(MemberId, MemberId)> {
    let pairs = (1..=MEMBERS).flat_map(|from| (from + 1..=MEMBERS).map(move |to| (MemberId(from), MemberId(to))));
    pairs.enumerate().filter(|(place, _)| graph >> place & 1 == 1).map(|(_, pair)| pair).collect()
}

/// Returns the kind of a graph.
#[must_use]
pub fn kind(graph: u64) -> Kind {
    let links = links(graph);
    let linked = |one: u64, other: u64| links.contains(&(MemberId(one.min(other)), MemberId(one.max(other))));
    let neighbours = |of: u64| (1..=MEMBERS).filter(move |other| *other != of && linked(of, *other));
    let is_star = (1..=MEMBERS).any(|centre| neighbours(centre).count() >= 2);
    let is_triangle = (1..=MEMBERS)
        .any(|one| neighbours(one).any(|two| neighbours(two).any(|three| three != one && linked(one, three))));
    match (is_triangle, is_star) {
        (true, _) => Kind::ConnectedQuorum,
        (false, true) => Kind::Star,
        (false, false) => Kind::NoQuorum,
    }
}

/// Cuts all links that are not in this graph while a leader runs. Writes must then commit, and elections must end.
///
/// # Errors
/// Returns a violation if there is no progress or elections do not end.
pub fn try_graph(graph: u64) -> Checked {
    let links = links(graph);
    let is_linked = |from: MemberId, to: MemberId| links.contains(&(from.min(to), from.max(to)));
    demand_progress(graph, is_linked)
}

/// Like [`try_graph`], but links fail in one direction. They are cut at random, except within one majority of three.
///
/// # Errors
/// Returns a violation if there is no progress or elections do not end.
pub fn try_one_way(case: u64) -> Checked {
    let mut random = world::seed::Random::new(Seed(case));
    let mut ids: Vec<u64> = (1..=MEMBERS).collect();
    random.shuffle(&mut ids);
    let passes: u64 = random.number();
    let is_linked = move |from: MemberId, to: MemberId| {
        let is_quorum = ids[..3].contains(&from.0) && ids[..3].contains(&to.0);
        is_quorum || passes >> (from.0 * 8 + to.0) & 1 == 1
    };
    demand_progress(GRAPHS + case, is_linked)
}

fn demand_progress(case: u64, is_linked: impl Fn(MemberId, MemberId) -> bool) -> Checked {
    let mut profile = Profile {
        clients: 3,
        think: (Duration::from_millis(100), Duration::from_millis(400)),
        patience: Duration::from_millis(300),
        ..Profile::undisturbed(MEMBERS)
    };
    // Members that receive nothing from a leader must not depose it. With pre-vote, they cannot become candidates;
    // without pre-vote, members that trust the leader must refuse the vote (Raft thesis §4.2.3).
    profile.config.pre_vote = !case.is_multiple_of(3);
    let election = profile.config.election_timeout;
    let options = Options { faults: Faults::none(), profile: Some(profile), trace: 0, ..Options::default() };
    let mut cluster = catching_panics(|| CoreCluster::new(Seed(case), &options))?;
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some() && cluster.invariants.committed().0 > 3;
    until(&mut cluster, election * 10, "a fresh cluster elects a leader", leads, |_| "no member leads".to_owned())?;
    // In odd cases clients are idle. Then no log lags, and every member could win an election.
    let is_quiet = case % 2 == 1;
    if is_quiet {
        cluster.quiet();
        cluster.run_for(election / 2)?;
    }
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    for from in &ids {
        for to in ids.iter().filter(|to| *to != from && !is_linked(*from, **to)) {
            cluster.network.cut(*from, *to);
        }
    }
    let seen = |cluster: &CoreCluster| format!("leaders {:?}, {}", cluster.leaders(), cluster.network.describe());
    // Elections may take long in a star, because only the centre can win an election, and each vote that the centre
    // grants delays its own campaign.
    cluster.run_for(election * SETTLES_WITHIN)?;
    let elections = cluster.invariants.ledger.leaderships.len();
    cluster.run_for(election * 5)?;
    let now = cluster.invariants.ledger.leaderships.len();
    ensure(now == elections, "elections come to an end", || {
        format!("{} more within {:?}, {}", now - elections, election * 5, seen(&cluster))
    })?;
    if is_quiet {
        cluster.wake_clients();
    }
    let enough = cluster.invariants.committed().0 + 3;
    let commits = |cluster: &CoreCluster| cluster.invariants.committed().0 >= enough;
    until(&mut cluster, election * 5, "a connected quorum makes progress", commits, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_graphs_are_classified() {
        assert_eq!(kind(0), Kind::NoQuorum);
        assert_eq!(kind(GRAPHS - 1), Kind::ConnectedQuorum);
        // Bits 0 and 1 are the links 1-2 and 1-3. Bit 4 is the link 2-3, which closes the triangle (the bits stand for
        // the links 12 13 14 15 23 ...).
        assert_eq!(kind(0b11), Kind::Star);
        assert_eq!(kind(0b1_0011), Kind::ConnectedQuorum);
        let count = |wanted| (0..GRAPHS).filter(|graph| kind(*graph) == wanted).count();
        // In these graphs every member has at most one link: 1 graph has no link, 10 have one link, and 15 have two
        // disjoint links.
        assert_eq!(count(Kind::NoQuorum), 1 + 10 + 15);
        // A fully connected majority of five members is a triangle of links. Of the 1,024 labelled graphs of five
        // vertices, 388 contain no triangle.
        assert_eq!(count(Kind::ConnectedQuorum), 1024 - 388);
    }
}
