//! Planted bugs must be caught, each within its budget of seeds, or the simulator proves nothing. Owns the budgets; the table in
//! `tests/README.md` is what `cargo test -p tests --test simulation mutants -- --nocapture` prints.

use tests::cluster::simulated::Options;
use tests::cluster::simulated::run::run;
use tests::cluster::simulated::sabotage::Sabotage;
use tests::world::seed::Seed;

/// Seeds within which every planted bug must be caught.
const BUDGET: u64 = 400;

/// Planted bugs that the ordinary faults have not caught within the budget: each needs a history that is rare here. They stay
/// planted, and are tried, so that a better simulator shows.
const UNCAUGHT: [Sabotage; 2] = [Sabotage::ResurrectsTruncated, Sabotage::EntriesBeforeHardState];

#[test]
fn every_planted_bug_is_caught() {
    let mut survivors = Vec::new();
    for sabotage in Sabotage::ALL {
        let options = Options { sabotage: Some(sabotage), trace: 0, ..Options::default() };
        let caught = (0..BUDGET).find_map(|seed| Some((seed, run(Seed(seed), &options).err()?)));
        match caught {
            Some((seed, failure)) => println!("| {sabotage:?} | {} | {} |", failure.violation.invariant, seed + 1),
            None if UNCAUGHT.contains(&sabotage) => println!("| {sabotage:?} | not caught yet | |"),
            None => survivors.push(sabotage),
        }
    }
    assert!(survivors.is_empty(), "not caught within {BUDGET} seeds: {survivors:?}");
}
