//! Prints what the store costs: puts, reads, counts, compaction, images in processor time, and memory.
//!
//! `cargo run --release -p mvcc --example cost [keys]`

use std::hint::black_box;

use bytes::Bytes;
use mvcc::{Command, Compact, Put, Range, Removal, Store, View};

const VALUE_BYTES: usize = 256;
const PAGE: i64 = 500;

fn key(number: u64) -> Bytes {
    // 32 bytes, scattered: the order of writing is not the order of keys.
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("/registry/{scattered:020}/x").into()
}

fn put(number: u64) -> Command {
    let value = vec![b'v'; VALUE_BYTES].into();
    Command::Put(Put { key: key(number), value, ..Put::default() })
}

/// What this thread has used of the processor, in nanoseconds: other programs on the machine do not count.
fn cpu_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("this needs Linux");
    stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("the first field is a number")
}

/// Applies the commands, taking a new view after every `batch`, as the apply thread does; nanoseconds for each.
fn apply(store: &mut Store, view: &mut View, commands: &[Command], batch: usize) -> f64 {
    let start = cpu_ns();
    for commands in commands.chunks(batch) {
        for command in commands {
            black_box(store.apply(0, command).expect("a plain put succeeds"));
        }
        *view = store.view();
    }
    (cpu_ns() - start) / commands.len() as f64
}

fn time<T>(repeats: u32, mut work: impl FnMut() -> T) -> f64 {
    let start = cpu_ns();
    for _ in 0..repeats {
        black_box(work());
    }
    (cpu_ns() - start) / 1e3 / f64::from(repeats)
}

fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

fn all() -> Range {
    Range { key: "/registry/".into(), range_end: "/registry0".into(), ..Range::default() }
}

fn main() {
    let keys: u64 = std::env::args().nth(1).map_or(70_000, |keys| keys.parse().expect("a number of keys"));
    let creations: Vec<Command> = (0..keys).map(put).collect();
    let mut store = Store::new();
    let mut view = store.view();

    let before = resident_bytes();
    println!("{keys} keys of 32 bytes, values of {VALUE_BYTES} bytes");
    println!("put, new key, view every 100      {:8.0} ns", apply(&mut store, &mut view, &creations, 100));
    let held = resident_bytes().saturating_sub(before);
    let overhead = held as f64 / keys as f64 - (32 + VALUE_BYTES) as f64;
    println!("memory beyond key and value       {overhead:8.0} bytes per key (accounted {})", {
        (view.size_bytes() / keys) as i64 - (32 + VALUE_BYTES) as i64
    });
    let old_revision = view.revision().0;
    for batch in [1, 10, 100, 1000] {
        let updates: Vec<Command> = (0..50_000u64).map(|n| put(n.wrapping_mul(7919) % keys)).collect();
        let cost = apply(&mut store, &mut view, &updates, batch);
        println!("put, update, view every {batch:4}      {cost:8.0} ns");
    }

    println!(
        "get                               {:8.2} us",
        time(10_000, || view.range(&Range { key: key(7), ..Range::default() }))
    );
    let page = Range { limit: PAGE, ..all() };
    println!("page of {PAGE} with count           {:8.1} us", time(200, || view.range(&page)));
    let old_page = Range { revision: old_revision, ..page.clone() };
    println!("the same, 200,000 writes back     {:8.1} us", time(20, || view.range(&old_page)));
    let recent_page = Range { revision: view.revision().0 - 1_000, ..page.clone() };
    println!("the same, 1,000 writes back       {:8.1} us", time(100, || view.range(&recent_page)));
    let keys_page = Range { keys_only: true, ..page.clone() };
    println!("page of {PAGE}, keys only           {:8.1} us", time(200, || view.range(&keys_page)));
    println!(
        "count                             {:8.1} us",
        time(200, || view.range(&Range { count_only: true, ..all() }))
    );
    println!("all keys                          {:8.1} us", time(10, || view.range(&all())));
    println!("hash                              {:8.1} us", time(3, || view.hash_kv(0)));

    let mark = view.revision().0;
    store.apply(0, &Command::Compact(Compact { revision: mark, physical: true })).expect("compaction at the revision");
    drop(view);
    let versions = store.view().version_count();
    let start = cpu_ns();
    let mut slices = 0;
    let mut longest = 0.0f64;
    loop {
        let slice = cpu_ns();
        let removal = store.compact_slice(1000);
        longest = longest.max((cpu_ns() - slice) / 1e3);
        slices += 1;
        if removal == Removal::Done {
            break;
        }
    }
    let removed = versions - store.view().version_count();
    println!(
        "compaction of {removed} versions      {:8.1} us in {slices} slices, the longest {longest:.0} us",
        (cpu_ns() - start) / 1e3
    );

    let mut image = Vec::new();
    println!(
        "image written                     {:8.1} us",
        time(1, || mvcc::image::write(&store.view(), 1, &mut image))
    );
    println!(
        "image read ({:6.1} MB)            {:8.1} us",
        image.len() as f64 / 1e6,
        time(1, || { mvcc::image::read(&mut &image[..]).expect("an image just written is sound") })
    );
}
