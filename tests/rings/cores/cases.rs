//! Runs every exhaustive case. Does not own the cases and their checks (`simulator::cases`).

use simulator::cases::{below_reserve, deposed, every, every_output, links, rolled_lease, stalled_disk};
use simulator::invariant::Checked;
use world::seed::Seed;

fn run_all(name: &str, cases: u64, attempt: impl Fn(u64) -> Checked + Sync) {
    if let Err((case, violation)) = every(0..cases, attempt) {
        panic!("{name}, case {case}: {violation}");
    }
}

/// Every link graph of five members makes progress if it has a connected quorum, or if some member is connected to a
/// majority.
#[test]
fn every_link_graph_with_a_quorum_makes_progress() {
    run_all("link graph", links::GRAPHS, |graph| match links::kind(graph) {
        links::Kind::NoQuorum => Ok(()),
        links::Kind::Star | links::Kind::ConnectedQuorum => links::try_graph(graph),
    });
}

/// If links fail in one direction, writes still commit and elections end, as long as a majority is fully connected.
#[test]
fn one_way_links_do_no_harm_to_a_connected_quorum() {
    run_all("one-way links", links::ONE_WAY, links::try_one_way);
}

/// A leader whose disk stalls is replaced within two election timeouts.
#[test]
fn a_leader_whose_disk_stalls_is_replaced() {
    run_all("stalled disk", stalled_disk::CASES, stalled_disk::try_case);
}

/// A member above its reserve leads if there is one, puts are accepted while a quorum is above its reserve, and a cluster in
/// which no voter is still elects a leader.
#[test]
fn members_below_their_reserves_do_no_harm() {
    run_all("below the reserve", below_reserve::CASES, below_reserve::try_case);
}

/// A leader that does not know that it was deposed violates no invariant, and the cluster heals.
#[test]
fn a_deposed_leader_does_no_harm() {
    run_all("deposed leader", deposed::CASES, |case| deposed::try_case(case, None));
}

/// A rolling restart that follows the rules can change lease and election timeout without a stale read.
#[test]
fn no_read_is_stale_while_the_lease_is_changed() {
    run_all("rolled lease", rolled_lease::CASES, |case| rolled_lease::try_case(case, None));
}

/// One run is repeated once for each of its outputs, with a crash right after that output.
#[test]
fn a_crash_after_every_output_is_survived() {
    let seed = Seed(7);
    let outputs = every_output::outputs(seed).unwrap_or_else(|failure| panic!("\n{failure}"));
    assert!(outputs > 200, "too little happens in this run: {outputs} outputs");
    run_all("crash after output", outputs, |place| {
        every_output::try_output(seed, place + 1).map(drop).map_err(|failure| failure.violation)
    });
}
