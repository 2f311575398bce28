//! Tests of `raft-node local`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::Status;

use crate::cluster::{Cluster, connect};
use crate::until::{in_time, until};

/// A running `raft-node local`, and the line that it printed when it was ready.
struct Local {
    supervisor: Child,
    line: String,
}

impl Local {
    async fn start(dir: &Path, port: u16) -> Self {
        let supervisor = command(dir, port).stdout(Stdio::piped()).spawn().unwrap();
        let mut local = Self { supervisor, line: String::new() };
        let mut lines = BufReader::new(local.supervisor.stdout.take().unwrap()).lines();
        local.line = lines.next_line().await.unwrap().expect("it prints a line when it is ready");
        local
    }

    async fn stop(mut self) {
        self.terminate();
        let ended = in_time("the local cluster exits", self.supervisor.wait()).await.unwrap();
        assert!(ended.success(), "the local cluster exits cleanly: {ended}");
    }

    fn terminate(&self) {
        let Some(pid) = self.supervisor.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
        // Fails if the process has exited already.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Terminates the supervisor instead of killing it, because a killed supervisor would leave its members running.
impl Drop for Local {
    fn drop(&mut self) {
        self.terminate();
    }
}

fn command(dir: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-node"));
    command.args(["local", "--members", "3", "--client-port", &port.to_string(), "--dir"]).arg(dir);
    command
}

/// Returns the first of 23 consecutive free ports below the ephemeral ports. The search starts at a port that depends
/// on the process ID, because another process may search at the same time.
fn free_ports() -> u16 {
    const BLOCK: u32 = 32;
    const BLOCKS: u32 = 300;
    let blocks = (0..BLOCKS).map(|block| 20_000 + (std::process::id() + block) % BLOCKS * BLOCK);
    let mut firsts = blocks.map(|first| u16::try_from(first).expect("a port"));
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    firsts.find(|&first| (first..first + 23).all(is_free)).expect("some ports are free")
}

/// Content of the newest segment of a member's log. Byte 12 is its format version.
fn newest_segment(dir: &Path, number: u16) -> Vec<u8> {
    let segments = std::fs::read_dir(dir.join(format!("member-{number}/wal"))).expect("a log");
    let segments = segments.map(|entry| entry.expect("an entry").path());
    let newest = segments.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).max();
    std::fs::read(newest.expect("a segment")).expect("a file")
}

async fn put(url: &str) -> Result<(), Status> {
    let put = pb::PutRequest { key: "key".into(), value: "v".into(), ..Default::default() };
    KvClient::new(connect(url).await?).put(put).await.map(drop)
}

async fn count(url: &str) -> Result<i64, Status> {
    let range = pb::RangeRequest { key: "key".into(), ..Default::default() };
    Ok(KvClient::new(connect(url).await?).range(range).await?.into_inner().count)
}

#[tokio::test]
async fn a_local_cluster_keeps_its_data_across_a_restart() {
    let scratch = Cluster::new("local", &[]);
    let dir = scratch.dir().join("local");
    let port = free_ports();
    let first = Local::start(&dir, port).await;
    let url = format!("http://127.0.0.1:{}", port + 2);
    assert!(first.line.starts_with("ready: ") && first.line.ends_with(&url), "{}", first.line);
    until("a write is acknowledged", async || put(&url).await.ok()).await;

    let mut second = command(&scratch.dir().join("other"), port);
    let second = in_time("a second cluster on the same ports exits", second.kill_on_drop(true).output()).await.unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("port {port}")), "{said}");
    first.stop().await;
    assert!(
        (1..=3).any(|number| newest_segment(&dir, number)[12] == 2),
        "the feature level was not raised before a write"
    );

    let again = Local::start(&dir, port).await;
    assert_eq!(until("the restarted cluster answers", async || count(&url).await.ok()).await, 1);
    again.stop().await;
}
