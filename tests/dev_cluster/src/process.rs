//! Long-running processes, each started in its own session and in a named cgroup. Owns their identity, which consists
//! of process ID *and* start time, so that another process that gets the same ID later is not mistaken for a process of
//! the cluster.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::command::command;

/// Identity of a process. No other process on this machine has the same identity until the machine boots again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process ID.
    pub(crate) pid: i32,
    /// Start time, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub(crate) started: u64,
}

impl Identity {
    /// Identity of the process that runs this code.
    pub(crate) fn own() -> Result<Identity> {
        Identity::of(i32::try_from(std::process::id())?)
    }

    /// Identity of the process that has the ID `pid` now.
    pub(crate) fn of(pid: i32) -> Result<Identity> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, started) = parse_stat(&stat).with_context(|| format!("/proc/{pid}/stat has an unknown format"))?;
        Ok(Identity { pid, started })
    }

    /// Returns whether the process still runs. A zombie counts as ended.
    pub(crate) fn alive(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        parse_stat(&stat).is_some_and(|(state, started)| started == self.started && state != 'Z' && state != 'X')
    }
}

/// Parses state and start time from the text of `/proc/PID/stat`. The command name in that text may contain spaces and
/// brackets.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, and the start time is field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A process to start, and where its log and its identity are written.
pub(crate) struct Start<'a> {
    /// Name of the process. The files with its log and its identity have the same name.
    pub(crate) name: String,
    /// The run directory. The process's log is written to `log/NAME.log` in it, and its identity to `process/NAME`.
    pub(crate) run: &'a Path,
    /// Files into which the process writes its ID to join its cgroup.
    pub(crate) cgroup: &'a [PathBuf],
    /// Program and arguments.
    pub(crate) line: Vec<OsString>,
    /// Environment variables in addition to the inherited ones.
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Start<'_> {
    /// Starts the process and writes its identity to a file. The process outlives the caller.
    pub(crate) fn spawn(self) -> Result<Identity> {
        let Start { name, run, cgroup, line, env } = self;
        let (logs, records) = (run.join("log"), run.join("process"));
        fs::create_dir_all(&logs)?;
        fs::create_dir_all(&records)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(logs.join(format!("{name}.log")))?;
        let join = join_line(cgroup);
        let mut command = command("setsid", ["sh", "-c", &format!("{join}exec \"$@\""), name.as_str()]);
        command.args(&line).envs(env).current_dir(run);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{name} was not started"))?;
        let identity = Identity::of(i32::try_from(child.id())?)?;
        fs::write(records.join(&name), serde_json::to_vec(&identity)?)?;
        Ok(identity)
    }
}

/// Shell commands that join a cgroup by writing to these files. The shell runs these commands before it executes the
/// program, so that the program and its children are always in the cgroup.
pub(crate) fn join_line(cgroup: &[PathBuf]) -> String {
    cgroup.iter().map(|file| format!("echo $$ > '{}' || exit 1; ", file.display())).collect()
}

/// Reads the identity of the process `name` of a run; `None` if that process was not started.
pub(crate) fn recorded(run: &Path, name: &str) -> Option<Identity> {
    serde_json::from_slice(&fs::read(run.join("process").join(name)).ok()?).ok()
}

/// Sends SIGKILL. It is not an error if the process has already ended.
pub(crate) fn kill(pid: i32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Sends SIGTERM. It is not an error if the process has already ended.
pub(crate) fn terminate(pid: i32) -> Result<()> {
    signal(pid, Signal::TERM)
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid).context("0 is no process ID")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("process {} was not ended", pid.as_raw_nonzero())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 10";
        assert_eq!(parse_stat(stat), Some(('S', 4242)));
    }

    #[test]
    fn a_reused_process_id_is_another_identity() {
        let own = Identity::own().unwrap();
        assert!(own.alive());
        assert!(!Identity { started: own.started + 1, ..own }.alive());
    }
}
