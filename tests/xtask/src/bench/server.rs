//! Three members of one kind (raft-node or etcd) on loopback, and their CPU time and memory. Owns the processes of the
//! members and ends them by process ID, even after a failure.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dev_cluster::{Json, PATIENCE, Program, Run, programs, until};
use serde_json::Value;

/// Number of clock ticks per second in `/proc/PID/stat`, always 100 for programs on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Client port of the first of three members. Each kind of server has its own.
pub(super) const OURS: u16 = 23_790;
/// Client port of the first member of what ours are compared with.
pub(super) const THEIRS: u16 = 24_790;
/// Distance from the client port of a raft-node to the port of its metrics.
const HTTP_PORT_OFFSET: u16 = 20;
/// Counter of the bytes that a raft-node's log wrote ahead of its entries.
const PREALLOCATED: &str = "raft_log_preallocated_bytes_total";

/// Three members of one kind.
pub(super) struct Servers {
    launches: Vec<Launch>,
    started: Vec<Child>,
    endpoints: Vec<String>,
    /// Addresses of the metrics of each raft-node; empty for etcd.
    metrics: Vec<String>,
    etcdctl: PathBuf,
}

/// A process to start: program, arguments, and the folder of its data.
struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
}

impl Servers {
    /// Starts `raft-node local`, which starts three members.
    pub(super) fn raft_node(program: &Path, folder: &Path, port: u16) -> Result<Self> {
        let mut servers = Self::none(port)?;
        servers.metrics = (0..3).map(|i| format!("127.0.0.1:{}", port + HTTP_PORT_OFFSET + i)).collect();
        let mut arguments: Vec<OsString> =
            ["local", "--members", "3", "--client-port", &port.to_string(), "--dir"].map(OsString::from).to_vec();
        arguments.push(folder.into());
        servers.launch(Launch { program: program.into(), arguments, folder: folder.into() })?;
        Ok(servers)
    }

    /// Starts three members of etcd with default settings.
    pub(super) fn etcd(program: &Path, folder: &Path) -> Result<Self> {
        let port = THEIRS;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..3).map(|i| format!("e{i}={}", url(port + 10 + i))).collect();
        // If a later step returns an error, `Drop` ends the members that were started.
        let mut servers = Self::none(port)?;
        for i in 0..3 {
            let (client, peer) = (url(port + i), url(port + 10 + i));
            let own = folder.join(format!("e{i}"));
            let (name, cluster) = (format!("e{i}"), cluster.join(","));
            let mut arguments: Vec<OsString> =
                ["--name", &name, "--initial-cluster", &cluster, "--log-level=error"].map(OsString::from).to_vec();
            arguments.extend(["--listen-client-urls", &client, "--advertise-client-urls", &client].map(OsString::from));
            let peers = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--data-dir"];
            arguments.extend(peers.map(OsString::from));
            arguments.push(own.clone().into());
            servers.launch(Launch { program: program.into(), arguments, folder: own })?;
        }
        Ok(servers)
    }

    fn launch(&mut self, launch: Launch) -> Result<()> {
        self.started.push(launch.start()?);
        self.launches.push(launch);
        Ok(())
    }

    /// Stops all members and starts them again with their data.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.stop();
        for launch in &self.launches {
            self.started.push(launch.start()?);
        }
        self.await_serving()
    }

    fn stop(&mut self) {
        for mut child in self.started.drain(..) {
            // Sends SIGTERM, because `raft-node local` ends its members after SIGTERM. An error means that the process
            // has already ended.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }

    /// Creates the endpoints of three members. No member is started.
    fn none(port: u16) -> Result<Self> {
        let etcdctl = programs::build(&[Program::Etcdctl], &|line| println!("  {line}"))?.path(Program::Etcdctl);
        let endpoints = (0..3).map(|i| format!("127.0.0.1:{}", port + i)).collect();
        Ok(Self { launches: Vec::new(), started: Vec::new(), endpoints, metrics: Vec::new(), etcdctl })
    }

    /// Client endpoints of the members.
    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Waits until every member answers a linearizable read.
    pub(super) fn await_serving(&mut self) -> Result<()> {
        let endpoints = self.endpoints.join(",");
        until(&format!("{endpoints} serve"), PATIENCE, || {
            for child in &mut self.started {
                ensure!(child.try_wait()?.is_none(), "a member ended at its start; see its log");
            }
            let mut command = Command::new(&self.etcdctl);
            command.args(["--endpoints", &endpoints, "endpoint", "health"]).text().map(Some)
        })?;
        Ok(())
    }

    /// Client endpoint of the leader.
    pub(super) fn leader(&self) -> Result<String> {
        let status = self.leader_status()?;
        Ok(status["Endpoint"].as_str().context("etcdctl names the endpoint")?.to_owned())
    }

    fn leader_status(&self) -> Result<Value> {
        let mut command = self.patient_etcdctl();
        command.args(["--endpoints", &self.endpoints.join(","), "endpoint", "status", "--write-out=json"]);
        let statuses = command.json()?;
        let leads = |status: &&Value| status["Status"]["leader"] == status["Status"]["header"]["member_id"];
        statuses.as_array().and_then(|all| all.iter().find(leads)).cloned().context("no member leads")
    }

    /// Removes all history, and waits until the history is removed on the member that answers.
    pub(super) fn compact(&self) -> Result<()> {
        let status = self.leader_status()?;
        let revision = status["Status"]["header"]["revision"].as_i64().context("etcdctl names the revision")?;
        let mut compact = self.patient_etcdctl();
        compact.args(["--endpoints", &self.endpoints[0], "compact", &revision.to_string(), "--physical"]).text()?;
        Ok(())
    }

    /// Puts one key.
    pub(super) fn put(&self, key: &str, value: &str) -> Result<()> {
        self.patient_etcdctl().args(["--endpoints", &self.endpoints[0], "put", key, value]).text()?;
        Ok(())
    }

    /// Creates an etcdctl command with long timeouts. etcdctl's default timeouts of two and five seconds may be too
    /// short directly after a load.
    pub(super) fn patient_etcdctl(&self) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.args(["--dial-timeout=60s", "--command-timeout=60s"]);
        command
    }

    /// CPU seconds that all members together have used since they started.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in self.members()? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a member is gone")?;
            let fields: Vec<&str> = stat.rsplit(')').next().context("stat has a name")?.split_whitespace().collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory of all members together, now and at each member's peak, in bytes.
    pub(super) fn memory(&self) -> Result<[u64; 2]> {
        let mut kibibytes = [0; 2];
        for pid in self.members()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a member is gone")?;
            for (sum, name) in kibibytes.iter_mut().zip(["VmRSS:", "VmHWM:"]) {
                *sum += after(&status, name).context("a member has memory")?;
            }
        }
        Ok(kibibytes.map(|sum| sum * 1024))
    }

    /// Bytes that all members together have written to disks since they started, without those of files that were
    /// removed before their pages were written.
    pub(super) fn written_bytes(&self) -> Result<u64> {
        let mut bytes = 0_u64;
        for pid in self.members()? {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).context("a member is gone")?;
            bytes += written(&io).context("the kernel counts what a process writes")?;
        }
        Ok(bytes)
    }

    /// Bytes that the logs of all members together wrote ahead of their entries. Zero for members that do not count
    /// them.
    pub(super) fn preallocated_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for address in &self.metrics {
            let mut stream = TcpStream::connect(address).context("a member serves metrics")?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: member\r\nConnection: close\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            bytes += after(&page, PREALLOCATED).unwrap_or_default();
        }
        Ok(bytes)
    }

    /// Process IDs of the started processes and of their children.
    fn members(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for child in &self.started {
            let pid = child.id();
            pids.push(pid);
            let children =
                fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).context("a member is gone")?;
            for child in children.split_whitespace() {
                pids.push(child.parse()?);
            }
        }
        Ok(pids)
    }
}

impl Launch {
    fn start(&self) -> Result<Child> {
        fs::create_dir_all(&self.folder)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.with_extension("log"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("{} could not be started", self.program.display()))
    }
}

/// Bytes written, from the text of `/proc/PID/io`. The kernel counts pages when they are changed, and counts them as
/// cancelled when their file is removed before they are written.
fn written(io: &str) -> Option<u64> {
    Some(after(io, "\nwrite_bytes:")?.saturating_sub(after(io, "cancelled_write_bytes:")?))
}

/// Parses the number after the last occurrence of `name`.
fn after(text: &str, name: &str) -> Option<u64> {
    text.rsplit_once(name)?.1.split_whitespace().next()?.parse().ok()
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_removed_files_are_not_counted_as_written() {
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 1024\n";
        assert_eq!(written(io), Some(3072));
        assert_eq!(written("rchar: 1\n"), None);
    }

    #[test]
    fn the_value_of_a_metric_is_its_last_line() {
        let page = format!("# HELP {PREALLOCATED} x\n# TYPE {PREALLOCATED} counter\n{PREALLOCATED} 77\nother 1\n");
        assert_eq!(after(&page, PREALLOCATED), Some(77));
        assert_eq!(after("other 1\n", PREALLOCATED), None);
    }
}
