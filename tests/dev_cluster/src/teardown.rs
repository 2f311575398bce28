//! Takes a cluster down, whether or not it is complete: removes its processes, mounts, interfaces, rules and files.
//! They are found by names that only a dev cluster uses, so the leftovers of a crashed run are removed in the same way.
//! Owns the order of removal.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cgroup::Hierarchy;
use crate::command::{Run, command};
use crate::network;
use crate::node::CNI_NETWORK;
use crate::state_file::{Exclusive, Phase, StateFile};

/// Result of taking a cluster down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// A cluster, or what a crashed run left, was removed.
    Removed,
    /// There was no cluster.
    NothingThere,
}

/// Takes the dev cluster down, whatever its state is, and removes its volumes and buckets.
///
/// # Errors
/// Returns an error if another process is bringing the cluster up or taking it down, or if a part cannot be removed.
pub fn down() -> Result<Down> {
    crate::require_root()?;
    let lock = Exclusive::take()?;
    let Some(state) = StateFile::read()? else { return Ok(Down::NothingThere) };
    remove(state, &lock)?;
    Ok(Down::Removed)
}

/// Removes the cluster that a state file describes, and then the state file.
pub(crate) fn remove(mut state: StateFile, _lock: &Exclusive) -> Result<()> {
    state.phase = Phase::Unfinished;
    state.write()?;
    let hierarchy = Hierarchy::detect();
    hierarchy.kill("").context("not every process of the dev cluster ended")?;
    hierarchy.remove("")?;
    remove_shim_sockets(&state.run);
    unmount_below(&state.run)?;
    network::remove();
    remove_host_files(&state.run);
    match fs::remove_dir_all(&state.run) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} was not removed", state.run.display()))
        }
        _ => StateFile::remove(),
    }
}

/// Unmounts all mounts below `folder`, in the reverse of the order in which they were mounted.
pub(crate) fn unmount_below(folder: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for mount in mounts_below(&table, folder).into_iter().rev() {
        command("umount", ["-l"]).arg(&mount).text()?;
    }
    Ok(())
}

/// Mount points below `folder`, in the order of `table`, which is the kernel's mount table.
fn mounts_below(table: &str, folder: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    points.filter(|point| point.starts_with(folder) && point != folder).collect()
}

/// Decodes a path of the mount table. In that table, space, tab, newline and backslash are written as a backslash and
/// three octal digits.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Removes the sockets of containerd's shims. They are in a machine-wide directory and remain after a shim is killed.
pub(crate) fn remove_shim_sockets(run: &Path) {
    for node in fs::read_dir(run).into_iter().flatten().flatten() {
        let tasks = node.path().join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            if let Ok(address) = fs::read_to_string(task.path().join("address")) {
                let _ = fs::remove_file(address.trim().trim_start_matches("unix://"));
            }
        }
    }
}

/// Removes the files that kubelets and CNI plugins keep in machine-wide directories.
fn remove_host_files(run: &Path) {
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
    fn only_mounts_of_the_run_are_found_and_spaces_are_decoded() {
        let table = "21 1 0:19 / / rw - ext4 /dev/vda rw\n\
                     22 21 0:20 / /run/a\\040b/node1/x rw - tmpfs tmpfs rw\n\
                     23 22 0:21 / /run/a\\040b/node1/x/y rw - tmpfs tmpfs rw\n\
                     24 21 0:22 / /run/a\\040bc rw - tmpfs tmpfs rw\n";
        let found = mounts_below(table, Path::new("/run/a b"));
        assert_eq!(found, [PathBuf::from("/run/a b/node1/x"), PathBuf::from("/run/a b/node1/x/y")]);
    }
}
