//! The file `isolated`: why this member takes part in nothing any more, although its files are whole. Owns the file, which a write
//! replaces whole or not at all. Does not own the verdict (`node/docs/corruption.md`).
//!
//! The file holds the reason as text. That it exists is the verdict, so damage to the text does not revoke it. A program that does not
//! know the file ignores it.

use std::io;
use std::path::Path;

use crate::disk::{Disk, read_exact_at};
use crate::error::{Damage, DamageKind, Failure, Latch, OpenError, StorageError};
use crate::replace::replace;

const NAME: &str = "isolated";
/// Maximum number of bytes of the reason that are read.
const REASON_BYTES_MAX: u64 = 1024;

/// Durably isolates the member whose directory this is: until a person removes the file, or the volume is replaced, every start of the
/// directory reports damage with this reason. Another thread may write to the directory meanwhile.
///
/// # Errors
/// Returns [`StorageError`] if the file was not made durable.
///
/// # Panics
/// Panics in debug builds if the reason is empty.
pub fn isolate(disk: &dyn Disk, dir: &Path, reason: &str) -> Result<(), StorageError> {
    replace(disk, dir, NAME, reason.as_bytes(), &Latch::default())
}

/// Returns damage with the reason if the member is isolated.
pub(crate) fn check(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(NAME);
    let Some(reason) = read(disk, &path)? else { return Ok(()) };
    Err(OpenError::Damaged {
        identity: None,
        damage: Damage { path, offset: 0, kind: DamageKind::Isolated { reason } },
    })
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<String>, Failure> {
    let file = match disk.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Failure::of("open", path))?,
    };
    let length = file.size().map_err(Failure::of("measure", path))?.min(REASON_BYTES_MAX);
    let mut bytes = vec![0; length as usize];
    read_exact_at(&*file, 0, &mut bytes).map_err(Failure::of("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
