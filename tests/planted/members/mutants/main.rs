//! Bugs planted in storage and engine must be detected, each within its budget of seeds; otherwise the simulator of
//! members and the tests of storage would prove nothing. Owns the runs with planted bugs, and checks that the kill
//! table in `tests/README.md` shows their results. `UPDATE=1 cargo test -p planted-members` writes the table;
//! `BUG=name` plants only one bug.

#[path = "../../../../node/storage/tests/support/bit_flip.rs"]
mod bit_flip;
#[path = "../../../../node/storage/tests/support/crash.rs"]
#[allow(dead_code, reason = "a hunt uses a part of it")]
mod crash;
#[path = "../../../../node/storage/tests/support/history.rs"]
#[allow(dead_code, reason = "a hunt uses a part of it")]
mod history;
#[path = "../../mutants/table.rs"]
mod table;

mod list;

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crash::Crash;
use history::{Broken, FORMATS};
use list::{Hunt, MUTANTS, Mutant};
use planted_members::invariant::{Checked, Violation};
use planted_members::members::run::{judge, run};
use planted_members::sweep::catching_panics;
use world::seed::Seed;
use world::settings;

/// How a planted bug was detected.
struct Caught {
    invariant: &'static str,
    seeds: u64,
}

/// Runs one seed with the bug planted.
fn attempt(hunt: Hunt, seed: u64) -> Checked {
    match hunt {
        Hunt::Members => judge(Seed(seed)).map(drop),
        Hunt::PowerLoss => catching_panics(|| lose_power_everywhere(seed).map_err(violation)),
        Hunt::BitFlip => catching_panics(|| flip_bits(seed).map_err(violation)),
    }
}

fn violation(Broken { rule, seen }: Broken) -> Violation {
    Violation { invariant: rule, seen }
}

/// Loses power after every operation of one history, each time in another way.
fn lose_power_everywhere(seed: u64) -> Result<(), Broken> {
    let format = FORMATS[seed as usize % FORMATS.len()];
    for stop in 1.. {
        if !crash::crash_and_check(format, seed, stop, Crash::PowerLoss(stop))? {
            break;
        }
    }
    Ok(())
}

/// Flips a bit in one of 61 bytes of one directory.
fn flip_bits(seed: u64) -> Result<(), Broken> {
    let (disk, model) = bit_flip::disk_after(FORMATS[seed as usize % FORMATS.len()], seed, 25);
    for path in disk.files() {
        let size = disk.contents(&path).map_or(0, |contents| contents.len() as u64);
        for offset in (0..size).filter(|offset| (offset + seed).is_multiple_of(61)) {
            bit_flip::flip_and_check((&disk, &model), &path, offset, (offset % 8) as u8)?;
        }
    }
    Ok(())
}

fn hunt(mutant: &Mutant) -> Option<Caught> {
    planted_switch::plant(Some(mutant.name));
    let caught = (0..mutant.budget).find_map(|seed| {
        let Violation { invariant, seen } = attempt(mutant.hunt, seed).err()?;
        println!("{}: seed {seed}: {invariant}: {seen}", mutant.name);
        Some(Caught { invariant, seeds: seed + 1 })
    });
    planted_switch::plant(None);
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

/// With all bugs switched off, the copies behave like the shipped crates, so no seed fails.
#[test]
fn no_seed_fails_without_a_planted_bug() {
    for seed in 0..5 {
        run(Seed(seed)).unwrap_or_else(|failure| panic!("\n{failure}"));
        for hunt in [Hunt::PowerLoss, Hunt::BitFlip] {
            attempt(hunt, seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        }
    }
}

/// Every bug that can be planted has exactly one entry in `MUTANTS`.
#[test]
fn every_bug_is_hunted_once() {
    for bug in planted_switch::bugs::BUGS {
        let count = MUTANTS.iter().filter(|mutant| mutant.name == bug.name).count();
        assert_eq!(count, 1, "{} must be in the list of hunts once", bug.name);
    }
}
