//! Long-running processes: started in a session of their own and in a named cgroup, remembered by process id *and*
//! start time, so that a reused id is never taken for ours.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::command::command;

/// A process as a crash of its starter cannot confuse it with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process id.
    pub(crate) pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub(crate) started: u64,
}

impl Identity {
    /// The process that runs this code.
    pub(crate) fn own() -> Result<Identity> {
        Identity::of(i32::try_from(std::process::id())?)
    }

    /// The process that has `pid` now.
    pub(crate) fn of(pid: i32) -> Result<Identity> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, started) = parse_stat(&stat).with_context(|| format!("/proc/{pid}/stat is not understood"))?;
        Ok(Identity { pid, started })
    }

    /// Whether that very process still runs (a zombie does not).
    pub(crate) fn alive(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        parse_stat(&stat).is_some_and(|(state, started)| started == self.started && state != 'Z' && state != 'X')
    }
}

/// State and start time out of `/proc/PID/stat`; the command name in it may hold spaces and brackets.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// What to start and where its traces go.
pub(crate) struct Start<'a> {
    /// Name of the log and of the record.
    pub(crate) name: String,
    /// The run directory: `log/NAME.log`, `process/NAME`.
    pub(crate) run: &'a Path,
    /// Files that a process writes its id into to join its cgroup.
    pub(crate) cgroup: &'a [PathBuf],
    /// Program and arguments.
    pub(crate) line: Vec<OsString>,
    /// Environment besides the inherited one.
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Start<'_> {
    /// Starts it and records its identity. It outlives the caller.
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

/// What a shell does first to be in a cgroup, of which these are the files to join it: then no child of the program that
/// it becomes is ever outside.
pub(crate) fn join_line(cgroup: &[PathBuf]) -> String {
    cgroup.iter().map(|file| format!("echo $$ > '{}' || exit 1; ", file.display())).collect()
}

/// The recorded process `name` of a run, if there is one.
pub(crate) fn recorded(run: &Path, name: &str) -> Option<Identity> {
    serde_json::from_slice(&fs::read(run.join("process").join(name)).ok()?).ok()
}

/// Sends SIGKILL. A process that is gone already is what was asked for.
pub(crate) fn kill(pid: i32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Sends SIGTERM. A process that is gone already is what was asked for.
pub(crate) fn terminate(pid: i32) -> Result<()> {
    signal(pid, Signal::TERM)
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid).context("0 is no process id")?;
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
    fn a_reused_process_id_is_not_ours() {
        let own = Identity::own().unwrap();
        assert!(own.alive());
        assert!(!Identity { started: own.started + 1, ..own }.alive());
    }
}
