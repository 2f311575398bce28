//! The loads that once held gigabytes, on three members with a quota of 256 MiB: the highest memory of each process. Owns the
//! loads and the table that `docs/operate.md` shows. They take minutes and want a fast build, so they are ignored unless they
//! are named (`cargo xtask test --thorough`); `memory.rs` runs a sample each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use h2::client::SendRequest;
use http::Request;
use prost::Message;
use proto::admin as wire;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;

use crate::cluster::{Cluster, Member};
use crate::memory::{MIB, QUOTA, VALUE, compact, overwrite, size};
use crate::until::{in_time, pass, until};

/// The highest memory that a member may hold, in bytes.
const LIMIT: u64 = 2 * QUOTA + 256 * MIB;
/// Number of values of [`VALUE`] bytes that nearly fill the quota.
const FULL: usize = 240;
/// Number of clients that are slow.
const SLOW: usize = 100;
/// Time for which a slow client holds what it was given. It is longer than the time after which a member ends an answer
/// that does not move.
const SLOW_TIME: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask test --thorough"]
async fn every_load_stays_below_twice_the_quota_and_a_quarter_of_a_gibibyte() {
    let mut rows = Vec::new();
    for load in [
        Load::Overwrites,
        Load::Bursts,
        Load::Connections,
        Load::SlowReaders,
        Load::SlowStreams,
        Load::SlowWriters,
        Load::Install,
    ] {
        let started = Instant::now();
        let mut cluster =
            Cluster::bootstrapped(&format!("loads-{load:?}"), 3, &["--quota-bytes", &QUOTA.to_string()]).await;
        let seen = load.run(&mut cluster).await;
        let (mut peaks, mut held) = (Vec::new(), Vec::new());
        for member in &cluster.members {
            peaks.push(size(member, "VmHWM") / MIB);
            held.push(size(member, "VmRSS") / MIB);
        }
        println!("| {} | {peaks:?} | {held:?} | {seen} | {:.0} s |", load.name(), started.elapsed().as_secs_f64());
        rows.push((load, peaks.into_iter().max().unwrap_or_default()));
    }
    for (load, peak) in rows {
        assert!(peak <= LIMIT / MIB, "{}: {peak} MiB at the peak", load.name());
    }
}

#[derive(Clone, Copy, Debug)]
enum Load {
    Overwrites,
    Bursts,
    Connections,
    SlowReaders,
    SlowStreams,
    SlowWriters,
    Install,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Overwrites => "one key of 1 MB overwritten 1,500 times, compacted every 125",
            Self::Bursts => "5 bursts: 100 connections to all members put 1 MB each at once, compacted between",
            Self::Connections => "1,000 connections with 20 puts of 1 KiB each",
            Self::SlowReaders => "100 connections ask for 200 MB each and read nothing",
            Self::SlowStreams => "100 connections ask for streams of 200 MB each and read nothing",
            Self::SlowWriters => "100 connections send half of a put of 1.4 MB and stop",
            Self::Install => "a blank member installs 240 MB of content",
        }
    }

    /// Runs the load. Returns what clients saw of it.
    async fn run(self, cluster: &mut Cluster) -> String {
        let leader = cluster.leader().await;
        match self {
            Self::Install => return install(cluster, leader).await,
            Self::Overwrites => {
                for _ in 0..12 {
                    let revision = overwrite(&cluster.members[leader], 125).await;
                    compact(&cluster.members[leader], revision).await;
                }
                "no put failed".to_owned()
            }
            Self::Bursts => bursts(cluster).await,
            Self::Connections => connections(cluster).await,
            Self::SlowReaders => slow_readers(&cluster.members[leader]).await,
            Self::SlowStreams => slow_streams(&cluster.members[leader]).await,
            Self::SlowWriters => slow_writers(&cluster.members[leader]).await,
        }
    }
}

fn put(key: String, bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: vec![b'v'; bytes].into(), ..pb::PutRequest::default() }
}

async fn kv(member: &Member) -> KvClient<Channel> {
    until("the port is served", async || member.kv().await.ok()).await
}

/// Puts this number of keys of [`VALUE`] bytes. Returns the last revision.
async fn fill(member: &Member, keys: usize) -> i64 {
    let mut client = kv(member).await;
    let mut revision = 0;
    for key in 0..keys {
        let answer = in_time("a put", client.put(put(format!("key-{key}"), VALUE))).await.expect("it is written");
        revision = answer.into_inner().header.expect("a header").revision;
    }
    revision
}

/// Puts a megabyte on each of 100 connections to all members at once, five times.
async fn bursts(cluster: &Cluster) -> String {
    let mut clients = Vec::new();
    for number in 0..100 {
        clients.push(kv(&cluster.members[number % cluster.members.len()]).await);
    }
    let mut failed = 0;
    for _ in 0..5 {
        let writes = clients.iter().enumerate().map(|(number, client)| {
            let mut client = client.clone();
            async move { client.put(put(format!("key-{number}"), VALUE)).await }
        });
        let mut revision = 0;
        for answer in join_all(writes).await {
            match answer {
                Ok(answer) => revision = revision.max(answer.into_inner().header.expect("a header").revision),
                Err(_) => failed += 1,
            }
        }
        compact(&cluster.members[0], revision).await;
    }
    assert_eq!(failed, 0, "of 500 puts");
    "no put failed".to_owned()
}

async fn connections(cluster: &Cluster) -> String {
    let writes = (0..1_000).map(|number: usize| {
        let member = &cluster.members[number % cluster.members.len()];
        async move {
            let mut client = kv(member).await;
            for _ in 0..20 {
                in_time("a put", client.put(put(format!("key-{number}"), 1 << 10))).await.expect("it is written");
            }
        }
    });
    join_all(writes).await;
    "no put failed".to_owned()
}

/// A connection whose client decides itself what it reads and sends.
async fn raw(member: &Member) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(member.client_address()).await.expect("the port is served");
    let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    // Its errors show in its streams.
    tokio::spawn(async move { drop(connection.await) });
    client.ready().await.expect("it takes a request")
}

fn call(method: &str) -> Request<()> {
    let uri = format!("http://member/etcdserverpb.{method}");
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    request.body(()).expect("a request")
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len().try_into().expect("a small message"));
    message.encode(&mut bytes).expect("it has capacity");
    bytes.freeze()
}

async fn slow_readers(leader: &Member) -> String {
    fill(leader, 200).await;
    let begun = unread(leader, "KV/Range").await;
    format!("{begun} answers began, the others were refused")
}

async fn slow_streams(leader: &Member) -> String {
    fill(leader, 200).await;
    let begun = unread(leader, "KV/RangeStream").await;
    format!("{begun} streams began")
}

/// Lets slow clients ask for everything and read none of it. Returns how many answers began.
async fn unread(leader: &Member, method: &str) -> usize {
    let all = framed(&pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() });
    let reads = (0..SLOW).map(|_| async {
        let mut client = raw(leader).await;
        let (answer, mut body) = client.send_request(call(method), false).expect("it is open");
        body.send_data(all.clone(), true).expect("it is open");
        // The body of the answer is held and not read, so its window stays closed.
        let answer = timeout(SLOW_TIME, answer).await.ok().and_then(Result::ok);
        pass(SLOW_TIME).await;
        // An answer that is only a refusal has its status in its first headers.
        answer.is_some_and(|answer| answer.headers().get("grpc-status").is_none())
    });
    let begun = join_all(reads).await.into_iter().filter(|&begun| begun).count();
    leader.write("after", "v").await;
    begun
}

async fn slow_writers(leader: &Member) -> String {
    let whole = framed(&put("slow".to_owned(), 1_400_000));
    let stopped = Arc::new(AtomicUsize::new(0));
    let writes = (0..SLOW).map(|_| {
        let (half, stopped) = (whole.slice(..whole.len() / 2), Arc::clone(&stopped));
        async move {
            let mut client = raw(leader).await;
            let (answer, mut body) = client.send_request(call("KV/Put"), false).expect("it is open");
            body.send_data(half, false).expect("it is open");
            if timeout(SLOW_TIME, answer).await.is_ok() {
                stopped.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let neighbour = async {
        let (mut client, mut longest) = (kv(leader).await, Duration::ZERO);
        let started = Instant::now();
        while started.elapsed() < SLOW_TIME {
            let began = Instant::now();
            in_time("a small put", client.put(put("small".to_owned(), 256))).await.expect("it is written");
            longest = longest.max(began.elapsed());
        }
        longest
    };
    let (_, longest) = tokio::join!(join_all(writes), neighbour);
    let stopped = stopped.load(Ordering::Relaxed);
    format!("{stopped} of them were ended; a small put beside them took at most {} ms", longest.as_millis())
}

/// Adds a blank member, and returns how long it took until it had a vote.
async fn install(cluster: &mut Cluster, leader: usize) -> String {
    let revision = fill(&cluster.members[leader], FULL).await;
    compact(&cluster.members[leader], revision).await;
    format!("a vote after {:.1} s", vote(cluster).await.as_secs_f64())
}

/// Adds a blank member and gives it a vote as soon as the leader agrees. Returns the time that it took.
async fn vote(cluster: &mut Cluster) -> Duration {
    let started = Instant::now();
    let old = cluster.infos().await;
    let new = cluster.add_blank().await;
    cluster.members[new].join().await;
    let joined = cluster.members[new].info().await;
    let all: Vec<_> = old.iter().cloned().chain([joined.clone()]).collect();
    let ids = |infos: &[wire::MemberInfo]| infos.iter().map(|info| info.id.clone()).collect::<Vec<_>>();
    cluster.change(ids(&old), vec![joined.id.clone()], all.clone()).await;
    // The change is refused while the learner lags.
    for _ in 0..5 {
        let change = cluster.change(ids(&all), Vec::new(), all.clone());
        if timeout(Duration::from_secs(50), change).await.is_ok() {
            break;
        }
    }
    until("the member votes", async || {
        cluster.members[new].describe().await.ok().filter(|said| said.role() != wire::Role::Learner).map(drop)
    })
    .await;
    started.elapsed()
}

/// The leader takes 64 MiB that are not committed. What other members pass on to it waits for its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_through_all_members_is_absorbed() {
    let cluster = Cluster::bootstrapped("loads-burst", 3, &["--quota-bytes", &QUOTA.to_string()]).await;
    bursts(&cluster).await;
}

/// One gibibyte of content, and 20 MB/s of puts, which are compacted every ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask test --thorough"]
async fn a_blank_member_votes_within_three_minutes_under_load() {
    const CONTENT: usize = (1 << 30) / VALUE + 1;
    const CLIENTS: usize = 16;
    const PUT_BYTES: usize = 64 << 10;
    /// Time between two puts of one client, for 20 MB/s of all.
    const PACE: Duration = Duration::from_micros((CLIENTS * PUT_BYTES / 20) as u64);
    const COMPACTED_EVERY: Duration = Duration::from_secs(10);
    let quota = (4_u64 << 30).to_string();
    let mut cluster = Cluster::bootstrapped("loads-join", 3, &["--quota-bytes", &quota]).await;
    let leader = cluster.leader().await;
    fill(&cluster.members[leader], CONTENT).await;
    let (written, url) = (Arc::new(AtomicUsize::new(0)), cluster.members[leader].client_url());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = kv(&cluster.members[leader]).await;
        let written = Arc::clone(&written);
        clients.push(tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for round in 0_usize.. {
                pace.tick().await;
                let answer = client.put(put(format!("load-{number}-{}", round % 8), PUT_BYTES)).await;
                if answer.is_ok() {
                    written.fetch_add(PUT_BYTES, Ordering::Relaxed);
                }
            }
        }));
    }
    let compactions = tokio::spawn(async move {
        let mut client = KvClient::connect(url).await.expect("the port is served");
        let mut pace = interval(COMPACTED_EVERY);
        loop {
            pace.tick().await;
            let answer = client.put(put("compacted".to_owned(), 1)).await;
            let Ok(revision) = answer.map(|answer| answer.into_inner().header.expect("a header").revision) else {
                continue;
            };
            // A refusal is seen by the quota at the latest.
            let _ = client.compact(pb::CompactionRequest { revision, physical: false }).await;
        }
    });
    let took = vote(&mut cluster).await;
    let rate = written.load(Ordering::Relaxed) as f64 / 1e6 / took.as_secs_f64();
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    compactions.abort();
    println!("a vote after {took:.1?} at {rate:.1} MB/s of puts");
    let peaks: Vec<_> = cluster.members.iter().map(|member| size(member, "VmHWM") / MIB).collect();
    println!("highest memory of each member: {peaks:?} MiB");
    assert!(rate > 15.0, "the load of 20 MB/s was not reached: {rate:.1}");
    assert!(took < Duration::from_secs(180), "{took:?}");
}
