//! Network and disks of the members: a network namespace and a loop disk for each, and a bridge. Owns the address plan
//! and the rules of cuts. All of it lies in this program's own network, mount and process namespaces, so that the
//! kernel removes everything when this program ends in any way, and no interface, rule or mount of the machine is
//! touched.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dev_cluster::Run;

/// The bridge that connects the members.
const BRIDGE: &str = "raftsoak0";
/// Address of this program on the bridge.
const HUB: &str = "10.89.0.1";
/// Size of each disk in bytes.
const DISK_BYTES: u64 = 700 << 20;

/// Address of a member.
pub(crate) fn address(member: usize) -> String {
    format!("10.89.0.1{}", member + 1)
}

/// Name of a member and of its namespace.
pub(crate) fn name(member: usize) -> String {
    format!("m{}", member + 1)
}

/// Path of a member's network namespace.
pub(crate) fn namespace(member: usize) -> PathBuf {
    Path::new("/run/netns").join(name(member))
}

fn port(member: usize) -> String {
    format!("raftsoak-v{}", member + 1)
}

/// Creates the network of `count` members.
///
/// # Errors
/// Returns an error if this program is not the first process of its own namespaces, or if a command fails.
pub(crate) fn create_network(count: usize) -> Result<()> {
    ensure!(std::process::id() == 1, "this program needs namespaces of its own: start it with `cargo xtask soak`");
    // The names of namespaces and the locks of iptables lie there, and must not be those of the machine.
    run("mount -t tmpfs soak /run")?;
    run("ip link set lo up")?;
    run(&format!("ip link add {BRIDGE} type bridge"))?;
    run(&format!("ip addr add {HUB}/24 dev {BRIDGE}"))?;
    run(&format!("ip link set {BRIDGE} up"))?;
    for member in 0..count {
        let (name, port, address) = (name(member), port(member), address(member));
        run(&format!("ip netns add {name}"))?;
        run(&format!("ip link add {port} type veth peer name eth0 netns {name}"))?;
        run(&format!("ip link set {port} master {BRIDGE} up"))?;
        run(&format!("ip -n {name} addr add {address}/24 dev eth0"))?;
        run(&format!("ip -n {name} link set eth0 up"))?;
        run(&format!("ip -n {name} link set lo up"))?;
    }
    Ok(())
}

/// Creates the disk of a member, a file system in a file, and returns the folder on which it is mounted.
///
/// # Errors
/// Returns an error if a command fails.
pub(crate) fn create_disk(run_folder: &Path, member: usize) -> Result<PathBuf> {
    let folder = run_folder.join(name(member));
    let image = folder.with_extension("img");
    fs::create_dir_all(&folder)?;
    fs::File::create(&image)?.set_len(DISK_BYTES)?;
    Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image).text()?;
    Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&folder).text()?;
    // The kernel keeps the file while it is mounted. Its blocks are therefore free when this program ends.
    fs::remove_file(&image)?;
    Ok(folder)
}

/// Fills the disk that holds `folder`, and returns the file that does so.
///
/// # Errors
/// Returns an error if the free space cannot be read.
pub(crate) fn fill(folder: &Path) -> Result<PathBuf> {
    let filler = folder.join("filler");
    let free = rustix::fs::statvfs(folder)?;
    let most = free.f_bavail * free.f_frsize;
    // The members write at the same time, so the request for all the space may fail.
    let _ = Command::new("fallocate").args(["-l", &most.to_string()]).arg(&filler).text();
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(filler)
}

/// Connects a member to the bridge, or disconnects it.
///
/// # Errors
/// Returns an error if the command fails.
pub(crate) fn set_connected(member: usize, is_connected: bool) -> Result<()> {
    run(&format!("ip link set {} {}", port(member), if is_connected { "up" } else { "down" }))
}

/// Drops what `from` sends on the connections that it opened to `to`. Connections in the other direction work.
///
/// # Errors
/// Returns an error if the command fails.
pub(crate) fn cut_one_way(from: usize, to: usize) -> Result<()> {
    drop_incoming(to, &format!("-s {} --dport 2380", address(from)))
}

/// Disconnects a member from all other members. Clients still reach it.
///
/// # Errors
/// Returns an error if a command fails.
pub(crate) fn isolate(member: usize) -> Result<()> {
    drop_incoming(member, &format!("! -s {HUB} --dport 2380"))?;
    drop_incoming(member, "--sport 2380")
}

/// Ends all cuts of a member.
///
/// # Errors
/// Returns an error if the command fails.
pub(crate) fn lift_cuts(member: usize) -> Result<()> {
    run(&format!("ip netns exec {} iptables -w -F INPUT", name(member)))
}

fn drop_incoming(member: usize, packets: &str) -> Result<()> {
    run(&format!("ip netns exec {} iptables -w -A INPUT -p tcp {packets} -j DROP", name(member)))
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    Command::new(words.next().context("a command has a name")?).args(words).text().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel() {
        assert!(port(4).len() <= 15 && BRIDGE.len() <= 15);
    }
}
