//! One flipped bit in a directory, and what a member may do about it. Owns this check, whose result is a value, because
//! storage with planted bugs must fail it. Does not own the choice of the bits (`damage.rs`).

use std::path::Path;

use memory_disk::{Choice, MemoryDisk};
use storage::{LogFormat, OpenError, Recovered};

use crate::history::{self, Broken, Model, Step, is, open, payload_of, run};

/// What a start does about a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The start reports the damage.
    Reported,
    /// The bit has no effect, or its effect is repaired.
    Harmless,
    /// The start puts a damaged snapshot aside, and the log holds the same entries.
    PutAside,
    /// The start reports damage to a part of the log that the newest snapshot makes up for.
    GivenUp,
}

/// Returns a disk after some random steps and a kill, and the state that the disk must hold.
pub(crate) fn disk_after(format: LogFormat, seed: u64, steps: u64) -> (MemoryDisk, Model) {
    let disk = history::disk_for(format);
    let mut model = Model::default();
    let mut choice = Choice(seed);
    let mut storage = Some(open(&disk, seed).expect("a blank disk opens").storage);
    for number in 0..steps {
        let step = Step::random(&mut choice, &model);
        run(&step, &mut storage, &disk, seed + number).expect("no fault yet");
        step.apply(&mut model);
    }
    disk.kill();
    (disk, model)
}

/// Starts a member from a copy of the disk with one bit of a file flipped.
pub(crate) fn start_after_flip(disk: &MemoryDisk, path: &Path, offset: u64, bit: u8) -> Result<Recovered, OpenError> {
    let disk = disk.fork();
    disk.flip_bit(path, offset, bit);
    // The salt decides, too, how many entries before the snapshot the start returns.
    open(&disk, 1000 + offset)
}

/// Returns whether an older snapshot and the log together hold every entry that the damaged snapshot covered.
pub(crate) fn is_replaced_by_the_log(model: &Model, found: &Recovered) -> bool {
    let older = found.raft.snapshot.last;
    let log: Vec<_> = model.log.iter().filter(|entry| entry.id.index > older.index).cloned().collect();
    let after: Vec<_> = found.raft.log.tail.iter().filter(|entry| entry.id.index > older.index).cloned().collect();
    let reaches_back = after.first().is_none_or(|first| first.id.index == older.index.next());
    found.raft.hard_state == model.hard_state && reaches_back && after == log
}

/// Returns whether the payload of the snapshot with which the state machine starts is as it was written. A start
/// verifies only this snapshot, and older ones when they are needed.
fn is_newest_snapshot_whole(found: &Recovered) -> bool {
    let Some(info) = &found.snapshot else { return true };
    let Ok(mut reader) = found.storage.snapshots().open(info) else { return false };
    let mut payload = Vec::new();
    loop {
        match reader.next_chunk() {
            Ok(Some(chunk)) => payload.extend_from_slice(&chunk),
            Ok(None) => return payload == payload_of(&info.meta, info.bytes as usize),
            Err(_) => return false,
        }
    }
}

/// Flips a bit and starts. Damage to durable bytes is repaired, is reported, or has no effect.
///
/// # Errors
/// Returns an error if an acknowledged write is lost without a report, or if the start fails for another reason.
pub(crate) fn flip_and_check(
    (disk, model): (&MemoryDisk, &Model),
    path: &Path,
    offset: u64,
    bit: u8,
) -> Result<Verdict, Broken> {
    match start_after_flip(disk, path, offset, bit) {
        Err(OpenError::Damaged { .. }) => Ok(Verdict::Reported),
        Err(other) => Err(Broken::new("a start fails only because of damage", other)),
        Ok(found) if found.quarantined.is_empty() => match is(model, &found) {
            Ok(()) if !is_newest_snapshot_whole(&found) => {
                Err(Broken::new("a snapshot is read as it was written", path.display()))
            }
            Ok(()) if found.given_up.is_empty() => Ok(Verdict::Harmless),
            Ok(()) => Ok(Verdict::GivenUp),
            Err(what) => Err(Broken::new("no write is lost without a report", what)),
        },
        Ok(found) if is_replaced_by_the_log(model, &found) => Ok(Verdict::PutAside),
        Ok(_) => Err(Broken::new("a snapshot is put aside only if the log holds the same", path.display())),
    }
}
