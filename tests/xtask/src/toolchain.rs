//! Calls of cargo and rustup. Owns the parts of the Rust toolchain that the commands need, and installs the missing
//! ones.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The Rust target of static programs for this machine's architecture.
pub(crate) fn static_target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Adds `target` to the toolchain if the toolchain lacks it.
pub(crate) fn add_target(target: &str, say: &dyn Fn(&str)) -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(target).exists() {
        return Ok(());
    }
    rustup(&["target", "add", target], say)
}

/// Adds the component `component` to the toolchain if `cargo SUBCOMMAND` does not run without it.
pub(crate) fn add_component(component: &str, subcommand: &str, say: &dyn Fn(&str)) -> Result<()> {
    if output(cargo().args([subcommand, "--version"])).is_ok() {
        return Ok(());
    }
    rustup(&["component", "add", component], say)
}

fn rustup(args: &[&str], say: &dyn Fn(&str)) -> Result<()> {
    say(&format!("rustup {}", args.join(" ")));
    output(Command::new("rustup").args(args)).map(drop)
}

/// The root folder of the workspace.
pub(crate) fn top() -> &'static Path {
    // This crate is two folders below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// A command that runs cargo in the root folder of the workspace. It is the same cargo that started this program.
/// Environment variables that cargo set for this program are removed, because build scripts that read them would
/// otherwise run again whenever a developer calls cargo directly.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(top());
    for (name, _) in std::env::vars_os() {
        if set_by_cargo(&name.to_string_lossy()) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Returns whether `cargo run` sets the environment variable `name` for the program that it runs.
fn set_by_cargo(name: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    name == "CARGO" || name == "LD_LIBRARY_PATH" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Runs a command whose output is printed directly.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{name} could not be started"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    use dev_cluster::Run;
    command.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_user_reach_the_inner_cargo() {
        assert!(set_by_cargo("CARGO_PKG_NAME") && set_by_cargo("CARGO_MANIFEST_DIR"));
        assert!(!set_by_cargo("CARGO_TARGET_DIR") && !set_by_cargo("CARGO_HOME") && !set_by_cargo("PATH"));
    }

    #[test]
    fn the_workspaces_top_is_found() {
        assert!(top().join("Cargo.lock").exists());
    }
}
