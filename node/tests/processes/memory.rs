//! Tests of the memory of a member's process. Owns the loads that once held gigabytes. Does not own the sizes of the parts
//! (`memory_budget.rs`).

use std::fs;
use std::time::{Duration, Instant};

use futures::future::join_all;
use proto::etcdserverpb as pb;

use crate::cluster::{Cluster, Member};
use crate::until::until;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const QUOTA: u64 = 256 * MIB;
/// Size of a value, in bytes.
pub(crate) const VALUE: usize = 1_000_000;
/// Number of puts between two compactions. Their values fill half of the quota.
const ROUND: usize = 125;
const ROUNDS: usize = 12;
/// Number of puts at a time.
const TOGETHER: usize = 5;

/// One of the process's sizes, in bytes: `VmRSS` is the memory that it holds, `VmHWM` the highest that it ever held.
pub(crate) fn size(member: &Member, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", member.process())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

async fn alone(name: &str) -> Cluster {
    let mut cluster = Cluster::new(name, &["--quota-bytes", &QUOTA.to_string()]);
    cluster.form(1).await;
    cluster
}

/// Overwrites one key `times` times. Returns the last revision.
pub(crate) async fn overwrite(member: &Member, times: usize) -> i64 {
    let client = until("the member serves", async || member.kv().await.ok()).await;
    let mut revision = 0;
    for round in 0..times.div_ceil(TOGETHER) {
        let put = |number| {
            let value = vec![(round + number) as u8; VALUE].into();
            let (mut client, put) = (client.clone(), pb::PutRequest { key: "key".into(), value, ..Default::default() });
            async move { client.put(put).await.expect("it is written").into_inner().header.expect("a header").revision }
        };
        let revisions = join_all((0..TOGETHER.min(times)).map(put)).await;
        revision = revisions.into_iter().fold(revision, i64::max);
    }
    revision
}

/// Removes all history, and waits until it is removed.
pub(crate) async fn compact(member: &Member, revision: i64) {
    let compaction = pb::CompactionRequest { revision, physical: true };
    member.kv().await.expect("it serves").compact(compaction).await.expect("it is compacted");
}

#[tokio::test]
async fn overwriting_a_large_value_holds_little_memory_and_a_compaction_frees_it() {
    let fresh = alone("memory-fresh").await;
    overwrite(&fresh.members[0], 1).await;
    let fresh = size(&fresh.members[0], "VmRSS");

    let cluster = alone("memory-overwrites").await;
    let member = &cluster.members[0];
    let started = Instant::now();
    for _ in 0..ROUNDS {
        let revision = overwrite(member, ROUND).await;
        compact(member, revision).await;
    }
    let (took, held, peak) = (started.elapsed(), size(member, "VmRSS"), size(member, "VmHWM"));
    let shown = [fresh, held, peak].map(|bytes| bytes / MIB);
    println!("MiB of a fresh member, after the compaction, and at the peak: {shown:?}; {took:?}");
    assert!(peak <= 2 * QUOTA + 256 * MIB, "{} MiB at the peak", peak / MIB);
    let most = fresh * 13 / 10 + 128 * MIB;
    let compacted = Instant::now();
    until("the memory is given back", async || (size(member, "VmRSS") <= most).then_some(())).await;
    let took = compacted.elapsed();
    println!("given back after {took:?}: {} MiB", size(member, "VmRSS") / MIB);
    assert!(took < Duration::from_secs(60), "a minute after the compaction: {took:?}");
}
