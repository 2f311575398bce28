//! Replacing a small file whole: draft, sync, rename, sync of the directory. Owns that order and no contents.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::error::{Latch, StorageError, is_full};

/// Ending of a draft's name; drafts are from an unfinished write and go when the next one starts.
pub(crate) const DRAFT_ENDING: &str = ".tmp";

/// Makes `dir/name` hold `bytes`, durably; after a crash it holds them or what it held before.
///
/// # Errors
/// [`StorageError::Full`] if the draft found no space, and then nothing changed; every other one is final.
pub(crate) fn replace(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: &[u8],
    latch: &Latch,
) -> Result<(), StorageError> {
    latch.check()?;
    let path = dir.join(name);
    let draft = dir.join(format!("{name}{DRAFT_ENDING}"));
    discard(disk, &draft, latch)?;
    let written = disk.create(&draft).and_then(|file| file.write_at(0, bytes).map(|()| file));
    let file = match written {
        Err(e) if is_full(&e) => {
            discard(disk, &draft, latch)?;
            return Err(StorageError::Full { path: draft });
        }
        other => latch.guard("write", &draft, other)?,
    };
    latch.guard("sync", &draft, file.sync())?;
    latch.guard("rename", &draft, disk.rename(&draft, &path))?;
    latch.guard("sync", dir, disk.sync_dir(dir))
}

fn discard(disk: &dyn Disk, path: &Path, latch: &Latch) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => latch.guard("remove", path, other),
    }
}
