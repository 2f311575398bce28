//! A disk that waits while the process or the machine has no file descriptor or no memory for one. Owns this wait. Does not own
//! the disk itself (`storage`).
//!
//! These errors come before a file is touched and say nothing about the disk, but the log treats every error that it does
//! not know as the end of the process. While the wait lasts, nothing is acknowledged, and a leader whose disk stalls
//! transfers leadership.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use storage::disk::{DiskLock, DiskReader, VolumeSpace};
use storage::{Disk, DiskFile};
use tokio::runtime::Handle;

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// Maximum wait on a thread of a runtime. Such a thread serves connections, and only their end may free a descriptor.
const PATIENCE_OF_RUNTIMES: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct PatientDisk {
    pub(super) disk: Arc<dyn Disk>,
    /// Set when the member stops. Errors are then returned.
    pub(super) stops: Arc<AtomicBool>,
}

impl PatientDisk {
    fn wait<T>(&self, path: &Path, passes: impl Fn(&Error) -> bool, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let (started, mut is_logged) = (Instant::now(), false);
        let is_patient = || Handle::try_current().is_err() || started.elapsed() < PATIENCE_OF_RUNTIMES;
        loop {
            match attempt() {
                Err(reason) if passes(&reason) && is_patient() && !self.stops.load(Ordering::Relaxed) => {
                    if !is_logged {
                        let path = path.display();
                        tracing::error!(%path, %reason, "a file cannot be opened yet: raise the limit that is named");
                        is_logged = true;
                    }
                    sleep(PAUSE);
                }
                outcome => return outcome,
            }
        }
    }
}

/// Returns whether an operation that opens something failed because of a limit.
fn is_exhausted(reason: &Error) -> bool {
    matches!(Errno::from_io_error(reason), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR))
}

/// The same for an operation that does more than to open. A sync that fails for want of memory may have lost bytes.
fn is_without_descriptors(reason: &Error) -> bool {
    matches!(Errno::from_io_error(reason), Some(Errno::MFILE | Errno::NFILE))
}

impl Disk for PatientDisk {
    fn create_dir(&self, path: &Path) -> Result<()> {
        self.wait(path, is_exhausted, || self.disk.create_dir(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.wait(dir, is_exhausted, || self.disk.list(dir))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.wait(path, is_exhausted, || self.disk.create(path))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.wait(path, is_exhausted, || self.disk.open(path))
    }

    fn open_settled(&self, path: &Path) -> Result<Box<dyn DiskReader>> {
        self.wait(path, is_exhausted, || self.disk.open_settled(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.wait(dir, is_without_descriptors, || self.disk.sync_dir(dir))
    }

    fn space(&self, dir: &Path) -> Result<VolumeSpace> {
        self.disk.space(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>> {
        self.wait(path, is_exhausted, || self.disk.lock(path))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use storage::FileDisk;

    use super::*;

    fn disk() -> PatientDisk {
        PatientDisk { disk: Arc::new(FileDisk), stops: Arc::default() }
    }

    /// Fails with `errno` for some times. Returns the outcome, and the number of attempts.
    fn attempts(disk: &PatientDisk, errno: Errno, failures: u32, passes: fn(&Error) -> bool) -> (bool, u32) {
        let made = AtomicU32::new(0);
        let outcome = disk.wait(Path::new("/x"), passes, || {
            if made.fetch_add(1, Ordering::Relaxed) < failures { Err(errno.into()) } else { Ok(()) }
        });
        (outcome.is_ok(), made.into_inner())
    }

    #[test]
    fn a_limit_is_waited_for() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR] {
            assert_eq!(attempts(&disk(), errno, 2, is_exhausted), (true, 3), "{errno}");
        }
        assert_eq!(attempts(&disk(), Errno::MFILE, 2, is_without_descriptors), (true, 3));
    }

    #[test]
    fn what_may_be_the_disk_is_final() {
        assert_eq!(attempts(&disk(), Errno::IO, 1, is_exhausted), (false, 1));
        assert_eq!(attempts(&disk(), Errno::NOMEM, 1, is_without_descriptors), (false, 1), "it may come from the sync");
    }

    #[test]
    fn the_wait_ends_when_the_member_stops() {
        let disk = disk();
        disk.stops.store(true, Ordering::Relaxed);
        assert_eq!(attempts(&disk, Errno::MFILE, u32::MAX, is_exhausted), (false, 1));
    }
}
