//! Until the feature level is raised, the former program opens every directory again.

use std::ffi::OsString;
use std::ops::Range;

use crate::cluster::Member;
use crate::pair::Pair;
use crate::{former, program};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_member_is_upgraded_and_taken_back() {
    let mut pair = Pair::of("one", &former()).await;
    pair.switch(0, &program()).await;
    assert_eq!(pair.cluster.members[0].describe().await.unwrap().feature_level_supported, 2);
    pair.cluster.members[0].write("through the present program", "v").await;
    pair.lead(0).await;
    pair.writes.more(300).await;
    pair.takes_a_snapshot(0).await;

    pair.switch(0, &former()).await;
    let member = &pair.cluster.members[0];
    assert_eq!(member.describe().await.unwrap().feature_level_supported, 0, "the former program says nothing");
    let written = member.get("through the present program", true).await.unwrap();
    assert_eq!(written.as_deref(), Some("v"));
    pair.is_needed(0).await;
    pair.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_members_are_upgraded_and_taken_back() {
    let mut pair = Pair::of("all", &former()).await;
    pair.switch_all(&program()).await;
    pair.writes.more(300).await;
    pair.kill_all().await;
    for place in 0..3 {
        pair.takes_a_snapshot(place).await;
    }
    pair.cluster.members[0].write("by the present program", "v").await;

    pair.switch_all(&former()).await;
    pair.writes.more(100).await;
    pair.kill_all().await;
    for place in 0..3 {
        pair.is_needed(place).await;
        let written = pair.cluster.members[place].get("by the present program", false).await.unwrap();
        assert_eq!(written.as_deref(), Some("v"));
    }
    pair.check().await;
}

/// Number of keys with large values.
const LARGE_KEYS: usize = 10;

fn large_key(number: usize) -> String {
    format!("large-{}", number % LARGE_KEYS)
}

/// Puts values of 1 MiB, each of which begins with its number.
async fn put_large(pair: &Pair, numbers: Range<usize>) {
    for number in numbers {
        let value = format!("{number} {}", "v".repeat(1 << 20));
        pair.cluster.members[number % 3].write(&large_key(number), &value).await;
    }
}

/// Names of each member's oldest segment.
fn oldest_segments(pair: &Pair) -> Vec<OsString> {
    let oldest = |member: &Member| {
        let names = std::fs::read_dir(member.dir.join("wal")).expect("the log has a folder");
        names.map(|name| name.expect("it can be read").file_name()).min().expect("the log has a segment")
    };
    pair.cluster.members.iter().map(oldest).collect()
}

/// Logs of several segments, of which each program purges and overwrites some, go back and forth between the programs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_logs_are_upgraded_and_taken_back() {
    let mut pair = Pair::of("long", &former()).await;
    pair.switch_all(&program()).await;
    let first = oldest_segments(&pair);
    put_large(&pair, 0..70).await;
    pair.switch_all(&former()).await;
    put_large(&pair, 70..85).await;
    pair.switch_all(&program()).await;
    pair.kill_all().await;
    put_large(&pair, 85..100).await;
    pair.switch_all(&former()).await;
    pair.kill_all().await;
    let last = oldest_segments(&pair);
    assert!(first.iter().zip(&last).all(|(first, last)| first < last), "no segment was purged: {first:?} {last:?}");
    for number in 90..100 {
        for member in &pair.cluster.members {
            let found = member.get(&large_key(number), true).await.unwrap().expect("the key is there");
            assert!(found.starts_with(&format!("{number} ")), "{} holds another value", member.name);
        }
    }
    pair.check().await;
}
