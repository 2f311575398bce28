//! Measures what a sync of the log costs in a file whose space was filled with zeros, reserved by fallocate, or written before.
//! Owns the measurement. Does not own the choice that follows from it (`node/docs/wal_format.md`).
//!
//! ```text
//! cargo run --release -p storage --example sync_cost -- DIRECTORY
//! ```

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures files and time")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

const PAGE: usize = 4096;
const SYNCS: usize = 2000;
const FILE_BYTES: usize = SYNCS * PAGE;

/// Creates a file whose pages are filled with `byte`.
fn filled(path: &Path, byte: u8) -> std::io::Result<File> {
    let file = File::create(path)?;
    file.write_all_at(&vec![byte; FILE_BYTES], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Creates a file whose space is reserved but not written.
fn reserved(path: &Path) -> std::io::Result<File> {
    let file = File::create(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES as u64)?;
    file.sync_all()?;
    Ok(file)
}

fn main() -> std::io::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let path = |name: &str| Path::new(&dir).join(format!("sync-cost-{}-{name}", std::process::id()));
    let names = ["zero-filled", "fallocated", "recycled"];
    let paths = names.map(path);
    let files = [filled(&paths[0], 0)?, reserved(&paths[1])?, filled(&paths[2], 7)?];
    let mut times: [Vec<Duration>; 3] = Default::default();
    // In turns, so that other load on the disk meets all files alike.
    for page in 0..SYNCS {
        for (file, times) in files.iter().zip(&mut times) {
            let started = Instant::now();
            file.write_all_at(&[page as u8 | 1; PAGE], (page * PAGE) as u64)?;
            file.sync_data()?;
            times.push(started.elapsed());
        }
    }
    for ((name, times), path) in names.iter().zip(&mut times).zip(&paths) {
        times.sort();
        println!("{name:12} p50 {:?}, p99 {:?}", times[SYNCS / 2], times[SYNCS * 99 / 100]);
        fs::remove_file(path)?;
    }
    Ok(())
}
