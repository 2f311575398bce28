//! A crash at one operation of a random history, and what a member must find after it. Owns this check, whose result is
//! a value, because storage with planted bugs must fail it. Does not own the choice of seeds and operations
//! (`crashes.rs`).

use memory_disk::{Choice, MemoryDisk};
use storage::{LogFormat, Recovered};

use crate::history::{self, Broken, Model, Step, is, open, read_snapshot, run};

/// The rule that an undamaged directory is never refused.
const OPENS: &str = "a directory that was not damaged opens";

/// How the machine stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    Kill,
    /// Which unsynced writes survive is drawn from the seed.
    PowerLoss(u64),
}

impl Crash {
    fn strike(self, disk: &MemoryDisk) {
        match self {
            Self::Kill => disk.kill(),
            Self::PowerLoss(seed) => disk.lose_power(seed),
        }
    }
}

/// Runs `steps` random steps, or fewer steps if the machine stops. Returns the states in which a crash after the last
/// step may leave the member.
///
/// # Errors
/// Returns an error if a step fails although the machine runs.
pub(crate) fn run_history(disk: &MemoryDisk, seed: u64, steps: usize, model: &mut Model) -> Result<Vec<Model>, Broken> {
    let mut choice = Choice(seed);
    let mut storage = match open(disk, seed) {
        Ok(found) => Some(found.storage),
        Err(_) if disk.has_stopped() => return Ok(vec![model.clone()]),
        Err(error) => return Err(Broken::new(OPENS, error)),
    };
    for number in 0..steps as u64 {
        let step = Step::random(&mut choice, model);
        match run(&step, &mut storage, disk, seed + number) {
            Ok(()) => step.apply(model),
            Err(_) if disk.has_stopped() => return Ok(step.may_leave(model)),
            Err(error) => {
                return Err(Broken::new("a write succeeds while the disk works", format!("{step:?}: {error:?}")));
            }
        }
    }
    Ok(vec![model.clone()])
}

/// Opens a directory that no fault of the disk has damaged. What a snapshot makes up for counts as damage as well.
fn open_whole(disk: &MemoryDisk, seed: u64, when: &str) -> Result<Recovered, Broken> {
    let found = open(disk, seed).map_err(|error| Broken::new(OPENS, format!("{when}: {error}")))?;
    let (quarantined, given_up) = (found.quarantined.len(), &found.given_up);
    if quarantined > 0 || !given_up.is_empty() {
        return Err(Broken::new(
            OPENS,
            format!("{when}: {quarantined} snapshots are unreadable; damage: {given_up:?}"),
        ));
    }
    Ok(found)
}

/// Runs a history in which the machine stops after `stop` operations. Then checks that a start finds a possible state,
/// that this state is durable, and that later writes succeed. Returns whether the history reached the operation.
///
/// # Errors
/// Returns an error if the member finds something else, or cannot start.
pub(crate) fn crash_and_check(format: LogFormat, seed: u64, stop: u64, crash: Crash) -> Result<bool, Broken> {
    let disk = history::disk_for(format);
    let mut model = Model::default();
    disk.stop_after(stop);
    let possible = run_history(&disk, seed, 30, &mut model)?;
    let stopped = disk.has_stopped();
    crash.strike(&disk);

    let found = open_whole(&disk, seed + 1000, "after the crash")?;
    let verdicts: Vec<_> = possible.iter().map(|state| is(state, &found)).collect();
    let Some(place) = verdicts.iter().position(Result::is_ok) else {
        return Err(Broken::new("a start finds what was acknowledged", format!("{verdicts:?}")));
    };
    for info in found.storage.snapshots().list() {
        read_snapshot(&found.storage, &info);
    }
    // The state that a start finds is durable: a power loss right after the start does not change the state.
    drop(found);
    disk.lose_power(seed);
    let mut model = possible[place].clone();
    let found = open_whole(&disk, seed + 2000, "after a second power loss")?;
    is(&model, &found).map_err(|what| Broken::new("what a start finds is durable", what))?;
    // Later writes succeed, and no write that the crash undid reappears.
    drop(found);
    run_history(&disk, seed + 1, 12, &mut model)?;
    disk.lose_power(seed + 2);
    let found = open_whole(&disk, seed + 3000, "after later writes")?;
    is(&model, &found).map_err(|what| Broken::new("later writes are found", what))?;
    Ok(stopped)
}
