//! What the machine must have besides Rust and Go, found by looking for the files themselves and installed from Debian
//! where they are missing. Nothing is ever removed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::command::{Run, command, search_path};

/// What is needed, and the Debian package that brings it: a program on the PATH, or an absolute path.
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

/// Refuses anybody but root.
///
/// # Errors
/// If the caller is not root.
pub fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the dev cluster makes network namespaces, mounts and cgroups: run this as root"
    );
    Ok(())
}

/// Installs what a dev cluster needs and the machine lacks.
///
/// # Errors
/// As [`install_missing`].
pub(crate) fn install_needed(say: &dyn Fn(&str)) -> Result<()> {
    install_missing(&NEEDED, say)
}

/// Installs from Debian the packages of those `needed` (a program or absolute path, and its package) that are missing,
/// and says which.
///
/// # Errors
/// If something is missing and there is no apt-get, or it fails.
pub fn install_missing(needed: &[(&str, &str)], say: &dyn Fn(&str)) -> Result<()> {
    let missing = missing_packages(needed, |file| present(file, &search_path()));
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().copied().collect::<Vec<_>>().join(" ");
    ensure!(
        present("apt-get", &search_path()),
        "these Debian packages, or what they hold, are missing and there is no apt-get: {list}"
    );
    require_root().with_context(|| format!("missing: {list}"))?;
    say(&format!("installing Debian packages: {list}"));
    let install = || {
        let mut apt = command("apt-get", ["install", "-y", "-q", "--no-install-recommends"]);
        apt.args(&missing).env("DEBIAN_FRONTEND", "noninteractive").text()
    };
    // A fresh machine has no package lists yet, an old one stale ones.
    if install().is_err() {
        command("apt-get", ["update", "-q"]).text()?;
        install()?;
    }
    let left = missing_packages(needed, |file| present(file, &search_path()));
    ensure!(left.is_empty(), "installed, but still missing: {}", left.into_iter().collect::<Vec<_>>().join(" "));
    Ok(())
}

fn missing_packages<'a>(needed: &[(&'a str, &'a str)], present: impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
    needed.iter().filter(|(file, _)| !present(file)).map(|(_, package)| *package).collect()
}

fn present(file: &str, path: &str) -> bool {
    // Joining an absolute file replaces the directory.
    path.split(':').any(|directory| Path::new(directory).join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_named_and_once() {
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
