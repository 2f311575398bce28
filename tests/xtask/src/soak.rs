//! `cargo xtask soak`: starts members as real processes under faults. Owns the namespaces in which the run takes place,
//! its folder, and the end of an interrupted run. Does not own faults, checks or the verdict (`tests/soak`).

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use dev_cluster::{install_missing, require_root, search_path};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::image;

/// Programs that the soak calls, and the Debian package of each.
const NEEDED: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("unshare", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("strace", "strace"),
];

/// What is run, and for how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What runs under faults
    #[arg(value_enum, default_value_t = Name::Processes)]
    name: Name,
    /// Duration of the faults in minutes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Seed of the faults and of the members' settings; a new one by default
    #[arg(long)]
    seed: Option<u64>,
    /// A raft-node to run instead of a release build of this source
    #[arg(long)]
    node: Option<PathBuf>,
    /// Also writes the report, as Markdown, to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What can run under faults.
#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Five members as processes, with clients of the key-value service
    Processes,
}

/// Runs the soak and returns its exit code, which is the verdict.
///
/// # Errors
/// Returns an error if the caller is not root, if a program cannot be built or installed, or if the run cannot begin.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { name: Name::Processes, minutes, seed, node, out } = arguments;
    require_root()?;
    let say = |line: &str| println!("  {line}");
    install_missing(&NEEDED, &say)?;
    let node = image::release_node(node.as_deref(), &say)?;
    let soak = image::built("soak", &[])?;
    let folder = std::env::temp_dir().join(format!("raft-soak-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(&soak);
    command.arg("--node").arg(&node).arg("--folder").arg(&folder).args(["--minutes", &minutes.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(out) = out {
        command.arg("--out").arg(std::path::absolute(out)?);
    }
    command.env("PATH", search_path());
    let (succeeded, interrupted) = watched(&mut command)?;
    if succeeded || interrupted {
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    } else {
        println!("logs of the members and evidence: {}", folder.display());
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the soak until it ends. Returns whether it succeeded, and whether it was interrupted. The soak ends early when
/// its standard input is closed: after SIGINT or SIGTERM, or with this program. It is in a process group of its own, so
/// that the terminal's SIGINT does not reach it or its members.
fn watched(command: &mut Command) -> Result<(bool, bool)> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut child = command.stdin(Stdio::piped()).process_group(0).spawn().context("unshare could not be started")?;
    let (input, interrupted) = (child.stdin.take(), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&interrupted);
    thread::spawn(move || {
        let _ = signals.forever().next();
        eprintln!("interrupted: ending the soak");
        noted.store(true, Ordering::SeqCst);
        drop(input);
    });
    let succeeded = child.wait()?.success();
    Ok((succeeded, interrupted.load(Ordering::SeqCst)))
}
