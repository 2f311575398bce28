//! Programs that the machine must have in addition to Rust and Go. Owns the list of needed files, and the installation
//! of the Debian packages that contain missing files. Never removes a package.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::command::{Run, command, search_path};

/// Needed files, and the Debian package that contains each file. A file is a program on the PATH or an absolute path.
const NEEDED: [(&str, &str); 14] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ethtool", "ethtool"),
    ("socat", "socat"),
    ("ipset", "ipset"),
    ("openssl", "openssl"),
    ("nsenter", "util-linux"),
    ("sysctl", "procps"),
    ("umount", "mount"),
];

/// Refuses callers other than root.
///
/// # Errors
/// Returns an error if the caller is not root.
pub fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this creates network namespaces, mounts and cgroups: run it as root"
    );
    Ok(())
}

/// Installs the programs that a dev cluster needs and that are missing on this machine.
///
/// # Errors
/// Returns the errors of [`install_missing`].
pub(crate) fn install_needed(say: &dyn Fn(&str)) -> Result<()> {
    install_missing(&NEEDED, say)
}

/// Installs the Debian packages of missing files and reports the names of these packages. `needed` holds pairs of a
/// file (a program or an absolute path) and the package that contains it.
///
/// # Errors
/// Returns an error if a file is missing and there is no apt-get, or if apt-get fails.
pub fn install_missing(needed: &[(&str, &str)], say: &dyn Fn(&str)) -> Result<()> {
    let missing = missing_packages(needed, |file| present(file, &search_path()));
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().copied().collect::<Vec<_>>().join(" ");
    ensure!(
        present("apt-get", &search_path()),
        "these Debian packages, or their programs, are missing and there is no apt-get: {list}"
    );
    require_root().with_context(|| format!("missing: {list}"))?;
    say(&format!("installing Debian packages: {list}"));
    let install = || {
        let mut apt = command("apt-get", ["install", "-y", "-q", "--no-install-recommends"]);
        apt.args(&missing).env("DEBIAN_FRONTEND", "noninteractive").text()
    };
    // The first attempt may fail, because a new machine has no package lists and an old machine has outdated ones.
    if install().is_err() {
        command("apt-get", ["update", "-q"]).text()?;
        install()?;
    }
    let left = missing_packages(needed, |file| present(file, &search_path()));
    ensure!(
        left.is_empty(),
        "packages were installed, but their programs are still missing: {}",
        left.into_iter().collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

fn missing_packages<'a>(needed: &[(&'a str, &'a str)], present: impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
    needed.iter().filter(|(file, _)| !present(file)).map(|(_, package)| *package).collect()
}

fn present(file: &str, path: &str) -> bool {
    // If `file` is an absolute path, `join` ignores the directory.
    path.split(':').any(|directory| Path::new(directory).join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        let needed = [("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables")];
        assert_eq!(missing_packages(&needed, |file| file == "nft"), BTreeSet::from(["iproute2"]));
    }

    #[test]
    fn programs_and_absolute_paths_are_found() {
        assert!(present("sh", "/nowhere:/bin"));
        assert!(present("/bin/sh", "/nowhere"));
        assert!(!present("no-such-program", "/bin"));
    }
}
