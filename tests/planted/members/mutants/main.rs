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
#[path = "../../mutants/hunts.rs"]
mod hunts;
#[path = "../../mutants/table.rs"]
mod table;

mod list;

use crash::Crash;
use history::{Broken, FORMATS};
use hunts::{Caught, Hunted};
use list::{Hunt, MUTANTS, Mutant};
use planted_members::invariant::{Checked, Violation};
use planted_members::members::run::{judge, run};
use planted_members::sweep::catching_panics;
use planted_switch::bugs::BUGS;
use world::seed::Seed;

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

impl Hunted for Mutant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn of(&self) -> &'static str {
        BUGS.iter().find(|bug| bug.name == self.name).map_or("", |bug| bug.of)
    }

    fn budget(&self) -> u64 {
        self.budget
    }

    fn hunt(&self) -> Option<Caught> {
        planted_switch::plant(Some(self.name));
        let caught = hunts::by_seeds(self.budget, |seed| {
            let Violation { invariant, seen } = attempt(self.hunt, seed).err()?;
            Some((invariant, seen))
        });
        planted_switch::plant(None);
        caught
    }
}

#[test]
fn every_planted_bug_is_caught_within_its_budget() {
    hunts::catch_all(MUTANTS);
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
    for bug in BUGS {
        let count = MUTANTS.iter().filter(|mutant| mutant.name == bug.name).count();
        assert_eq!(count, 1, "{} must be in the list of hunts once", bug.name);
    }
}
