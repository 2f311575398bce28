//! Tests of heavy reads: how long another client waits meanwhile, and what a member's memory does. Owns the content and
//! the clients. Does not own a target for a fast build on an idle machine, which `cargo xtask bench` measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::{Cluster, Member, connect};
use crate::until::in_time;

/// Number of operations of a transaction that fills the store.
const OPS: usize = 128;

/// A member alone, with one thread for clients, so that every connection shares it.
async fn member(name: &str, flags: &[&str]) -> Cluster {
    let flags = [&["--client-threads=1"], flags].concat();
    Cluster::bootstrapped(name, 1, &flags).await
}

async fn kv(member: &Member) -> KvClient<Channel> {
    let channel = connect(&member.client_url()).await.expect("the port is served");
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// Writes keys with values of this size.
async fn fill(member: &Member, keys: usize, value_bytes: usize) {
    let mut kv = kv(member).await;
    let batch = OPS.min((1 << 20) / value_bytes);
    for first in (0..keys).step_by(batch) {
        let put = |number: usize| {
            let (key, value) = (format!("key-{number:08}"), vec![b'v'; value_bytes]);
            let put = pb::PutRequest { key: key.into(), value: value.into(), ..pb::PutRequest::default() };
            pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
        };
        let success = (first..keys.min(first + batch)).map(put).collect();
        let txn = pb::TxnRequest { success, ..pb::TxnRequest::default() };
        in_time("a transaction", kv.txn(txn)).await.expect("it is written");
    }
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: "key-".into(), range_end: "key.".into(), ..pb::RangeRequest::default() }
}

/// The longest time that a small serializable read took while `work` ran, and the time of `work`.
async fn longest_gap<T>(member: &Member, work: impl Future<Output = T>) -> (Duration, Duration, T) {
    let (mut neighbour, ends) = (kv(member).await, Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&ends);
    let (begin, begun) = tokio::sync::oneshot::channel();
    let neighbour = tokio::spawn(async move {
        let one = pb::RangeRequest { key: "key-00000007".into(), serializable: true, ..pb::RangeRequest::default() };
        let mut longest = Duration::ZERO;
        let mut begin = Some(begin);
        while !ended.load(Ordering::Relaxed) {
            let started = Instant::now();
            in_time("a small read", neighbour.range(one.clone())).await.expect("it is answered");
            longest = longest.max(started.elapsed());
            if let Some(begin) = begin.take() {
                longest = Duration::ZERO;
                begin.send(()).expect("the test waits");
            }
        }
        longest
    });
    begun.await.expect("it reads");
    let started = Instant::now();
    let done = work.await;
    let took = started.elapsed();
    ends.store(true, Ordering::Relaxed);
    (neighbour.await.expect("it is answered"), took, done)
}

/// Without threads of their own, heavy reads would stop the only thread for clients for as long as they run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_of_heavy_reads_does_not_wait_for_them() {
    const KEYS: usize = 60_000;
    let cluster = member("heavy-neighbour", &[]).await;
    let member = &cluster.members[0];
    fill(member, KEYS, 64).await;
    let channel = connect(&member.client_url()).await.expect("the port is served");
    let mut maintenance = MaintenanceClient::new(channel);
    let mut reader = kv(member).await;
    let by_value = pb::RangeRequest {
        sort_order: pb::range_request::SortOrder::Descend as i32,
        sort_target: pb::range_request::SortTarget::Value as i32,
        limit: 10,
        ..all()
    };
    let mut rounds = Vec::new();
    for round in 1..=3 {
        let (hash, hash_took, _) = longest_gap(member, async {
            for _ in 0..3 {
                maintenance.hash_kv(pb::HashKvRequest::default()).await.expect("it is computed");
            }
        })
        .await;
        let (sorted, sorted_took, answer) = longest_gap(member, reader.range(by_value.clone())).await;
        assert_eq!(answer.expect("it is answered").into_inner().kvs.len(), 10);
        let (keys, keys_took, answer) =
            longest_gap(member, reader.range(pb::RangeRequest { keys_only: true, ..all() })).await;
        assert_eq!(answer.expect("it is answered").into_inner().kvs.len(), KEYS);
        println!(
            "round {round}: longest gap {hash:?} in three hashes ({hash_took:?}), {sorted:?} in an order by value \
             ({sorted_took:?}), {keys:?} in all keys ({keys_took:?})"
        );
        rounds.push([(hash, hash_took / 3), (sorted, sorted_took), (keys, keys_took)]);
    }
    for (at, what) in ["a hash", "an order by value"].into_iter().enumerate() {
        let mut gaps: Vec<Duration> = rounds.iter().map(|round| round[at].0).collect();
        let mut times: Vec<Duration> = rounds.iter().map(|round| round[at].1).collect();
        gaps.sort_unstable();
        times.sort_unstable();
        // On a busy machine a short hash takes as long as a turn of the scheduler.
        let most = (times[1] / 2).max(Duration::from_millis(20));
        assert!(gaps[1] < most, "a neighbour of {what} waits {gaps:?}, and it takes {times:?}");
    }
}

/// The answer would have 5 GB. It is refused from the size of what it refers to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_answer_is_too_large_is_refused_before_it_is_built() {
    const MIB: usize = 1 << 20;
    let cluster = member("heavy-transaction", &[]).await;
    let member = &cluster.members[0];
    fill(member, 40, MIB - 100).await;
    let mut kv = kv(member).await;
    let range = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(all())) };
    let read = pb::TxnRequest { success: vec![range; OPS], ..pb::TxnRequest::default() };
    let put = pb::PutRequest { key: "other".into(), ..pb::PutRequest::default() };
    let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    let write = pb::TxnRequest { success: [vec![put], read.success[1..].to_vec()].concat(), ..read.clone() };
    let before = resident_bytes(member).await;
    for (what, txn) in [("read", read), ("write", write)] {
        let mut times = Vec::new();
        for _ in 0..3 {
            let started = Instant::now();
            let refused = in_time("a transaction", kv.txn(txn.clone())).await.expect_err("it is too large");
            times.push(started.elapsed());
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
            assert!(refused.message().starts_with("grpc: trying to send message larger than max ("), "{refused}");
        }
        times.sort_unstable();
        let more = resident_bytes(member).await.saturating_sub(before);
        println!("a {what} of 5 GB was refused after {times:?}, with {more} bytes more of memory");
        assert!(times[1] < Duration::from_secs(1), "{times:?}");
        assert!(more < 64 * MIB, "{more} bytes");
    }
    assert_eq!(member.get("other", false).await.expect("it is answered"), None, "nothing was written");
}

/// 1.5 MB of empty operations would take 100 MB when they are decoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_with_too_many_operations_is_refused_before_it_is_decoded() {
    let cluster = member("heavy-operations", &[]).await;
    let member = &cluster.members[0];
    let mut kv = kv(member).await;
    let success = vec![pb::RequestOp::default(); 700_000];
    let txn = pb::TxnRequest { success, ..pb::TxnRequest::default() };
    let before = resident_bytes(member).await;
    for _ in 0..3 {
        let refused = in_time("a transaction", kv.txn(txn.clone())).await.expect_err("it has too many operations");
        let expected = (Code::InvalidArgument, "etcdserver: too many operations in txn request");
        assert_eq!((refused.code(), refused.message()), expected);
    }
    let more = peak_bytes(member).await.saturating_sub(before);
    println!("the peak is {more} bytes above the memory before");
    assert!(more < 32 << 20, "{more} bytes");
}

pub(crate) async fn resident_bytes(member: &Member) -> usize {
    memory(member, "VmRSS:").await
}

async fn peak_bytes(member: &Member) -> usize {
    memory(member, "VmHWM:").await
}

async fn memory(member: &Member, name: &str) -> usize {
    let path = format!("/proc/{}/status", member.process_id());
    let status = tokio::fs::read_to_string(path).await.expect("the member runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel knows it");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes << 10
}
