//! The two servers that are compared: a real etcd and a member. Each is a process on its own loopback address, and both
//! are called with the same client. Owns the start and the end of the servers, and the calls. Does not own the requests
//! (`generate.rs`).

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use dev_cluster::{PATIENCE, Program, Run, own_address, programs, until};
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Request as Call, Status};

use crate::generate::Request;

const TOKEN: &str = "known to this test alone";

/// A response without IDs and terms, because these differ between any two clusters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Range(pb::RangeResponse),
    RangeStream(Vec<pb::RangeResponse>),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    HashKv(pb::HashKvResponse),
    Alarm(pb::AlarmResponse),
    Refused(Code, String),
}

/// A process and its folder. When the test ends, even by a panic, the process is killed and the folder is removed.
struct Server {
    process: Child,
    folder: PathBuf,
}

/// A running server with its clients.
pub(crate) struct Subject {
    _server: Server,
    client: SocketAddr,
    runtime: Runtime,
    kv: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl Subject {
    /// Starts a real etcd with one member.
    pub(crate) fn etcd() -> Result<Subject> {
        let built = programs::build(&[Program::Etcd], &|line| println!("{line}"))?;
        let folder = fresh_folder("etcd")?;
        let address = own_address();
        let [client, peer] = [2379, 2380].map(|port| SocketAddr::from((address, port)));
        let mut command = Command::new(built.path(Program::Etcd));
        command.arg("--data-dir").arg(folder.join("data"));
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        for (flag, value) in [
            ("name", "demo-1"),
            ("listen-client-urls", &client_url),
            ("advertise-client-urls", &client_url),
            ("listen-peer-urls", &peer_url),
            ("initial-advertise-peer-urls", &peer_url),
            ("initial-cluster", &format!("demo-1={peer_url}")),
            ("logger", "zap"),
            ("log-level", "error"),
            // etcd aborts a request after 5 s plus two election timeouts. The intervals are long, so that no request is
            // aborted on a busy machine. They do not delay the start, because a single member does not wait before an
            // election.
            ("heartbeat-interval", "1000"),
            ("election-timeout", "10000"),
        ] {
            command.arg(format!("--{flag}={value}"));
        }
        // Durability is not compared, so etcd need not sync its files.
        command.arg("--unsafe-no-fsync");
        Subject::ready(start(&mut command, folder)?, client)
    }

    /// Starts a member of this project and bootstraps it as the only member of a cluster.
    pub(crate) fn member() -> Result<Subject> {
        let folder = fresh_folder("member")?;
        let address = own_address();
        let [client, peer, http] = [2379, 2380, 2381].map(|port| SocketAddr::from((address, port)));
        let mut command = Command::new(raft_node()?);
        command.args(["run", "--name", "demo-1", "--data-dir"]).arg(folder.join("data"));
        for (flag, address) in [("client", client), ("peer", peer), ("http", http)] {
            command.arg(format!("--{flag}-addr={address}"));
        }
        // The timeout is long, because a slow response on a busy machine must not count as a difference.
        command.arg("--commit-timeout=60s");
        let server = start(&mut command, folder)?;
        let runtime = Runtime::new()?;
        until("the member bootstraps", PATIENCE, || runtime.block_on(bootstrap(client, peer)).map(Some))?;
        drop(runtime);
        Subject::ready(server, client)
    }

    fn ready(server: Server, client: SocketAddr) -> Result<Subject> {
        let runtime = Runtime::new()?;
        let channel = until("the server answers", PATIENCE, || {
            runtime.block_on(async {
                let channel = Channel::from_shared(format!("http://{client}"))?.connect().await?;
                let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await?.into_inner();
                ensure!(status.leader != 0, "no member leads yet: {status:?}");
                Ok(Some(channel))
            })
        })?;
        let kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let maintenance = MaintenanceClient::new(channel);
        Ok(Subject { _server: server, client, runtime, kv, maintenance })
    }

    /// Returns the address for clients.
    pub(crate) fn endpoint(&self) -> String {
        self.client.to_string()
    }

    /// Sends a request and returns the response without IDs and terms.
    pub(crate) fn send(&mut self, request: Request) -> Answer {
        let Subject { runtime, kv, maintenance, .. } = self;
        let response: Result<Answer, Status> = runtime.block_on(async {
            Ok(match request {
                Request::Range(request) => Answer::Range(kv.range(request).await?.into_inner()),
                Request::RangeStream(request) => {
                    let mut stream = kv.range_stream(request).await?.into_inner();
                    let mut chunks = Vec::new();
                    while let Some(chunk) = stream.message().await? {
                        chunks.push(chunk.range_response.unwrap_or_default());
                    }
                    Answer::RangeStream(chunks)
                }
                Request::Put(request) => Answer::Put(kv.put(request).await?.into_inner()),
                Request::DeleteRange(request) => Answer::DeleteRange(kv.delete_range(request).await?.into_inner()),
                Request::Txn(request) => Answer::Txn(kv.txn(request).await?.into_inner()),
                Request::Compact(request) => Answer::Compact(kv.compact(request).await?.into_inner()),
                Request::HashKv(request) => Answer::HashKv(maintenance.hash_kv(request).await?.into_inner()),
                Request::Alarm(request) => Answer::Alarm(maintenance.alarm(request).await?.into_inner()),
            })
        });
        match response {
            Ok(answer) => answer.without_identity(),
            Err(status) => Answer::Refused(status.code(), status.message().to_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors are ignored: the process may have ended already, and a folder that stays in memory is harmless.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Answer {
    /// Returns the store's newest revision, if the response has a header.
    pub(crate) fn revision(&self) -> Option<i64> {
        self.header().map(|header| header.revision)
    }

    fn header(&self) -> Option<&pb::ResponseHeader> {
        match self {
            Answer::Range(answer) => answer.header.as_ref(),
            Answer::RangeStream(chunks) => chunks.last()?.header.as_ref(),
            Answer::Put(answer) => answer.header.as_ref(),
            Answer::DeleteRange(answer) => answer.header.as_ref(),
            Answer::Txn(answer) => answer.header.as_ref(),
            Answer::Compact(answer) => answer.header.as_ref(),
            Answer::HashKv(answer) => answer.header.as_ref(),
            Answer::Alarm(answer) => answer.header.as_ref(),
            Answer::Refused(..) => None,
        }
    }

    fn without_identity(mut self) -> Answer {
        let header = match &mut self {
            Answer::Range(answer) => answer.header.as_mut(),
            Answer::RangeStream(chunks) => chunks.last_mut().and_then(|chunk| chunk.header.as_mut()),
            Answer::Put(answer) => answer.header.as_mut(),
            Answer::DeleteRange(answer) => answer.header.as_mut(),
            Answer::Txn(answer) => answer.header.as_mut(),
            Answer::Compact(answer) => answer.header.as_mut(),
            Answer::HashKv(answer) => answer.header.as_mut(),
            Answer::Alarm(answer) => answer.header.as_mut(),
            Answer::Refused(..) => None,
        };
        if let Some(header) = header {
            assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0, "{header:?}");
            *header = pb::ResponseHeader { revision: header.revision, ..pb::ResponseHeader::default() };
        }
        self
    }
}

async fn bootstrap(client: SocketAddr, peer: SocketAddr) -> Result<()> {
    let mut admin = AdminClient::connect(format!("http://{peer}")).await?;
    let described = admin.describe(wire::DescribeRequest {}).await?.into_inner();
    if described.phase() == wire::Phase::Member {
        return Ok(());
    }
    let myself = wire::MemberInfo {
        id: described.member_id,
        name: "demo-1".to_owned(),
        peer_url: format!("http://{peer}"),
        client_url: format!("http://{client}"),
    };
    let mut request = Call::new(wire::BootstrapRequest {
        cluster_id: "00112233445566778899aabbccddeeff".to_owned(),
        token: TOKEN.to_owned(),
        voters: vec![myself],
        name: "demo-1".to_owned(),
    });
    request.metadata_mut().insert("raft-token", TOKEN.parse()?);
    admin.bootstrap(request).await?;
    Ok(())
}

/// Builds `raft-node` with cargo and returns its path. The command names the workspace and a test target, because all
/// packages would otherwise be compiled a second time, with fewer features than for the workspace's tests.
fn raft_node() -> Result<PathBuf> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--workspace", "--bin", "raft-node", "--test", "conformance"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let messages = build.current_dir(env!("CARGO_MANIFEST_DIR")).text()?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "raft-node")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo built raft-node and did not print its path")
}

fn start(command: &mut Command, folder: PathBuf) -> Result<Server> {
    let log = File::create(folder.join("log"))?;
    let program = command.get_program().to_owned();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let process = command.spawn().with_context(|| format!("{} did not start", program.display()))?;
    Ok(Server { process, folder })
}

/// Creates an empty folder, in memory if possible, because its files are not needed after the test.
fn fresh_folder(name: &str) -> Result<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = base.join(format!("raft-conformance-{}-{name}-{number}", std::process::id()));
    // A killed process with the same process ID may have left this folder.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    Ok(folder)
}
