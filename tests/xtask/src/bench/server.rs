//! Three members of one kind (raft-node or etcd) on loopback, and their CPU time and memory. Owns the processes of the
//! members and ends them by process ID, even after a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dev_cluster::{Json, PATIENCE, Program, Run, programs, until};
use serde_json::Value;

/// Number of clock ticks per second in `/proc/PID/stat`, always 100 for programs on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Three members of one kind.
pub(super) struct Servers {
    started: Vec<Child>,
    endpoints: Vec<String>,
    etcdctl: PathBuf,
}

impl Servers {
    /// Starts `raft-node local`, which starts three members.
    pub(super) fn raft_node(program: &Path, folder: &Path) -> Result<Self> {
        let port = 23_790;
        let mut command = Command::new(program);
        command.args(["local", "--members", "3", "--client-port", &port.to_string(), "--dir"]).arg(folder);
        let mut servers = Self::none(port)?;
        servers.started.push(start(&mut command, folder)?);
        Ok(servers)
    }

    /// Starts three members of etcd with default settings.
    pub(super) fn etcd(program: &Path, folder: &Path) -> Result<Self> {
        let port = 24_790;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..3).map(|i| format!("e{i}={}", url(port + 10 + i))).collect();
        // If a later step returns an error, `Drop` ends the members that were started.
        let mut servers = Self::none(port)?;
        for i in 0..3 {
            let (client, peer) = (url(port + i), url(port + 10 + i));
            let own = folder.join(format!("e{i}"));
            let mut command = Command::new(program);
            command.args(["--name", &format!("e{i}"), "--initial-cluster", &cluster.join(","), "--log-level=error"]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--data-dir"]).arg(&own);
            servers.started.push(start(&mut command, &own)?);
        }
        Ok(servers)
    }

    /// Creates the endpoints of three members. No member is started.
    fn none(port: u16) -> Result<Self> {
        let etcdctl = programs::build(&[Program::Etcdctl], &|line| println!("  {line}"))?.path(Program::Etcdctl);
        let endpoints = (0..3).map(|i| format!("127.0.0.1:{}", port + i)).collect();
        Ok(Self { started: Vec::new(), endpoints, etcdctl })
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
        let mut command = self.patient_etcdctl();
        command.args(["--endpoints", &self.endpoints.join(","), "endpoint", "status", "--write-out=json"]);
        let statuses = command.json()?;
        let leads = |status: &&Value| status["Status"]["leader"] == status["Status"]["header"]["member_id"];
        let leader = statuses.as_array().and_then(|all| all.iter().find(leads)).context("no member leads")?;
        Ok(leader["Endpoint"].as_str().context("etcdctl names the endpoint")?.to_owned())
    }

    /// Puts one key.
    pub(super) fn put(&self, key: &str, value: &str) -> Result<()> {
        self.patient_etcdctl().args(["--endpoints", &self.endpoints[0], "put", key, value]).text()?;
        Ok(())
    }

    /// Creates an etcdctl command with long timeouts. etcdctl's default timeouts of two and five seconds may be too
    /// short directly after a load.
    fn patient_etcdctl(&self) -> Command {
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

    /// Resident memory of all members together, in bytes.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let mut kibibytes = 0;
        for pid in self.members()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a member is gone")?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a member has memory")?;
            kibibytes += line.split_whitespace().nth(1).context("VmRSS has a number")?.parse::<u64>()?;
        }
        Ok(kibibytes * 1024)
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

fn start(command: &mut Command, folder: &Path) -> Result<Child> {
    fs::create_dir_all(folder)?;
    let log = fs::File::create(folder.with_extension("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("{} could not be started", command.get_program().to_string_lossy()))
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.started {
            // Sends SIGTERM, because `raft-node local` ends its members after SIGTERM. An error means that the process
            // has already ended.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}
