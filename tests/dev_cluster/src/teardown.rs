//! Taking a cluster down, whole or half made: processes, mounts, interfaces, rules, files. Everything is found by the
//! names that only a dev cluster uses, so leftovers of a crash go the same way.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cgroup::Hierarchy;
use crate::command::{Run, command};
use crate::network;
use crate::node::CNI_NETWORK;
use crate::record::{Exclusive, Phase, Record};

/// What taking down found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// A cluster, or what a crash had left of one.
    Removed,
    /// Nothing.
    NothingThere,
}

/// Takes the dev cluster down, whatever state it is in. Its volumes and buckets go with it.
///
/// # Errors
/// If another process is at it, or something of it cannot be removed.
pub fn down() -> Result<Down> {
    crate::require_root()?;
    let lock = Exclusive::take()?;
    let Some(record) = Record::read()? else { return Ok(Down::NothingThere) };
    remove(record, &lock)?;
    Ok(Down::Removed)
}

/// Removes everything of `record`, and last the record.
pub(crate) fn remove(mut record: Record, _lock: &Exclusive) -> Result<()> {
    record.phase = Phase::Unfinished;
    record.write()?;
    let hierarchy = Hierarchy::detect();
    hierarchy.kill("").context("not every process of the dev cluster ended")?;
    hierarchy.remove("")?;
    forget_shims(&record.run);
    unmount_below(&record.run)?;
    network::remove();
    forget_on_the_host(&record.run);
    match fs::remove_dir_all(&record.run) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} was not removed", record.run.display()))
        }
        _ => Record::remove(),
    }
}

/// Unmounts everything below `folder`, the last mounted first.
pub(crate) fn unmount_below(folder: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for mount in mounts_below(&table, folder).into_iter().rev() {
        command("umount", ["-l"]).arg(&mount).text()?;
    }
    Ok(())
}

/// The mount points below `folder`, in the order of the table.
fn mounts_below(table: &str, folder: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    points.filter(|point| point.starts_with(folder) && point != folder).collect()
}

/// The kernel writes space, tab, newline and backslash in a path as three octal digits.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Sockets of containerd's shims lie in a machine-wide directory and outlive a shim that is killed.
pub(crate) fn forget_shims(run: &Path) {
    for node in fs::read_dir(run).into_iter().flatten().flatten() {
        let tasks = node.path().join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            if let Ok(address) = fs::read_to_string(task.path().join("address")) {
                let _ = fs::remove_file(address.trim().trim_start_matches("unix://"));
            }
        }
    }
}

/// The kubelet and the CNI plugins keep a few files of ours in machine-wide directories.
fn forget_on_the_host(run: &Path) {
    for log in fs::read_dir("/var/log/containers").into_iter().flatten().flatten() {
        if fs::read_link(log.path()).is_ok_and(|target| target.starts_with(run)) {
            let _ = fs::remove_file(log.path());
        }
    }
    for result in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        if result.file_name().to_string_lossy().starts_with(&format!("{CNI_NETWORK}-")) {
            let _ = fs::remove_file(result.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_the_run_are_found_and_spaces_survive() {
        let table = "21 1 0:19 / / rw - ext4 /dev/vda rw\n\
                     22 21 0:20 / /run/a\\040b/node1/x rw - tmpfs tmpfs rw\n\
                     23 22 0:21 / /run/a\\040b/node1/x/y rw - tmpfs tmpfs rw\n\
                     24 21 0:22 / /run/a\\040bc rw - tmpfs tmpfs rw\n";
        let found = mounts_below(table, Path::new("/run/a b"));
        assert_eq!(found, [PathBuf::from("/run/a b/node1/x"), PathBuf::from("/run/a b/node1/x/y")]);
    }
}
