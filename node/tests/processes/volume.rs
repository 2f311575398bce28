//! Volumes of a given size: file systems in memory, each in a mount namespace of its own that ends with the member's process, so
//! that no mount is left behind. Owns the commands of the system. A user without privileges gets a user namespace as well.

use std::path::Path;

use tokio::process::Command;

/// A command that mounts a volume of `mib` MiB at `dir` and then runs `program` with the arguments that are added, in the same
/// process.
pub(crate) fn command(dir: &Path, mib: u64, program: &Path) -> Command {
    std::fs::create_dir_all(dir).expect("the mount point");
    let script = r#"mount -t tmpfs -o "size=$1M" none "$2" && shift 2 && exec "$@""#;
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", script, "sh", &mib.to_string()]).arg(dir).arg(program);
    command
}

/// Changes the size of the volume at `dir` that the process `id` sees.
pub(crate) fn resize(dir: &Path, id: u32, mib: u64) {
    let mut command = std::process::Command::new("nsenter");
    command.args(["--target", &id.to_string(), "--mount"]);
    if !rustix::process::getuid().is_root() {
        command.arg("--user");
    }
    command.args(["mount", "-o", &format!("remount,size={mib}M")]).arg(dir);
    let output = command.output().expect("nsenter runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "a volume cannot get the size of {mib} MiB: {said}");
}
