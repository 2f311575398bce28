//! Many seeds of clusters of cores, and the exhaustive cases. Owns the number of seeds that each run of the tests
//! tries; `SEED=n` tries that one alone and prints what happened, `SEEDS=n` tries the first n.

mod cases;

use simulator::cores::Options;
use simulator::cores::run::run;
use simulator::fault::Faults;
use simulator::sweep::sweep;
use world::seed::Seed;
use world::settings::seeds;

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;

/// Every invariant after every step under every fault, linearizable histories, and complete healing at the end.
#[test]
fn every_seed_is_safe_and_heals() {
    let seeds = seeds(SEEDS);
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    match sweep(seeds, |seed| run(seed, &Options::default()), |_| {}) {
        Err(failure) => panic!("\n{failure}\nor: SEED={} cargo test -p simulator --test cores", failure.seed),
        Ok(coverage) => {
            println!("{coverage}");
            // A run in which nothing went wrong proves nothing.
            let happened = [
                coverage.crashes,
                coverage.partitions,
                coverage.wipes,
                coverage.ailments,
                coverage.failed_syncs,
                coverage.failed_reads,
                coverage.rolls,
                coverage.hints_unknown,
                coverage.elections,
                coverage.transfers,
                coverage.configurations,
                coverage.installs,
                coverage.writes,
                coverage.wide,
                coverage.expiries,
                coverage.reads,
            ];
            assert!(!is_whole_run || happened.iter().all(|count| *count >= 100), "too little happened: {coverage}");
        }
    }
}

/// Replaying a seed is worth something only if it repeats itself.
#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 14, 15] {
        let coverage = || run(Seed(seed), &Options::default()).expect("it passes above");
        assert_eq!(coverage(), coverage(), "seed {seed}");
    }
}

/// Without faults each cluster elects one leader and loses nothing.
#[test]
fn without_faults_one_election_is_enough() {
    let options = Options { faults: Faults::none(), ..Options::default() };
    let coverage = sweep(0..20, |seed| run(seed, &options), |_| {}).unwrap_or_else(|failure| panic!("\n{failure}"));
    assert_eq!((coverage.elections, coverage.crashes), (20, 0), "{coverage}");
}
