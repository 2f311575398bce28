//! A newer snapshot replaces a snapshot just before the older one is opened. Owns a disk that runs a function at this
//! moment.

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use memory_disk::MemoryDisk;
use raft::{EntryId, Index, Term};
use storage::disk::{DiskLock, DiskReader, VolumeSpace};
use storage::{Disk, DiskFile, Options, Snapshots, Start, Storage};

type Meanwhile = Box<dyn FnOnce() + Send>;

/// A disk that calls a function once, just before the disk opens a file.
struct Interrupted {
    disk: MemoryDisk,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupted")
    }
}

impl Disk for Interrupted {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let meanwhile = self.meanwhile.lock().expect("no holder panics").take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.disk.open(path)
    }

    fn open_settled(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        self.disk.open_settled(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<VolumeSpace> {
        self.disk.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

fn take(snapshots: &Snapshots, index: u64) {
    let meta = history::meta(EntryId { term: Term(1), index: Index(index) });
    snapshots.begin(meta).expect("a draft").finish().expect("a snapshot");
}

#[test]
fn opening_the_newest_snapshot_opens_the_one_that_displaced_it() {
    let meanwhile = Arc::default();
    let disk = Interrupted { disk: MemoryDisk::new(), meanwhile: Arc::clone(&meanwhile) };
    let options = Options { snapshots_kept: 1, ..history::options(1) };
    let mut storage = Storage::open(Arc::new(disk), &history::dir(), options).expect("a blank disk").storage;
    storage.bootstrap(history::record(), &Start::Empty).expect("no fault");
    let snapshots = storage.snapshots().clone();
    take(&snapshots, 5);
    let displacing = snapshots.clone();
    *meanwhile.lock().expect("no holder panics") = Some(Box::new(move || take(&displacing, 8)) as Meanwhile);
    let opened = snapshots.open_newest(Index(5)).expect("one of the two exists");
    assert_eq!(opened.info().meta.last.index, Index(8));
    assert!(snapshots.open_newest(Index(9)).is_err(), "no snapshot reaches index 9");
}
