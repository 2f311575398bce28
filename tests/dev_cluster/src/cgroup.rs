//! One cgroup tree for all processes of a dev cluster: `raftdev/host` for the control plane, `raftdev/nodeN` for a
//! node. With this tree, a node can be frozen and killed as a whole, and all processes of a crashed run can be found.
//! Owns the tree. Does not own resource limits (the kubelet sets them).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;
use crate::wait::{PATIENCE, so, until};

const MOUNT: &str = "/sys/fs/cgroup";
/// Name of the cgroup tree. It is the same in every cgroup hierarchy.
pub(crate) const TREE: &str = "raftdev";
/// Hierarchies of cgroup v1 that a kubelet uses.
const V1_CONTROLLERS: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
/// Controllers of cgroup v2 that a kubelet uses. A kernel may lack some of them.
const V2_CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// Version of cgroups on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// cgroup v1: one tree for each controller.
    V1,
    /// cgroup v2: one tree for all controllers.
    V2,
}

impl Hierarchy {
    /// Returns the version that this machine uses.
    pub(crate) fn detect() -> Hierarchy {
        if Path::new(MOUNT).join("cgroup.controllers").exists() { Hierarchy::V2 } else { Hierarchy::V1 }
    }

    /// Creates the group `raftdev/NAME`, and the group `raftdev/NAME/system` in it. On a node, the kubelet creates the
    /// groups of pods in the first group, and the processes of the node itself join the second. Returns the files of
    /// `raftdev/NAME/system` into which a process writes its ID to join that group.
    pub(crate) fn create(self, name: &str) -> Result<Vec<PathBuf>> {
        let make = || match self {
            Hierarchy::V1 => create_v1(name),
            Hierarchy::V2 => create_v2(name),
        };
        make().with_context(|| format!("the cgroup {TREE}/{name} was not created"))
    }

    /// The tree in which this crate finds, freezes and kills processes.
    fn tree(self) -> PathBuf {
        match self {
            Hierarchy::V1 => Path::new(MOUNT).join("freezer").join(TREE),
            Hierarchy::V2 => Path::new(MOUNT).join(TREE),
        }
    }

    /// Freezes every process of `raftdev/NAME`, pods included.
    pub(crate) fn freeze(self, name: &str) -> Result<()> {
        self.set_frozen(&self.tree().join(name), "FROZEN", "1")
    }

    /// Thaws every process of `raftdev/NAME`.
    pub(crate) fn thaw(self, name: &str) -> Result<()> {
        self.set_frozen(&self.tree().join(name), "THAWED", "0")
    }

    fn set_frozen(self, group: &Path, v1: &str, v2: &str) -> Result<()> {
        let what = format!("{} is {v1}", group.display());
        match self {
            Hierarchy::V1 => {
                let state = group.join("freezer.state");
                until(&what, PATIENCE, || {
                    fs::write(&state, v1)?;
                    so(fs::read_to_string(&state)?.trim() == v1)
                })
            }
            Hierarchy::V2 => {
                fs::write(group.join("cgroup.freeze"), v2)?;
                until(&what, PATIENCE, || {
                    let events = fs::read_to_string(group.join("cgroup.events"))?;
                    so(events.lines().any(|line| line == format!("frozen {v2}")))
                })
            }
        }
    }

    /// Kills every process of `raftdev/NAME` at the same moment, as a power failure does. All processes are frozen
    /// first, so that no process can react to the end of another. An empty name means the whole tree.
    pub(crate) fn kill(self, name: &str) -> Result<()> {
        let group = self.tree().join(name);
        if !group.exists() {
            return Ok(());
        }
        until(&format!("every process of {} has ended", group.display()), PATIENCE, || {
            if members(&group)?.is_empty() {
                return so(true);
            }
            // A paused node has a frozen group of its own, and thawing the parent of that group does not thaw it. Each
            // group is therefore thawed below.
            self.set_frozen(&group, "FROZEN", "1")?;
            for pid in members(&group)? {
                process::kill(pid)?;
            }
            for group in groups(&group)? {
                match self {
                    Hierarchy::V1 => fs::write(group.join("freezer.state"), "THAWED")?,
                    Hierarchy::V2 => fs::write(group.join("cgroup.freeze"), "0")?,
                }
            }
            so(members(&group)?.is_empty())
        })
    }

    /// Removes the group `raftdev/NAME` and all groups below it; an empty name means the whole tree. No process may be
    /// left in these groups.
    pub(crate) fn remove(self, name: &str) -> Result<()> {
        let roots: Vec<PathBuf> = match self {
            // The container runtime also creates groups in hierarchies that a kubelet does not use, such as the empty
            // v2 hierarchy of a v1 machine. All hierarchies are therefore searched.
            Hierarchy::V1 => fs::read_dir(MOUNT)?.flatten().map(|entry| entry.path()).collect(),
            Hierarchy::V2 => vec![PathBuf::from(MOUNT)],
        };
        for root in roots {
            let group = root.join(TREE).join(name);
            until(&format!("{} is removed", group.display()), PATIENCE, || {
                for group in groups(&group)?.iter().rev() {
                    fs::remove_dir(group)?;
                }
                so(true)
            })?;
        }
        Ok(())
    }
}

fn create_v1(name: &str) -> Result<Vec<PathBuf>> {
    for controller in V1_CONTROLLERS {
        let root = Path::new(MOUNT).join(controller);
        if !root.exists() {
            continue;
        }
        fs::create_dir_all(root.join(TREE).join(name))?;
        if controller == "cpuset" {
            // A new cpuset has no processors and no memory, and no process can join it until both are set.
            for group in [root.join(TREE), root.join(TREE).join(name)] {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(group.join(file), fs::read(root.join(file))?)?;
                }
            }
        }
    }
    let system = Hierarchy::V1.tree().join(name).join("system");
    fs::create_dir_all(&system)?;
    Ok(vec![system.join("cgroup.procs")])
}

fn create_v2(name: &str) -> Result<Vec<PathBuf>> {
    let tree = Hierarchy::V2.tree();
    let group = tree.join(name);
    let system = group.join("system");
    fs::create_dir_all(&system)?;
    let available = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers"))?;
    for parent in [Path::new(MOUNT), &tree, &group] {
        for controller in available.split_whitespace().filter(|name| V2_CONTROLLERS.contains(name)) {
            fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"))
                .with_context(|| format!("the controller {controller} cannot be enabled below {}", parent.display()))?;
        }
    }
    Ok(vec![system.join("cgroup.procs")])
}

/// Lists `group` and every group below it. Each parent comes before its children.
fn groups(group: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![group.to_path_buf()];
    while let Some(next) = open.pop() {
        // The group of a pod may be removed while the groups are listed.
        let Ok(entries) = fs::read_dir(&next) else { continue };
        found.push(next);
        for entry in entries.flatten() {
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// IDs of all processes in `group` and in the groups below it.
fn members(group: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for group in groups(group)? {
        let Ok(text) = fs::read_to_string(group.join("cgroup.procs")) else { continue };
        for line in text.lines() {
            pids.push(line.parse().with_context(|| format!("{line} is no process ID"))?);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_all_groups_below_are_found_and_parents_come_first() {
        let top = std::env::temp_dir().join(format!("dev-cluster-cgroup-{}", std::process::id()));
        let pods = top.join("node1/kubepods");
        fs::create_dir_all(&pods).unwrap();
        fs::write(top.join("cgroup.procs"), "").unwrap();
        fs::write(top.join("node1/cgroup.procs"), "7\n8\n").unwrap();
        fs::write(pods.join("cgroup.procs"), "9\n").unwrap();
        let (found, order) = (members(&top).unwrap(), groups(&top).unwrap());
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(found, [7, 8, 9]);
        assert_eq!(order, [top.clone(), top.join("node1"), pods]);
        assert_eq!(members(&top).unwrap(), [0; 0]);
    }
}
