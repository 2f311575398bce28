//! The verdict over clusters of members as they ship. Owns how many seeds each run of the tests tries; `SEED=n` tries that one
//! alone, `SEEDS=n` so many.

use tests::cluster::simulated::sweep::{asked_for, sweep_by};
use tests::shipped::run::run;
use tests::world::seed::Seed;

/// Seeds of an ordinary run.
const SEEDS: u64 = 500;

/// What was acknowledged is kept and read, through the shipped driver, log, store and wire form.
#[test]
fn every_seed_is_safe_and_heals() {
    let seeds = asked_for(SEEDS);
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    let totals = sweep_by(seeds, run, |_| {}).unwrap_or_else(|failure| panic!("\n{failure}"));
    println!("{totals}");
    let happened = [
        totals.crashes,
        totals.partitions,
        totals.wipes,
        totals.failed_syncs,
        totals.elections,
        totals.configurations,
        totals.installs,
        totals.writes,
        totals.reads,
    ];
    // A run in which nothing went wrong proves nothing.
    assert!(!is_whole_run || happened.iter().all(|count| *count >= 20), "too little happened: {totals}");
}

/// Replaying a seed is worth something only if it repeats itself.
#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 14, 15] {
        let totals = || run(Seed(seed)).expect("it passes above");
        assert_eq!(totals(), totals(), "seed {seed}");
    }
}
