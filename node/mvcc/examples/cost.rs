//! Prints the costs of the store in processor time and memory: puts, reads, counts, compaction, images. Linux only.
//!
//! `cargo run --release -p mvcc --example cost [keys]`

use std::hint::black_box;

use bytes::Bytes;
use mvcc::{Command, Compact, Put, Range, Removal, Store, View};

const VALUE_BYTES: usize = 256;
const PAGE: i64 = 500;

fn key(number: u64) -> Bytes {
    // A key has 32 bytes. Its number is scattered, so that keys are not written in key order.
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("/registry/{scattered:020}/x").into()
}

fn put(number: u64) -> Command {
    static VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];
    Command::Put(Put { key: key(number), value: Bytes::from_static(&VALUE), ..Put::default() })
}

/// Processor time of this thread, in nanoseconds. The kernel updates the time in ticks, so short work cannot be measured.
fn cpu_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has this file");
    stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("the first field is a number")
}

/// Applies puts in batches, and takes a new view after each batch, as the apply thread does. Returns the time for each put, in
/// nanoseconds.
fn put_all(store: &mut Store, view: &mut View, commands: &[Command], batch: usize) -> f64 {
    let start = cpu_ns();
    for commands in commands.chunks(batch) {
        for command in commands {
            black_box(store.apply(0, command).expect("a plain put succeeds"));
        }
        *view = store.view();
    }
    (cpu_ns() - start) / commands.len() as f64
}

/// Repeats the work until the repetitions together take 200 ms. Returns the time for one repetition, in microseconds.
fn average<T>(mut work: impl FnMut() -> T) -> f64 {
    const LONG_NS: f64 = 200e6;
    let mut rounds = 1u32;
    loop {
        let start = cpu_ns();
        for _ in 0..rounds {
            black_box(work());
        }
        let spent = cpu_ns() - start;
        if spent > LONG_NS {
            return spent / 1e3 / f64::from(rounds);
        }
        rounds *= 2;
    }
}

fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

fn all() -> Range {
    Range { key: "/registry/".into(), range_end: "/registry0".into(), ..Range::default() }
}

fn show(what: &str, cost: f64, unit: &str) {
    println!("{what:<42}{cost:10.1} {unit}");
}

fn writes(store: &mut Store, view: &mut View, keys: u64) {
    let commands: Vec<Command> = (0..keys).map(put).collect();
    let before = resident_bytes();
    show("put, new key, a view every 100", put_all(store, view, &commands, 100), "ns");
    let data = (32 + VALUE_BYTES) as f64;
    let held = resident_bytes().saturating_sub(before) as f64 / keys as f64;
    show("memory beyond key and value", held - data, "bytes per key");
    show("the same as the store accounts for it", view.size_bytes() as f64 / keys as f64 - data, "bytes per key");
    let commands: Vec<Command> = (0..50_000).map(|n: u64| put(n.wrapping_mul(7919) % keys)).collect();
    for batch in [1, 10, 100, 1000] {
        show(&format!("put, update, a view every {batch}"), put_all(store, view, &commands, batch), "ns");
    }
}

fn reads(view: &View, first_revision: i64) {
    let one = Range { key: key(7), ..Range::default() };
    let thousand = average(|| (0..1000).map(|_| view.range(&one).expect("it can be read").count).sum::<u64>());
    show("get of the same key", thousand, "ns each");
    let ranges: Vec<Range> = (0..1000).map(|n| Range { key: key(n * 61), ..Range::default() }).collect();
    let thousand = average(|| ranges.iter().map(|range| view.range(range).expect("valid").count).sum::<u64>());
    show("get of 1,000 keys in turn", thousand, "ns each");

    let page = Range { limit: PAGE, ..all() };
    show(&format!("page of {PAGE} with count"), average(|| view.range(&page)), "us");
    let recent = Range { revision: view.revision().0 - 1_000, ..page.clone() };
    show("the same, 1,000 writes back", average(|| view.range(&recent)), "us");
    let old = Range { revision: first_revision, ..page.clone() };
    show("the same, 50,000 writes back", average(|| view.range(&old)), "us");
    let bare = Range { keys_only: true, ..page };
    show(&format!("page of {PAGE}, keys only"), average(|| view.range(&bare)), "us");
    let count = Range { count_only: true, ..all() };
    show("count", average(|| view.range(&count)), "us");
    show("all keys", average(|| view.range(&all())), "us");
    show("hash", average(|| view.hash_kv(0)), "us");
}

fn compaction(store: &mut Store, view: View) {
    let mark = view.revision().0;
    store.apply(0, &Command::Compact(Compact { revision: mark, physical: true })).expect("compaction at the revision");
    let versions = view.version_count();
    let (mut slices, start) = (0, cpu_ns());
    // The readers always hold a view, and get a new view after every ten slices of the compaction.
    let mut readers = view;
    while store.removal() == Removal::Pending {
        if slices % 10 == 0 {
            readers = store.view();
        }
        store.compact_slice(1000);
        slices += 1;
    }
    drop(readers);
    let removed = versions - store.view().version_count();
    show(&format!("compaction, for each of {removed}"), (cpu_ns() - start) / removed as f64, "ns");
}

fn main() {
    let keys: u64 = std::env::args().nth(1).map_or(70_000, |keys| keys.parse().expect("a number of keys"));
    println!("{keys} keys of 32 bytes, values of {VALUE_BYTES} bytes");
    let mut store = Store::new();
    let mut view = store.view();
    writes(&mut store, &mut view, keys);
    reads(&view, keys as i64 + 1);
    compaction(&mut store, view);

    let view = store.view();
    let mut image = Vec::new();
    let written = average(|| {
        image.clear();
        mvcc::image::write(&view, 1, mvcc::image::ImageFormat::V1, &mut image)
    });
    show("image written", written, "us");
    let read = average(|| mvcc::image::read(&mut &image[..]).expect("an image just written is sound"));
    show(&format!("image read ({:.1} MB)", image.len() as f64 / 1e6), read, "us");
}
