//! The simulator's verdict over many seeds, and proof that it can give another one. Owns how many seeds each run of the tests
//! tries; `SEED=n` tries that one alone and prints what happened, `SEEDS=n` tries so many.

mod drills;

use tests::cluster::simulated::Options;
use tests::cluster::simulated::run::run;
use tests::cluster::simulated::sweep::{asked_for, sweep};
use tests::fault::Faults;
use tests::world::seed::Seed;

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;

/// Every invariant after every step under every fault, linearizable histories, and complete healing at the end.
#[test]
fn every_seed_is_safe_and_heals() {
    let seeds = asked_for(SEEDS);
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    match sweep(seeds, &Options::default(), |_| {}) {
        Err(failure) => panic!("\n{failure}\nor: SEED={} cargo test -p tests --test simulation", failure.seed),
        Ok(totals) => {
            println!("{totals}");
            // A run in which nothing went wrong proves nothing.
            let happened = [
                totals.crashes,
                totals.partitions,
                totals.wipes,
                totals.ailments,
                totals.failed_syncs,
                totals.failed_reads,
                totals.rolls,
                totals.hints_unknown,
                totals.elections,
                totals.transfers,
                totals.configurations,
                totals.installs,
                totals.writes,
                totals.wide,
                totals.expiries,
                totals.reads,
            ];
            assert!(!is_whole_run || happened.iter().all(|count| *count >= 100), "too little happened: {totals}");
        }
    }
}

/// Replaying a seed is worth something only if it repeats itself.
#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 14, 15] {
        let totals = || run(Seed(seed), &Options::default()).expect("it passes above");
        assert_eq!(totals(), totals(), "seed {seed}");
    }
}

/// Without faults nobody is elected twice and nothing is lost.
#[test]
fn without_faults_one_election_is_enough() {
    let options = Options { faults: Faults::none(), ..Options::default() };
    let totals = sweep(0..20, &options, |_| {}).unwrap_or_else(|failure| panic!("\n{failure}"));
    assert_eq!((totals.elections, totals.crashes), (20, 0), "{totals}");
}
