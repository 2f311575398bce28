//! The memory limit of the process. Owns where Linux states it: in the control groups of the process, of version 1 or 2. Does
//! not own what follows from it (`memory_budget.rs`).
//!
//! The limit of a container may come from elsewhere than its cluster's spec, for example from a LimitRange of the
//! namespace or from a webhook. Only the container itself sees which one holds.

use std::fs;
use std::path::{Path, PathBuf};

/// From this number of bytes on, a limit of version 1 stands for none: the kernel states the largest number of pages.
const NONE: u64 = 1 << 60;

/// Returns the smallest memory limit of the process's control group and the groups above it, in bytes; `None` if none of
/// them has a limit, or if the kernel does not say.
///
/// `memory.high` of version 2 is not read: above it the kernel slows the process, but does not end it.
#[must_use]
pub fn of_this_process() -> Option<u64> {
    below(Path::new("/"))
}

/// The same for a tree of files below `top`.
fn below(top: &Path) -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(top.join(path.strip_prefix("/").unwrap_or(path))).ok();
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let limits = groups.lines().filter_map(Group::parse).filter_map(|group| {
        let mount = mounts.lines().filter_map(Mount::parse).find(|mount| mount.version == group.version)?;
        let folders =
            mount.folders(&group.path, |folder| top.join(folder.strip_prefix("/").unwrap_or(folder)).is_dir());
        folders.iter().filter_map(|folder| limit(&read(&folder.join(group.version.file()))?)).min()
    });
    limits.min()
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NONE)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// File that states the limit.
    fn file(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }
}

/// The process's group in one hierarchy, as in `/proc/self/cgroup`: `5:memory:/pods/x` (version 1) or `0::/pods/x`.
struct Group {
    version: Version,
    path: PathBuf,
}

impl Group {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match (number, controllers) {
            ("0", "") => Version::Two,
            _ if controllers.split(',').any(|controller| controller == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, path: path.into() })
    }
}

/// A mounted hierarchy, as in `/proc/self/mountinfo`.
struct Mount {
    version: Version,
    /// The group that is mounted. In a container it may be the container's own.
    group: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (group, point) = (place.next()?.into(), place.next()?.into());
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, group, point })
    }

    /// The folders of a group and of all groups above it that are mounted. The group of the mount stands for a group that
    /// is not found in it, because a container may see its own group under another path.
    fn folders(&self, group: &Path, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let inside = group.strip_prefix(&self.group).or_else(|_| group.strip_prefix("/")).unwrap_or(group);
        let folder = Some(self.point.join(inside)).filter(|folder| exists(folder));
        let folder = folder.unwrap_or_else(|| self.point.clone());
        folder.ancestors().take_while(|above| above.starts_with(&self.point)).map(Path::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files: `proc/self/cgroup`, `proc/self/mountinfo`, and one file for each limit.
    fn read(name: &str, groups: &str, mounts: &str, limits: &[(&str, &str)]) -> Option<u64> {
        let top = std::env::temp_dir().join(format!("raft-node-limit-{}-{name}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = top.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        };
        write("proc/self/cgroup", groups);
        write("proc/self/mountinfo", mounts);
        limits.iter().for_each(|(path, text)| write(path, text));
        let found = below(&top);
        fs::remove_dir_all(&top).expect("it can be removed");
        found
    }

    const V1: &str = "22 23 0:5 / /proc rw shared:7 - proc proc rw\n\
                      33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                      36 31 0:33 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory";
    const V2: &str = "31 23 0:28 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate";

    #[test]
    fn version_1_states_the_smallest_limit_on_the_way_up() {
        let limits = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/pods/memory.limit_in_bytes", "900000000\n"),
            ("sys/fs/cgroup/memory/pods/x/memory.limit_in_bytes", "1000000000\n"),
        ];
        assert_eq!(
            read("v1", "9:name=systemd:/\n5:cpuset,memory:/pods/x\n3:cpu:/pods/x\n", V1, &limits),
            Some(900_000_000)
        );
        assert_eq!(read("v1-none", "5:memory:/\n", V1, &limits[..1]), None, "the largest number of pages is no limit");
    }

    #[test]
    fn version_2_states_the_smallest_limit_on_the_way_up() {
        let limits = [
            ("sys/fs/cgroup/pods/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/x/memory.max", "536870912\n"),
            ("sys/fs/cgroup/pods/x/memory.high", "1\n"),
            ("sys/fs/cgroup/pods/x/y/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/x/without-the-controller/cgroup.procs", "1\n"),
        ];
        assert_eq!(read("v2", "0::/pods/x/y\n", V2, &limits), Some(536_870_912));
        assert_eq!(read("v2-leaf", "0::/pods/x/without-the-controller\n", V2, &limits), Some(536_870_912));
        assert_eq!(read("v2-none", "0::/pods\n", V2, &limits), None);
    }

    /// With a namespace of control groups, the container's group is the top one.
    #[test]
    fn a_container_sees_its_own_group_at_the_top() {
        assert_eq!(read("own", "0::/\n", V2, &[("sys/fs/cgroup/memory.max", "300000000\n")]), Some(300_000_000));
    }

    /// Without such a namespace, the container's group has its full path, but is mounted alone.
    #[test]
    fn a_container_without_a_namespace_sees_its_own_group_under_another_path() {
        let mounted = V1.replace("0:33 / ", "0:33 /pods/x ");
        let limits = [("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000000\n")];
        assert_eq!(read("mounted", "5:memory:/pods/x\n", &mounted, &limits), Some(300_000_000));
        assert_eq!(read("renamed", "5:memory:/other\n", &mounted, &limits), Some(300_000_000));
    }

    /// The memory controller of version 1 beside the tree of version 2, which then states no limit.
    #[test]
    fn both_versions_may_be_mounted() {
        let mounts = format!("{V1}\n{}", V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"));
        let limits = [("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "300000000\n")];
        assert_eq!(read("both", "5:memory:/x\n0::/x\n", &mounts, &limits), Some(300_000_000));
    }

    #[test]
    fn without_control_groups_there_is_no_limit() {
        assert_eq!(read("none", "", "", &[]), None);
        assert_eq!(read("garbage", "5\n0:\n::\n", "1 2\n - \n", &[]), None);
    }
}
