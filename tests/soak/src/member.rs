//! One member: its process, and calls of its admin service. Owns the process, which is a child of this program. A
//! signal therefore reaches this process only: the kernel reuses the ID of a child after its end was waited for, and
//! not before.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::machine;

pub(crate) const TOKEN: &str = "token of the soak";

/// How members are started.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Path of `raft-node`.
    pub(crate) program: PathBuf,
    /// Folder of the run; each member's log is in it.
    pub(crate) folder: PathBuf,
    /// Flags in addition to name, addresses and directory.
    pub(crate) flags: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    pub(crate) fn of(status: ExitStatus) -> Self {
        // A process that has ended has either a code or a signal.
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or_default()), Self::Code)
    }
}

/// One member: a disk, an address, and a process while it runs.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: usize,
    /// Folder on which its disk is mounted.
    pub(crate) disk: PathBuf,
    settings: Arc<Settings>,
    process: Mutex<Option<Child>>,
    starts: AtomicU64,
    peak_kib: AtomicU64,
}

impl Member {
    pub(crate) fn new(number: usize, settings: &Arc<Settings>) -> Result<Self> {
        let disk = machine::create_disk(&settings.folder, number)?;
        let (starts, peak_kib) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { number, disk, settings: Arc::clone(settings), process: Mutex::new(None), starts, peak_kib })
    }

    pub(crate) fn name(&self) -> String {
        machine::name(self.number)
    }

    pub(crate) fn client_url(&self) -> String {
        format!("http://{}:2379", machine::address(self.number))
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://{}:2380", machine::address(self.number))
    }

    /// Number of starts so far. An answer that began and ended at the same number came from one process.
    pub(crate) fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }

    /// Highest resident memory of all processes of this member so far, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed)
    }

    /// Takes the process. While the guard is held, no other task judges the end of the process or starts it.
    pub(crate) async fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().await
    }

    /// Takes the process if no other task holds it.
    pub(crate) fn try_process(&self) -> Option<MutexGuard<'_, Option<Child>>> {
        self.process.try_lock().ok()
    }

    /// Starts the process.
    ///
    /// # Errors
    /// Returns an error if it cannot be started.
    pub(crate) fn start(&self, process: &mut Option<Child>) -> Result<()> {
        let log = self.settings.folder.join(format!("{}.log", self.name()));
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", machine::namespace(self.number).display())).arg(&self.settings.program);
        command.args(["run", "--name", &self.name(), "--data-dir"]).arg(self.disk.join("data"));
        command.args(&self.settings.flags).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        *process = Some(command.kill_on_drop(true).spawn().context("nsenter was not started")?);
        self.starts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Notes the memory and returns the number of open files; `None` if the process does not run.
    pub(crate) fn sample(&self, process: &Option<Child>) -> Option<usize> {
        let id = process.as_ref()?.id()?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        self.peak_kib.fetch_max(peak_kib(&status)?, Ordering::Relaxed);
        Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count())
    }

    pub(crate) async fn admin(&self, limit: Duration) -> Result<AdminClient<Channel>> {
        let endpoint = Endpoint::from_shared(self.peer_url())?.connect_timeout(Duration::from_millis(500));
        Ok(AdminClient::new(endpoint.timeout(limit).connect().await?))
    }

    /// The member's description; `None` if it does not answer.
    pub(crate) async fn describe(&self) -> Option<wire::DescribeResponse> {
        let mut admin = self.admin(Duration::from_secs(2)).await.ok()?;
        match admin.describe(with_token(wire::DescribeRequest {})).await {
            Ok(described) => Some(described.into_inner()),
            // A blank member has no token.
            Err(_) => Some(admin.describe(wire::DescribeRequest {}).await.ok()?.into_inner()),
        }
    }
}

/// Sends a signal to a child of this program. It is not an error if the child has ended.
///
/// # Errors
/// Returns an error if the kernel refuses the signal.
pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    // A child whose end was waited for has no ID.
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return Ok(()) };
    kill_process(pid, signal).with_context(|| format!("{signal:?} was refused"))
}

/// A request that carries the token of the cluster.
pub(crate) fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("raft-token", AsciiMetadataValue::from_static(TOKEN));
    request
}

/// Parses the highest resident memory from the text of `/proc/PID/status`.
fn peak_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_memory_is_found() {
        assert_eq!(peak_kib("VmPeak:\t  900 kB\nVmHWM:\t   12345 kB\nVmRSS:\t  7 kB\n"), Some(12_345));
        assert_eq!(peak_kib("Name:\tz\n"), None);
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        assert_eq!(End::of(ExitStatus::from_raw(74 << 8)), End::Code(74));
        assert_eq!(End::of(ExitStatus::from_raw(9)), End::Signal(9));
    }
}
