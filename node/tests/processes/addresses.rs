//! Tests of the addresses on which a member listens by default, in a network namespace of the test.

use std::process::Stdio;

use dev_cluster::install_missing;
use tokio::process::{Child, Command};

use crate::cluster::Cluster;
use crate::until::until;

/// Sends `GET /livez` to an address in the network namespace of a process. Returns the first line of the answer; `None`
/// if nothing answers.
async fn livez(process: &Child, address: &str) -> Option<String> {
    let namespace = format!("--net=/proc/{}/ns/net", process.id().expect("it runs"));
    let request = format!(
        "exec 3<>/dev/tcp/{address}/2381 && printf 'GET /livez HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r line <&3 && echo \"$line\""
    );
    let mut ask = Command::new("nsenter");
    ask.args([&namespace, "bash", "-c", &request]).stderr(Stdio::null());
    let answer = ask.output().await.expect("util-linux and bash are installed");
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

#[tokio::test]
async fn a_member_answers_on_ipv4_and_on_ipv6_by_default() {
    install_missing(&[("ip", "iproute2")], &|line| println!("{line}")).expect("a namespace needs `ip`");
    let cluster = Cluster::new("addresses", &[]);
    let mut member = Command::new("unshare");
    member.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_raft-node")]);
    member.args(["run", "--name", "demo-1", "--data-dir"]).arg(cluster.dir().join("demo-1"));
    let mut member = member.stderr(Stdio::null()).kill_on_drop(true).spawn().expect("this test runs as root");
    for address in ["127.0.0.1", "::1"] {
        let answer = until(address, async || livez(&member, address).await).await;
        assert_eq!(answer, "HTTP/1.1 200 OK", "{address}");
    }
    member.kill().await.expect("it runs");
}
