//! Tests of a low limit of file descriptors.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::until::in_time;

/// Limit of the members in these tests. It leaves 96 connections for clients.
const LIMIT: u32 = 256;

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
    let idle = idle(&cluster.members[leader].client_address()).await;
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let other = &cluster.members[(leader + 1 + number % 2) % 3];
        let started = Instant::now();
        in_time("a write through another member", other.write(&format!("key-{number}"), "v")).await;
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "a write took {slowest:?}, as if the leader had changed");
    in_time("a write of a newcomer", cluster.members[leader].write("newcomer", "v")).await;
    let described = cluster.members[leader].describe().await.expect("the member lives");
    assert_eq!(described.role(), proto::admin::Role::Leader, "it still leads");
    drop(idle);
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
