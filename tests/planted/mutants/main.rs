//! Planted bugs must be detected, each within its budget of seeds; otherwise the simulator would prove nothing. Owns
//! the runs with planted bugs, and checks that the kill table in `tests/README.md` shows their results.
//! `UPDATE=1 cargo test -p planted-bugs` writes the table; `BUG=name` plants only one bug.

mod list;
mod table;

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use list::{Hunt, MUTANTS, Mutant, Plant};
use planted_bugs::cases::{below_reserve, deposed, links, rolled_lease, stalled_disk};
use planted_bugs::cores::Options;
use planted_bugs::cores::run::{judge, run};
use planted_bugs::invariant::{Checked, Violation};
use world::seed::Seed;
use world::settings;

/// How a planted bug was detected.
struct Caught {
    invariant: &'static str,
    seeds: u64,
}

/// Runs one seed or case with the bug planted.
fn attempt(mutant: &Mutant, case: u64) -> Checked {
    let sabotage = match mutant.plant {
        Plant::Around(sabotage) => Some(sabotage),
        Plant::Core => None,
    };
    match mutant.hunt {
        Hunt::Life => {
            let options = Options { sabotage, ..Options::default() };
            judge(Seed(case), &options).map(drop)
        }
        Hunt::Links => links::try_one_way(case),
        Hunt::Deposed => deposed::try_case(case, sabotage),
        Hunt::RolledLease => rolled_lease::try_case(case, sabotage),
        Hunt::StalledDisk => stalled_disk::try_case(case),
        Hunt::BelowReserve => below_reserve::try_case(case),
    }
}

fn hunt(mutant: &Mutant) -> Option<Caught> {
    let core = matches!(mutant.plant, Plant::Core).then_some(mutant.name);
    raft::switch::plant(core);
    let caught = (0..mutant.budget).find_map(|case| {
        let Violation { invariant, seen } = attempt(mutant, case).err()?;
        println!("{}: seed {case}: {invariant}: {seen}", mutant.name);
        Some(Caught { invariant, seeds: case + 1 })
    });
    raft::switch::plant(None);
    if caught.is_none() {
        println!("{}: not caught", mutant.name);
    }
    caught
}

fn hunt_all(mutants: &[Mutant]) -> Vec<Option<Caught>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(mutants.iter().map(|_| None).collect::<Vec<Option<Caught>>>());
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(place) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < mutants.len()) {
                    let caught = hunt(&mutants[place]);
                    results.lock().expect("no holder of this lock panics")[place] = caught;
                }
            });
        }
    });
    results.into_inner().expect("no holder of this lock panics")
}

#[test]
fn every_planted_bug_is_caught_within_its_budget() {
    let only = settings::bugs();
    let chosen: Vec<Mutant> = MUTANTS
        .iter()
        .filter(|mutant| only.as_deref().is_none_or(|names| names.split(',').any(|n| n == mutant.name)))
        .copied()
        .collect();
    assert!(!chosen.is_empty(), "unknown planted bug: {only:?}");
    let results = hunt_all(&chosen);
    let survivors: Vec<String> = chosen
        .iter()
        .zip(&results)
        .filter(|(_, caught)| caught.is_none())
        .map(|(mutant, _)| format!("{} within {}", mutant.name, mutant.budget))
        .collect();
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    if only.is_none() {
        let rows = chosen.iter().zip(results.iter().flatten()).map(|(mutant, caught)| table::Row {
            name: mutant.name,
            of: mutant.of(),
            invariant: caught.invariant,
            seeds: caught.seeds,
            budget: mutant.budget,
        });
        table::settle(&rows.collect::<Vec<_>>());
    }
}

/// With all bugs switched off, the copy of the core behaves like the shipped core, so no seed fails.
#[test]
fn no_seed_fails_without_a_planted_bug() {
    for seed in 0..20 {
        run(Seed(seed), &Options::default()).unwrap_or_else(|failure| panic!("\n{failure}"));
    }
}

/// Every bug that can be planted, in the core or around it, has exactly one entry in `MUTANTS`.
#[test]
fn every_bug_is_hunted_once() {
    let hunted = |name: &str| MUTANTS.iter().filter(|mutant| mutant.name == name).count();
    for bug in raft::bugs::BUGS {
        assert_eq!(hunted(bug.name), 1, "{} must be in the list of hunts once", bug.name);
    }
    for sabotage in planted_bugs::cores::sabotage::Sabotage::ALL {
        assert_eq!(hunted(&format!("{sabotage:?}")), 1, "{sabotage:?} must be in the list of hunts once");
    }
}
