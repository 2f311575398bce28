//! Owns clusters of member processes: directories, addresses, start and end. No process outlives its test.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dev_cluster::{PATIENCE, own_address};
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::program;
use crate::until::{in_time, until};
use crate::volume;

pub(crate) const TOKEN: &str = "token of the tests";
pub(crate) const CLUSTER: &str = "000102030405060708090a0b0c0d0e0f";
/// Timeout of a call. It is longer than every timeout of a member, so that a failed call returns the member's own
/// answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One member: a directory, an address, and a process while it runs.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    address: Ipv4Addr,
    /// Path of the program that the next start runs.
    pub(crate) program: PathBuf,
    flags: Vec<String>,
    /// Limit of file descriptors; `None`: that of the test.
    descriptors: Option<u32>,
    /// Size in MiB of the volume of its own on which the member runs; `None`: its directory is in that of the test.
    volume: Option<u64>,
    child: Option<Child>,
}

impl Member {
    pub(crate) fn client_url(&self) -> String {
        format!("http://{}:2379", self.address)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://{}:2380", self.address)
    }

    pub(crate) fn client_address(&self) -> String {
        format!("{}:2379", self.address)
    }

    pub(crate) fn peer_address(&self) -> String {
        format!("{}:2380", self.address)
    }

    pub(crate) fn http_address(&self) -> String {
        format!("{}:2381", self.address)
    }

    /// The command that runs the member.
    fn command(&self) -> Command {
        let mut command = match (self.descriptors, self.volume) {
            (Some(limit), _) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]).arg(&self.program);
                shell
            }
            (None, Some(mib)) => volume::command(&self.dir, mib, &self.program),
            (None, None) => Command::new(&self.program),
        };
        command.args(["run", "--name", &self.name]).arg("--data-dir").arg(self.data_dir());
        for (flag, port) in [("--client-addr", 2379), ("--peer-addr", 2380), ("--http-addr", 2381)] {
            command.arg(flag).arg(format!("{}:{port}", self.address));
        }
        command.args(&self.flags).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts the member's process and waits until its admin service answers.
    pub(crate) async fn start(&mut self) -> wire::DescribeResponse {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.with_extension("log"));
        self.child = Some(self.command().stderr(log.unwrap()).spawn().unwrap());
        until(&format!("{} answers", self.name), async || self.describe().await.ok()).await
    }

    fn data_dir(&self) -> PathBuf {
        // The member creates its directory, which is below the root of its volume.
        if self.volume.is_some() { self.dir.join("data") } else { self.dir.clone() }
    }

    /// Changes the size in MiB of the volume of the running member.
    pub(crate) fn resize(&self, mib: u64) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        volume::resize(&self.dir, id, mib);
    }

    /// Runs the process until it exits. Returns its exit code and its standard error.
    pub(crate) async fn run_to_end(&self) -> (Option<i32>, String) {
        self.run_with(&[]).await
    }

    /// Does the same as [`Self::run_to_end`] with additional flags, which override the member's own flags.
    pub(crate) async fn run_with(&self, flags: &[&str]) -> (Option<i32>, String) {
        let what = format!("{} exits", self.name);
        let output = in_time(&what, self.command().args(flags).stderr(Stdio::piped()).output()).await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Sets the limit of file descriptors for the next start.
    pub(crate) fn limit_to(&mut self, descriptors: u32) {
        self.descriptors = Some(descriptors);
    }

    /// ID of the running process.
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Sends SIGKILL, so that the member neither flushes its files nor transfers leadership.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().unwrap().id().expect("it runs")
    }

    /// Sends SIGTERM, as the kubelet does to end a pod.
    pub(crate) fn terminate(&self) {
        let id = self.process_id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), Signal::TERM).unwrap();
    }

    /// Waits until the process has exited. Returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let what = format!("{} exits", self.name);
        until(&what, async || child.try_wait().unwrap()).await.code()
    }

    pub(crate) async fn admin(&self) -> Result<AdminClient<Channel>, Status> {
        Ok(AdminClient::new(connect(&self.peer_url()).await?))
    }

    pub(crate) async fn describe(&self) -> Result<wire::DescribeResponse, Status> {
        let mut admin = self.admin().await?;
        match admin.describe(with_token(wire::DescribeRequest {})).await {
            Ok(described) => Ok(described.into_inner()),
            // A damaged or blank member may have no token, so the call is repeated without a token.
            Err(_) => Ok(admin.describe(wire::DescribeRequest {}).await?.into_inner()),
        }
    }

    /// Waits until the member is in `phase`. Returns its description.
    pub(crate) async fn in_phase(&self, phase: wire::Phase) -> wire::DescribeResponse {
        let what = format!("{} is {}", self.name, phase.as_str_name());
        until(&what, async || self.describe().await.ok().filter(|said| said.phase() == phase)).await
    }

    pub(crate) async fn id(&self) -> String {
        until("the member reports its ID", async || self.describe().await.ok().map(|said| said.member_id)).await
    }

    pub(crate) async fn info(&self) -> wire::MemberInfo {
        wire::MemberInfo {
            id: self.id().await,
            name: self.name.clone(),
            peer_url: self.peer_url(),
            client_url: self.client_url(),
        }
    }

    pub(crate) async fn kv(&self) -> Result<KvClient<Channel>, Status> {
        Ok(KvClient::new(connect(&self.client_url()).await?).max_decoding_message_size(usize::MAX))
    }

    /// Repeats a put until it is acknowledged, because an election on a busy machine may make a put fail. Putting the
    /// same value twice is harmless.
    pub(crate) async fn write(&self, key: &str, value: &str) {
        until(&format!("{} acknowledges {key}", self.name), async || self.put(key, value).await.ok()).await;
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Result<(), Status> {
        let put = pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
        self.kv().await?.put(put).await.map(drop)
    }

    /// The value of a key, by a linearizable or a serializable read.
    pub(crate) async fn get(&self, key: &str, serializable: bool) -> Result<Option<String>, Status> {
        let range = pb::RangeRequest { key: key.to_owned().into(), serializable, ..Default::default() };
        let found = self.kv().await?.range(range).await?.into_inner();
        Ok(found.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }

    /// All keys with their values, by a linearizable read.
    pub(crate) async fn content(&self) -> Result<BTreeMap<String, String>, Status> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = self.kv().await?.range(everything()).await?.into_inner();
        Ok(found.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect())
    }

    /// Number of keys in this member's store, by a serializable read.
    pub(crate) async fn count(&self) -> Result<i64, Status> {
        let all = pb::RangeRequest { count_only: true, serializable: true, ..everything() };
        Ok(self.kv().await?.range(all).await?.into_inner().count)
    }

    /// Value of a counter in the member's metrics.
    pub(crate) async fn counter(&self, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(self.http_address()).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: member\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await.ok()?;
        page.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(' ').next_back()?.parse().ok())
    }

    pub(crate) async fn join(&self) {
        let request = wire::JoinRequest {
            cluster_id: CLUSTER.to_owned(),
            token: TOKEN.to_owned(),
            self_: Some(self.info().await),
            ..wire::JoinRequest::default()
        };
        self.admin().await.unwrap().join(with_token(request)).await.unwrap();
    }
}

fn everything() -> pb::RangeRequest {
    pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() }
}

/// A request that carries the tests' token.
pub(crate) fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("raft-token", AsciiMetadataValue::from_static(TOKEN));
    request
}

pub(crate) async fn connect(url: &str) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap().timeout(CALL_TIMEOUT);
    endpoint.connect().await.map_err(|reason| Status::unavailable(reason.to_string()))
}

/// Members and their directories.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    dir: PathBuf,
    /// Path of the program of members that are added.
    pub(crate) program: PathBuf,
    flags: Vec<String>,
    descriptors: Option<u32>,
    volume: Option<u64>,
}

impl Cluster {
    /// A cluster without members. Each member that is added gets `flags`.
    pub(crate) fn new(name: &str, flags: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("raft-node-{}-{name}", std::process::id()));
        // The directory may be left from an earlier run: a failed test leaves its directory for inspection, and the
        // system reuses process IDs.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self { members: Vec::new(), dir, program: program(), flags, descriptors: None, volume: None }
    }

    /// Members that are added may open at most this number of files and connections.
    pub(crate) fn limited_to(mut self, descriptors: u32) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// Each member that is added runs on a volume of its own, of this size in MiB. The volume lasts as long as the process.
    pub(crate) fn on_volumes(mut self, mib: u64) -> Self {
        self.volume = Some(mib);
        self
    }

    /// `count` running voters of one cluster, with a leader.
    pub(crate) async fn bootstrapped(name: &str, count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::new(name, flags);
        cluster.form(count).await;
        cluster
    }

    /// Adds `count` members, makes them the voters of a cluster, and waits until one leads.
    pub(crate) async fn form(&mut self, count: usize) {
        for _ in 0..count {
            self.add_blank().await;
        }
        self.bootstrap().await;
        self.leader().await;
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds and starts a blank member. Returns its index in `members`.
    pub(crate) async fn add_blank(&mut self) -> usize {
        let name = format!("m-{}", self.members.len() + 1);
        let dir = self.dir.join(&name);
        let (address, program, flags) = (own_address(), self.program.clone(), self.flags.clone());
        let (descriptors, volume) = (self.descriptors, self.volume);
        let mut member = Member { name, dir, address, program, flags, descriptors, volume, child: None };
        member.start().await;
        self.members.push(member);
        self.members.len() - 1
    }

    /// Bootstraps all members with the same identity.
    pub(crate) async fn bootstrap(&self) {
        let voters = self.infos().await;
        for member in &self.members {
            let request = wire::BootstrapRequest {
                cluster_id: CLUSTER.to_owned(),
                token: TOKEN.to_owned(),
                voters: voters.clone(),
                name: member.name.clone(),
            };
            member.admin().await.unwrap().bootstrap(with_token(request)).await.unwrap();
        }
    }

    pub(crate) async fn infos(&self) -> Vec<wire::MemberInfo> {
        let mut infos = Vec::new();
        for member in &self.members {
            infos.push(member.info().await);
        }
        infos
    }

    /// Waits until a member reports itself as leader. Returns its index in `members`.
    pub(crate) async fn leader(&self) -> usize {
        until("a leader", async || {
            for (place, member) in self.members.iter().enumerate() {
                if member.child.is_some() && member.describe().await.is_ok_and(|said| said.role() == wire::Role::Leader)
                {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    /// Changes membership through the leader. Repeats the change until it is accepted.
    pub(crate) async fn change(&self, voters: Vec<String>, learners: Vec<String>, members: Vec<wire::MemberInfo>) {
        until("the membership change", async || {
            let mut admin = self.members[self.leader().await].admin().await.ok()?;
            let known = admin.configuration(with_token(wire::ConfigurationRequest {})).await.ok()?.into_inner();
            let request = wire::ChangeMembershipRequest {
                expected_index: known.configuration?.index,
                voters: voters.clone(),
                learners: learners.clone(),
                members: members.clone(),
            };
            // Refusals in these tests have temporary reasons: a learner lags, or another change is in progress.
            admin.change_membership(with_token(request)).await.ok()
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Running processes write into their directories, so they must exit before the directories are removed.
        let mut children: Vec<_> = self.members.iter_mut().filter_map(|member| member.child.take()).collect();
        for child in &mut children {
            // Fails if the process has exited already.
            let _ = child.start_kill();
        }
        for child in &mut children {
            let _ = dev_cluster::until("a killed member has exited", PATIENCE, || Ok(child.try_wait()?));
        }
        if std::thread::panicking() {
            eprintln!("directories and logs are kept in {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
