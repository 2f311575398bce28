//! The process of one member of a local cluster. Owns its start, its log file and its end.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::local::{LocalError, Ports, address, name, system, url};

/// Time after SIGTERM within which a member must stop; afterwards it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Number of log lines that are shown when a member has exited.
const LOG_TAIL_LINES: usize = 10;

/// A running member.
#[derive(Debug)]
pub(super) struct Process {
    number: u16,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a member with its data directory and its log file in `dir`.
    pub(super) fn start(dir: &Path, ports: &Ports, flags: &[String]) -> Result<Self, LocalError> {
        let name = name(ports.number);
        let log = dir.join(format!("{name}.log"));
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(system(format!("write {}", log.display())))?;
        let program = std::env::current_exe().map_err(system("find the path of this program"))?;
        let mut command = Command::new(program);
        command.args(["run", "--name", &name]).arg("--data-dir").arg(dir.join(&name));
        for (flag, port) in [("--client-addr", ports.client), ("--peer-addr", ports.peer), ("--http-addr", ports.http)]
        {
            command.arg(flag).arg(address(port).to_string());
        }
        command.args(["--advertise-peer-url", &url(ports.peer), "--advertise-client-url", &url(ports.client)]);
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).kill_on_drop(true);
        let child = command.spawn().map_err(system(format!("start {name}")))?;
        Ok(Self { number: ports.number, child, log })
    }

    /// Returns an error with the end of the log if the process has exited.
    pub(super) fn check_alive(&mut self) -> Result<(), LocalError> {
        let exited = self.child.try_wait().map_err(system("wait for a member"))?;
        let Some(status) = exited else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log_tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        Err(LocalError::Exited { number: self.number, status: status.to_string(), log_tail })
    }
}

/// Sends SIGTERM to all members, then waits until they have exited.
pub(super) async fn stop_all(mut members: Vec<Process>) {
    for member in &members {
        let pid = member.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // An error means that the process has already exited, which is the aim.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    for member in &mut members {
        if tokio::time::timeout(STOP_TIMEOUT, member.child.wait()).await.is_err() {
            eprintln!("member-{} did not stop within {STOP_TIMEOUT:?} and is killed", member.number);
            let _ = member.child.kill().await;
        }
    }
}
