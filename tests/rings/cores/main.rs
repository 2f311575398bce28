//! Random runs of clusters of cores, and the exhaustive cases. Owns the number of seeds of a test run. `SEED=n` runs
//! one seed; `SEEDS=n` runs the first n seeds. Does not own the simulator (`tests/simulator`).

mod cases;

use simulator::cores::Options;
use simulator::cores::run::run;
use simulator::fault::Faults;
use simulator::sweep::sweep;
use world::seed::Seed;
use world::settings::seeds;

/// Number of seeds if the environment selects none.
const SEEDS: u64 = 2_000;

/// Under every fault, each invariant holds after each step, histories are linearizable, and the cluster heals at the
/// end.
#[test]
fn every_seed_is_safe_and_heals() {
    let seeds = seeds(SEEDS);
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    match sweep(seeds, |seed| run(seed, &Options::default()), |_| {}) {
        Err(failure) => panic!("\n{failure}\nor: SEED={} cargo test -p simulator --test cores", failure.seed),
        Ok(coverage) => {
            println!("{coverage}");
            // Runs without these events would prove nothing.
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
                coverage.standings,
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

/// Each seed gives the same run every time. Otherwise a failing seed could not be replayed.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 15] {
        let coverage = || run(Seed(seed), &Options::default()).expect("the seed passes");
        assert_eq!(coverage(), coverage(), "seed {seed}");
    }
}

/// Without faults, each cluster elects one leader and no member crashes.
#[test]
fn without_faults_one_election_is_enough() {
    let options = Options { faults: Faults::none(), ..Options::default() };
    let coverage = sweep(0..20, |seed| run(seed, &options), |_| {}).unwrap_or_else(|failure| panic!("\n{failure}"));
    assert_eq!((coverage.elections, coverage.crashes), (20, 0), "{coverage}");
}
