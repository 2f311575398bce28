//! Replaces the whole contents of a small file. Owns the order of the steps: write a draft, sync it, rename it, sync
//! the directory. Does not own the contents of any file.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::error::{Latch, StorageError, is_full};

/// Ending of a draft's name. A draft belongs to an unfinished write, so the next start or write removes it.
pub(crate) const DRAFT_ENDING: &str = ".tmp";

/// Durably replaces the contents of the file `dir/name` by `bytes`. After a crash the file holds either `bytes` or its previous
/// contents.
///
/// # Errors
/// Returns [`StorageError::Full`] if there was no space for the draft. The file is unchanged after this error. Any other error is
/// final.
pub(crate) fn replace(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: &[u8],
    latch: &Latch,
) -> Result<(), StorageError> {
    debug_assert!(!name.ends_with(DRAFT_ENDING), "a start would remove {name} as a draft");
    debug_assert!(!bytes.is_empty(), "an empty file has no checksum, so a start would report damage");
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

/// Removes a draft, if there is one.
pub(crate) fn discard(disk: &dyn Disk, path: &Path, latch: &Latch) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => latch.guard("remove", path, other),
    }
}
