//! Which links must be there for progress: every link graph of five members in which three are all linked to each
//! other, and every one in which one member is linked to two others at least (openraft#2080, Cloudflare 2020). Owns the
//! graphs; links are cut under a running leader, whichever member that is.
//!
//! Progress means that clients' writes commit, and that they go on to: elections come to an end, though some members hear no
//! leader.

use std::time::Duration;

use raft::MemberId;
use world::seed::Seed;

use super::{only_leader, until};
use crate::cores::{CoreCluster, Options};
use crate::fault::Faults;
use crate::invariant::{Checked, ensure};
use crate::profile::Profile;
use crate::sweep::catching_panics;

/// Members.
const MEMBERS: u64 = 5;
/// Graphs: each of the ten links is there or not.
pub const GRAPHS: u64 = 1 << 10;
/// Graphs with one-way links that are tried besides, drawn by chance.
pub const ONE_WAY: u64 = 250;

/// Election timeouts after which no member is elected any more.
const SETTLES_WITHIN: u32 = 30;

/// What a graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No member reaches a majority.
    NoQuorum,
    /// A member reaches a majority, whose other members do not reach each other.
    Star,
    /// A majority whose members all reach each other.
    ConnectedQuorum,
}

/// Links in both directions, by their two ends.
fn links(graph: u64) -> Vec<(MemberId, MemberId)> {
    let pairs = (1..=MEMBERS).flat_map(|from| (from + 1..=MEMBERS).map(move |to| (MemberId(from), MemberId(to))));
    pairs.enumerate().filter(|(place, _)| graph >> place & 1 == 1).map(|(_, pair)| pair).collect()
}

/// What this graph has.
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

/// All links except this graph's are cut under a running leader; writes must commit, and elections must end soon.
///
/// # Errors
/// Returns a violation if there is no progress or no end of elections.
pub fn try_graph(graph: u64) -> Checked {
    let links = links(graph);
    let is_linked = |from: MemberId, to: MemberId| links.contains(&(from.min(to), from.max(to)));
    demand_progress(graph, is_linked)
}

/// As [`try_graph`], with links cut one way at random besides those of one connected majority.
///
/// # Errors
/// Returns a violation if there is no progress or no end of elections.
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
    // Pre-vote is one protection from members that hear no leader; the other must do alone (Raft thesis §4.2.3).
    profile.config.pre_vote = !case.is_multiple_of(3);
    let election = profile.config.election_timeout;
    let options = Options { faults: Faults::none(), profile: Some(profile), trace: 0, ..Options::default() };
    let mut cluster = catching_panics(|| CoreCluster::new(Seed(case), &options))?;
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some() && cluster.invariants.committed().0 > 3;
    until(&mut cluster, election * 10, "a fresh cluster elects a leader", leads, |_| "no member leads".to_owned())?;
    // In odd cases clients are quiet, so that no log is behind and everybody could win an election.
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
    // In a star only the centre can win, and each vote it gives away makes it wait again.
    cluster.run_for(election * SETTLES_WITHIN)?;
    let elections = cluster.invariants.ledger.reigns.len();
    cluster.run_for(election * 5)?;
    let now = cluster.invariants.ledger.reigns.len();
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
    fn graphs_are_told_apart() {
        assert_eq!(kind(0), Kind::NoQuorum);
        assert_eq!(kind(GRAPHS - 1), Kind::ConnectedQuorum);
        // 1-2 and 1-3; then 2-3 closes the triangle (links are numbered 12 13 14 15 23 ...).
        assert_eq!(kind(0b11), Kind::Star);
        assert_eq!(kind(0b1_0011), Kind::ConnectedQuorum);
        let count = |wanted| (0..GRAPHS).filter(|graph| kind(*graph) == wanted).count();
        // Without a vertex of two links: no link, one of ten, or two apart (15 ways).
        assert_eq!(count(Kind::NoQuorum), 1 + 10 + 15);
        // Labelled graphs of five vertices without triangle: 388.
        assert_eq!(count(Kind::ConnectedQuorum), 1024 - 388);
    }
}
