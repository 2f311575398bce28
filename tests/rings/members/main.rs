//! Many seeds of clusters of members as they ship. Owns the number of seeds of a test run; `SEED=n` tries that one
//! alone, `SEEDS=n` the first n.

use simulator::members::run::run;
use simulator::sweep::sweep;
use world::seed::Seed;
use world::settings::seeds;

/// Seeds of an ordinary run.
const SEEDS: u64 = 500;

/// What was acknowledged is kept and read, through the shipped driver, log, store and wire form.
#[test]
fn every_seed_is_safe_and_heals() {
    let seeds = seeds(SEEDS);
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    let coverage = sweep(seeds, run, |_| {}).unwrap_or_else(|failure| panic!("\n{failure}"));
    println!("{coverage}");
    let happened = [
        coverage.crashes,
        coverage.partitions,
        coverage.wipes,
        coverage.failed_syncs,
        coverage.elections,
        coverage.configurations,
        coverage.installs,
        coverage.writes,
        coverage.reads,
    ];
    // A run in which nothing went wrong proves nothing.
    assert!(!is_whole_run || happened.iter().all(|count| *count >= 20), "too little happened: {coverage}");
}

/// Replaying a seed is worth something only if it repeats itself.
#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 14, 15] {
        let coverage = || run(Seed(seed)).expect("it passes above");
        assert_eq!(coverage(), coverage(), "seed {seed}");
    }
}
