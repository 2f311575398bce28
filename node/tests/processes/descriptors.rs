//! Tests of a low limit of file descriptors.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::until::{in_time, median_stays_within};

/// Limit of the members in these tests. It leaves 32 connections for clients.
const LIMIT: u32 = 256;

/// Time by which the slowest write may be slower than without idle connections. Silent connections are closed after
/// 10 s, so a write that waits for that is slower by more.
const SLOWER: Duration = Duration::from_secs(5);

/// More connections than the limit, on which no request begins.
async fn idle(address: &str) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.expect("the port is served"));
    }
    idle
}

#[tokio::test]
async fn idle_connections_stop_neither_the_member_nor_the_cluster() {
    let mut cluster = Cluster::new("descriptors", &[]).limited_to(LIMIT);
    cluster.form(3).await;
    let leader = cluster.leader().await;
    let before = cluster.members[leader].describe().await.expect("it leads");
    let usual = slowest_write(&cluster, leader).await;
    println!("without idle connections: {usual:?}");
    median_stays_within(usual + SLOWER, "the slowest write", async |_| {
        let mut idle = idle(&cluster.members[leader].client_address()).await;
        idle.extend(self::idle(&cluster.members[leader].peer_address()).await);
        slowest_write(&cluster, leader).await
    })
    .await;
    let after = cluster.members[leader].describe().await.expect("the member lives");
    assert_eq!((after.term, after.role()), (before.term, proto::admin::Role::Leader), "it leads all the time");
}

/// Writes through the other members, and then through the leader. Returns the time of the slowest write.
async fn slowest_write(cluster: &Cluster, leader: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let started = Instant::now();
        let other = &cluster.members[(leader + 1 + number % 2) % 3];
        in_time("a write through another member", other.write(&format!("key-{number}"), "v")).await;
        slowest = slowest.max(started.elapsed());
    }
    let started = Instant::now();
    in_time("a write of a newcomer", cluster.members[leader].write("newcomer", "v")).await;
    slowest.max(started.elapsed())
}

#[tokio::test]
async fn a_limit_that_is_too_low_is_refused() {
    let mut cluster = Cluster::new("too-few-descriptors", &[]);
    cluster.add_blank().await;
    cluster.members[0].kill().await;
    cluster.members[0].limit_to(64);
    let (code, error) = cluster.members[0].run_to_end().await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("the limit of file descriptors is 64: raise it to at least 224"), "{error}");
}
