//! Owns the start of members in this process, each with its own threads and addresses, and the connections to their
//! services. Does not own assertions.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use dev_cluster::{PATIENCE, own_address};
use engine::level::SUPPORTED;
use mvcc::FeatureLevel;
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_node::config::{Config, RunArgs};
use raft_node::member::Running;
use storage::{Disk, FileDisk};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

pub(crate) const CLUSTER: &str = "00112233445566778899aabbccddeeff";
pub(crate) const TOKEN: &str = "a token that only the operator knows";
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A member in this process. Dropping this value stops the member, which takes long while clients are connected;
/// therefore tests run clients on a separate thread.
pub(crate) struct Member {
    pub(crate) name: String,
    client: SocketAddr,
    peer: SocketAddr,
    http: SocketAddr,
    directory: PathBuf,
    flags: Vec<String>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    run: RunArgs,
}

impl Member {
    /// A member with an empty volume.
    pub(crate) fn blank(name: &str) -> Member {
        Member::blank_with(name, &[])
    }

    /// A member with an empty volume. Flags in `more` are added to the usual flags or replace them.
    pub(crate) fn blank_with(name: &str, more: &[&str]) -> Member {
        Member::blank_on(name, more, Arc::new(FileDisk))
    }

    /// Does the same as [`Self::blank_with`], on a disk that the test supplies.
    pub(crate) fn blank_on(name: &str, more: &[&str], disk: Arc<dyn Disk>) -> Member {
        Member::blank_as(name, more, disk, SUPPORTED)
    }

    /// A member with an empty volume that behaves as a program which supports the feature levels up to `supports`.
    pub(crate) fn supporting(name: &str, supports: u32) -> Member {
        Member::blank_as(name, &[], Arc::new(FileDisk), FeatureLevel(supports))
    }

    fn blank_as(name: &str, more: &[&str], disk: Arc<dyn Disk>, supports: FeatureLevel) -> Member {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("raft-node-services-{}-{number}", std::process::id()));
        // The directory may be left from an earlier run: that process may have been killed, and the system reuses
        // process IDs.
        let _ = std::fs::remove_dir_all(&directory);
        let address = own_address();
        let [client, peer, http] = [2379, 2380, 2381].map(|port| SocketAddr::from((address, port)));
        let mut flags = vec![
            "raft-node".to_owned(),
            format!("--name={name}"),
            format!("--data-dir={}", directory.display()),
            format!("--client-addr={client}"),
            format!("--peer-addr={peer}"),
            format!("--http-addr={http}"),
            // The intervals are short, so that a single member becomes leader quickly.
            "--heartbeat-interval=50ms".to_owned(),
            "--election-timeout=200ms".to_owned(),
            "--leader-lease=100ms".to_owned(),
            // The timeout is long, so that a busy machine answers late but never with a timeout.
            "--commit-timeout=60s".to_owned(),
        ];
        let name_of = |flag: &str| flag.split('=').next().map(str::to_owned);
        flags.retain(|flag| more.iter().all(|given| name_of(given) != name_of(flag)));
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let running = Some(run(&flags, disk, supports));
        Member { name: name.to_owned(), client, peer, http, directory, flags, running }
    }

    /// Stops the member and starts it again on the same volume, as a program that supports the feature levels up to
    /// `supports`.
    pub(crate) fn restart_supporting(&mut self, supports: u32) {
        self.stop();
        self.running = Some(run(&self.flags, Arc::new(FileDisk), FeatureLevel(supports)));
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("the member {} panicked", self.name);
            }
        }
    }

    /// The leader and only voter of a new cluster.
    pub(crate) async fn alone() -> Member {
        let member = Member::blank("demo-1");
        member.bootstrap_alone().await;
        member
    }

    /// Makes a blank member the only voter, and waits until it leads.
    pub(crate) async fn bootstrap_alone(&self) {
        let record = self.record(vec![self.info().await]);
        self.admin().await.bootstrap(with_token(record, TOKEN)).await.expect("a blank member accepts an identity");
        self.leads().await;
    }

    pub(crate) async fn leads(&self) {
        eventually("the member leads", async || {
            let mut maintenance = self.maintenance().await?;
            let status = maintenance.status(pb::StatusRequest {}).await?.into_inner();
            let leads = status.leader == status.header.unwrap_or_default().member_id;
            if leads { Ok(()) } else { Err(Status::unavailable(format!("{status:?}"))) }
        })
        .await;
    }

    /// The Bootstrap request that makes this member one of the voters of a new cluster.
    pub(crate) fn record(&self, voters: Vec<wire::MemberInfo>) -> wire::BootstrapRequest {
        wire::BootstrapRequest {
            cluster_id: CLUSTER.to_owned(),
            token: TOKEN.to_owned(),
            voters,
            name: self.name.clone(),
        }
    }

    /// ID, name and addresses of this member.
    pub(crate) async fn info(&self) -> wire::MemberInfo {
        let described = self.describe().await;
        wire::MemberInfo {
            id: described.member_id,
            name: self.name.clone(),
            peer_url: format!("http://{}", self.peer),
            client_url: format!("http://{}", self.client),
        }
    }

    pub(crate) async fn describe(&self) -> wire::DescribeResponse {
        let request = with_token(wire::DescribeRequest {}, TOKEN);
        self.admin().await.describe(request).await.expect("a member describes itself").into_inner()
    }

    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        let url = format!("http://{}", self.peer);
        eventually("the peer port is served", async || AdminClient::connect(url.clone()).await).await
    }

    pub(crate) async fn kv(&self) -> KvClient<Channel> {
        eventually("the client port is served", async || KvClient::connect(self.client_url()).await).await
    }

    pub(crate) async fn cluster(&self) -> ClusterClient<Channel> {
        eventually("the client port is served", async || ClusterClient::connect(self.client_url()).await).await
    }

    pub(crate) async fn maintenance(&self) -> Result<MaintenanceClient<Channel>, Status> {
        MaintenanceClient::connect(self.client_url()).await.map_err(|error| Status::unavailable(error.to_string()))
    }

    pub(crate) fn client_url(&self) -> String {
        format!("http://{}", self.client)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://{}", self.peer)
    }

    /// A connection to the port of probes.
    pub(crate) async fn connect_to_probes(&self) -> TcpStream {
        TcpStream::connect(self.http).await.expect("the port is served")
    }

    /// Sends an HTTP/1.1 request to the port for probes and metrics.
    pub(crate) async fn probe(&self, method: &str, path: &str) -> Page {
        Page::get(self.http, method, path).await
    }

    /// Sends an HTTP/1.1 request to the client port.
    pub(crate) async fn page(&self, path: &str) -> Page {
        Page::get(self.client, "GET", path).await
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        let request =
            pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() };
        self.kv().await.put(request).await.expect("a put succeeds");
    }
}

/// Runs a member on a thread of its own, until the sender is dropped.
fn run(flags: &[String], disk: Arc<dyn Disk>, supports: FeatureLevel) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let config = Config::check(Flags::parse_from(flags).run).expect("these flags agree");
    let config = Config { supports, ..config };
    let (stop, stopped) = oneshot::channel::<()>();
    let (started, start) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async move {
            let running = Running::start_on(config, disk).expect("the member starts");
            started.send(()).expect("the test waits for the start");
            let until = async move {
                // The wait ends when `Member` drops the sender.
                let _ = stopped.await;
            };
            running.until(until).await.expect("the member runs until it is stopped");
        });
    });
    start.recv().expect("the member starts");
    (stop, thread)
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
        // The directory does not exist if the start failed.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) code: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Page {
    async fn get(address: SocketAddr, method: &str, path: &str) -> Page {
        let mut stream = eventually("the port is served", async || TcpStream::connect(address).await).await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the answer is text");
        let (headers, body) = answer.split_once("\r\n\r\n").expect("headers end with an empty line");
        let code = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line has a code");
        Page { code, headers: headers.to_lowercase(), body: body.to_owned() }
    }
}

/// Polls a condition until it holds. Panics with the condition's last error if it does not hold in time.
pub(crate) async fn eventually<T, E: Debug>(what: &str, mut poll: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match poll().await {
            Ok(found) => return found,
            Err(last) if Instant::now() >= deadline => panic!("{what}: not within {PATIENCE:?}; last seen: {last:?}"),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// A request that carries a token.
pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("raft-token", token.parse().expect("a token is plain text"));
    request
}

/// Code and text of a refused call.
pub(crate) fn refusal<T: Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("the call is refused");
    (status.code(), status.message().to_owned())
}
