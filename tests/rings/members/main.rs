//! Random runs of clusters whose members are the shipped code (driver, log, store, wire format). Owns the number of
//! seeds of a test run. `SEED=n` runs one seed; `SEEDS=n` runs the first n seeds. Does not own the simulator
//! (`tests/simulator`).

use simulator::members::run::run;
use simulator::sweep::sweep;
use world::seed::Seed;
use world::settings::seeds;

/// Number of seeds if the environment selects none.
const SEEDS: u64 = 500;

/// Members that run the shipped driver, log, store and wire format keep every acknowledged write, and reads return it.
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
        coverage.raises,
        coverage.installs,
        coverage.writes,
        coverage.reads,
    ];
    // Runs without these events would prove nothing.
    assert!(!is_whole_run || happened.iter().all(|count| *count >= 20), "too little happened: {coverage}");
}

/// Each seed gives the same run every time. Otherwise a failing seed could not be replayed.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 15] {
        let coverage = || run(Seed(seed)).expect("the seed passes");
        assert_eq!(coverage(), coverage(), "seed {seed}");
    }
}
