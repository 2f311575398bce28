//! Control-C during a long run: ends the programs of the running step, skips the remaining steps, and lets the run
//! clean up. Owns the signals. Does not own the steps (`test.rs`).

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Starts to handle SIGINT and SIGTERM. From now on, these signals do not end this program; they end the programs that
/// it started.
pub(crate) fn watch() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("interrupted: cleaning up");
            // An error means that one of these programs has already ended.
            let _ = Command::new("kill").args(descendants()).stderr(Stdio::null()).status();
        }
    })?;
    Ok(())
}

/// Returns whether the run was interrupted.
pub(crate) fn came() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    session: u32,
}

/// IDs of the processes that this program started, directly or indirectly. Processes in other sessions are left out,
/// because the processes of the dev cluster have their own sessions and must outlive the run.
fn descendants() -> Vec<String> {
    let stats = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let processes: Vec<Process> = stats.filter_map(|stat| parse(&stat)).collect();
    below(std::process::id(), &processes).iter().map(ToString::to_string).collect()
}

fn parse(stat: &str) -> Option<Process> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    // The command name may contain any character, so only the text after it is split into fields: state, parent, group,
    // session.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session })
}

fn below(top: u32, processes: &[Process]) -> Vec<u32> {
    let Some(session) = processes.iter().find(|process| process.pid == top).map(|process| process.session) else {
        return Vec::new();
    };
    let mut found = vec![top];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = processes.iter().filter(|process| process.parent == parent && process.session == session);
        found.extend(children.map(|process| process.pid));
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_does_not_shift_the_fields() {
        let found = parse("7 (a (b) c) S 1 6 5 0 -1").unwrap();
        assert_eq!(found, Process { pid: 7, parent: 1, session: 5 });
    }

    #[test]
    fn children_of_children_are_found_and_other_sessions_left_alone() {
        let process = |pid, parent, session| Process { pid, parent, session };
        let processes = [process(1, 0, 1), process(5, 1, 5), process(6, 5, 5), process(7, 6, 5), process(8, 5, 8)];
        assert_eq!(below(5, &processes), [6, 7]);
        assert_eq!(below(9, &processes), [0; 0]);
    }
}
