//! `raft-node local`.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, connect};

async fn start(dir: &std::path::Path, port: u16) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-node"));
    command.args(["local", "--members", "3", "--client-port", &port.to_string(), "--dir"]).arg(dir);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("it says when it is ready");
    (child, line)
}

async fn stop(mut child: Child) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert!(child.wait().await.unwrap().success(), "a clean end");
}

fn free_port() -> u16 {
    // Each of the 23 ports from here on must be free, too; they are far from where ephemeral ports begin.
    20_000 + (std::process::id() % 10_000) as u16
}

#[tokio::test]
async fn a_local_cluster_starts_serves_ends_and_goes_on_where_it_was() {
    use proto::etcdserverpb as pb;
    use proto::etcdserverpb::kv_client::KvClient;
    let scratch = Cluster::new("local", &[]);
    let dir = scratch.dir().join("local");
    let port = free_port();
    let (child, line) = start(&dir, port).await;
    let last = port + 2;
    assert!(line.starts_with("ready: ") && line.ends_with(&format!("http://127.0.0.1:{last}")), "{line}");
    let url = format!("http://127.0.0.1:{last}");
    let put = pb::PutRequest { key: "key".into(), value: "v".into(), ..Default::default() };
    KvClient::new(connect(&url).await.unwrap()).put(put).await.unwrap();

    let second = Command::new(env!("CARGO_BIN_EXE_raft-node"))
        .args(["local", "--client-port", &port.to_string(), "--dir"])
        .arg(scratch.dir().join("other"))
        .output()
        .await
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("port {port}")), "{said}");
    stop(child).await;

    let (child, _) = start(&dir, port).await;
    let range = pb::RangeRequest { key: "key".into(), ..Default::default() };
    let found = KvClient::new(connect(&url).await.unwrap()).range(range).await.unwrap().into_inner();
    assert_eq!(found.kvs.len(), 1);
    stop(child).await;
}
