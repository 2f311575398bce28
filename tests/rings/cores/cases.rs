//! Every exhaustive case. Owns their number; each module of `simulator::cases` owns its demand.

use simulator::cases::{deposed, every, every_output, links, rolled_lease, stalled_disk};
use simulator::invariant::Checked;
use world::seed::Seed;

fn demand(name: &str, cases: u64, attempt: impl Fn(u64) -> Checked + Sync) {
    if let Err((case, violation)) = every(0..cases, attempt) {
        panic!("{name}, case {case}: {violation}");
    }
}

/// Every five-member link graph with a connected quorum makes progress, and so does every one in which just one member
/// reaches a majority.
#[test]
fn every_link_graph_with_a_quorum_makes_progress() {
    demand("link graph", links::GRAPHS, |graph| match links::kind(graph) {
        links::Kind::NoQuorum => Ok(()),
        links::Kind::Star | links::Kind::ConnectedQuorum => links::try_graph(graph),
    });
}

/// Links that fail in one direction do not matter either, as long as a connected quorum is left.
#[test]
fn one_way_links_next_to_a_quorum_do_no_harm() {
    demand("one-way links", links::ONE_WAY, links::try_one_way);
}

/// A leader with a stalled disk is replaced within two election timeouts.
#[test]
fn a_leader_whose_disk_stalls_is_replaced() {
    demand("stalled disk", stalled_disk::CASES, stalled_disk::try_case);
}

/// A leader that does not know that it was deposed does no harm.
#[test]
fn a_deposed_leader_does_no_harm() {
    demand("deposed leader", deposed::CASES, |case| deposed::try_case(case, None));
}

/// Lease and election timeout can be changed while the cluster runs, by the rules, and no read is stale.
#[test]
fn a_lease_is_rolled_by_the_rules() {
    demand("rolled lease", rolled_lease::CASES, |case| rolled_lease::try_case(case, None));
}

/// One life, once for each of its outputs, with a crash right after that output.
#[test]
fn a_crash_after_every_output_is_survived() {
    let life = Seed(7);
    let outputs = every_output::outputs(life).unwrap_or_else(|failure| panic!("\n{failure}"));
    assert!(outputs > 200, "too little happens in this life: {outputs} outputs");
    demand("crash after output", outputs, |place| {
        every_output::try_output(life, place + 1).map(drop).map_err(|failure| failure.violation)
    });
}
