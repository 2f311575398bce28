//! One member's process. Owns its start, its log file and its end.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::local::{LocalError, Ports, address, name, system, url};

/// A member that was asked to end has so long before it is killed.
const GRACE: Duration = Duration::from_secs(15);
/// How much of a log is shown when its member ended.
const SHOWN_LINES: usize = 10;

/// A running member.
#[derive(Debug)]
pub(super) struct Process {
    number: u16,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a member on its own directory.
    pub(super) fn start(dir: &Path, ports: &Ports, flags: &[String]) -> Result<Self, LocalError> {
        let name = name(ports.number);
        let log = dir.join(format!("{name}.log"));
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(system(format!("write {}", log.display())))?;
        let program = std::env::current_exe().map_err(system("find this program"))?;
        let mut command = Command::new(program);
        command.args(["run", "--name", &name]).arg("--data-dir").arg(dir.join(&name));
        for (flag, port) in [("--client-addr", ports.client), ("--peer-addr", ports.peer), ("--http-addr", ports.http)]
        {
            command.arg(flag).arg(address(port).to_string());
        }
        command.args(["--advertise-peer-url", &url(ports.peer), "--advertise-client-url", &url(ports.client)]);
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).kill_on_drop(true);
        let child = command.spawn().map_err(system(format!("start {name}")))?;
        Ok(Self { number: ports.number, child, log })
    }

    /// Fails if it has ended.
    pub(super) fn check_alive(&mut self) -> Result<(), LocalError> {
        let ended = self.child.try_wait().map_err(system("look after a member"))?;
        let Some(status) = ended else { return Ok(()) };
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let said = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        Err(LocalError::Ended { number: self.number, status: status.to_string(), said })
    }
}

/// Asks all to end, together, and waits for them.
pub(super) async fn end_all(mut members: Vec<Process>) {
    for member in &members {
        let pid = member.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    for member in &mut members {
        if tokio::time::timeout(GRACE, member.child.wait()).await.is_err() {
            eprintln!("member-{} did not end in time and is killed", member.number);
            let _ = member.child.kill().await;
        }
    }
}
