//! The faults that the memory disk causes. Owns one test for each fault whose extent other tests rely on. Does not own the
//! reaction of storage to the faults (tests of `storage`).

use std::collections::BTreeSet;
use std::path::Path;

use memory_disk::MemoryDisk;
use storage::disk::{PAGE, SECTOR, read_exact_at};
use storage::{Disk, DiskFile};

fn file() -> &'static Path {
    Path::new("/file")
}

/// Creates `/file` with these durable bytes.
fn durable(disk: &MemoryDisk, bytes: &[u8]) -> Box<dyn DiskFile> {
    let created = disk.create(file()).expect("a new file");
    created.write_at(0, bytes).expect("no fault");
    created.sync().expect("no fault");
    disk.sync_dir(Path::new("/")).expect("no fault");
    created
}

/// Bytes of `/file` after each of many power losses.
fn after_power_losses(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let after = |seed| {
        let disk = disk.fork();
        disk.lose_power(seed);
        disk.contents(file()).expect("its name is durable")
    };
    (0..300).map(after).collect()
}

#[test]
fn a_torn_page_takes_its_durable_bytes_with_it() {
    let disk = MemoryDisk::new();
    let file = durable(&disk, &[1; 2 * PAGE]);
    file.write_at(512, &[2; 512]).expect("no fault");
    let old = vec![1; 2 * PAGE];
    let mut new = old.clone();
    new[512..1024].fill(2);
    let mut verdicts = [0; 3];
    for bytes in after_power_losses(&disk) {
        assert!(bytes[PAGE..] == old[PAGE..], "a page changed in which no write was under way");
        let is_garbage = bytes != old && bytes != new;
        assert!(!is_garbage || bytes[..512] != old[..512] && bytes[1024..PAGE] != old[1024..PAGE], "a part is torn");
        verdicts[if is_garbage { 2 } else { usize::from(bytes == new) }] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 10), "lost, kept, torn: {verdicts:?}");
}

#[test]
fn a_torn_sector_leaves_the_rest_of_its_page() {
    let disk = MemoryDisk::with_tear_unit(SECTOR);
    let file = durable(&disk, &[1; PAGE]);
    file.write_at(512, &[2; 512]).expect("no fault");
    let mut seen = BTreeSet::new();
    for bytes in after_power_losses(&disk) {
        assert!(bytes[..512] == [1; 512] && bytes[1024..] == [1; PAGE - 1024], "another sector changed");
        seen.insert(bytes);
    }
    assert!(seen.len() > 2, "the sector was never torn");
}

/// A page in a cache holds one state at a time, so a later write never survives without an earlier one in the same page.
#[test]
fn of_the_writes_to_a_page_the_oldest_survive() {
    let disk = MemoryDisk::new();
    let file = durable(&disk, &[1; PAGE]);
    file.write_at(0, &[2; 100]).expect("no fault");
    file.write_at(200, &[3; 100]).expect("no fault");
    let mut seen = BTreeSet::new();
    for bytes in after_power_losses(&disk).into_iter().filter(|bytes| bytes[300..] == [1; PAGE - 300]) {
        seen.insert((bytes[0], bytes[200]));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (2, 3)]);
}

#[test]
fn a_directory_whose_name_was_not_synced_is_lost_with_its_files() {
    let disk = MemoryDisk::new();
    let (top, dir, inner) = (Path::new("/"), Path::new("/dir"), Path::new("/dir/inner"));
    for path in [dir, inner] {
        disk.create_dir(path).expect("no fault");
    }
    let created = disk.create(&inner.join("file")).expect("a new file");
    created.write_at(0, b"durable").expect("no fault");
    created.sync().expect("no fault");
    disk.sync_dir(inner).expect("no fault");
    disk.sync_dir(dir).expect("no fault");
    let mut was_lost = false;
    for seed in 0..50 {
        let after = disk.fork();
        after.lose_power(seed);
        let is_lost = after.list(top).expect("it is there").is_empty();
        assert_eq!(after.files().is_empty(), is_lost, "seed {seed}");
        assert_eq!(after.create(&inner.join("other")).is_err(), is_lost, "seed {seed}");
        was_lost |= is_lost;
    }
    assert!(was_lost, "the directory was never lost");
    disk.sync_dir(top).expect("no fault");
    for seed in 0..50 {
        let after = disk.fork();
        after.lose_power(seed);
        assert_eq!(after.contents(&inner.join("file")).as_deref(), Some(&b"durable"[..]), "seed {seed}");
    }
}

#[test]
fn short_reads_return_whole_sectors_and_at_least_one() {
    let disk = MemoryDisk::new();
    let content: Vec<u8> = (0..10_000).map(|at| (at % 251) as u8).collect();
    let file = durable(&disk, &content);
    disk.short_reads(7);
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let mut into = [0; PAGE];
        let read = file.read_at(512, &mut into).expect("no fault");
        assert!(read > 0 && read.is_multiple_of(SECTOR), "{read} bytes");
        assert!(into[..read] == content[512..512 + read]);
        seen.insert(read);
    }
    assert!(seen.len() > 3, "{seen:?}");
    let mut whole = vec![0; content.len()];
    read_exact_at(&*file, 0, &mut whole).expect("reads go on to the end");
    assert!(whole == content);
}

#[test]
fn exactly_the_first_bytes_of_the_last_write_are_kept() {
    let disk = MemoryDisk::new();
    let file = durable(&disk, &[1; 4]);
    file.write_at(0, &[2; 2]).expect("no fault");
    file.write_at(1, &[3; 5]).expect("no fault");
    assert_eq!(disk.last_write_bytes(), Some(5));
    let kept: [(usize, &[u8]); 4] =
        [(0, &[2, 2, 1, 1]), (1, &[2, 3, 1, 1]), (4, &[2, 3, 3, 3, 3]), (9, &[2, 3, 3, 3, 3, 3])];
    for (bytes, expected) in kept {
        let disk = disk.fork();
        disk.keep_of_last_write(bytes);
        assert_eq!(disk.contents(self::file()).as_deref(), Some(expected), "{bytes} bytes");
        assert_eq!(disk.last_write_bytes(), None, "the machine started again");
    }
    file.sync().expect("no fault");
    assert_eq!(disk.last_write_bytes(), None, "the write is durable");
}
