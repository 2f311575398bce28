//! What of the Rust toolchain the commands need beyond cargo itself, added when it is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The target of static programs on this machine's architecture.
pub(crate) fn static_target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Adds `target` to the toolchain if it lacks it.
pub(crate) fn add_target(target: &str, say: &dyn Fn(&str)) -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(target).exists() {
        return Ok(());
    }
    rustup(&["target", "add", target], say)
}

/// Adds a component if `cargo SUBCOMMAND` does not run without it.
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

/// The workspace's top.
pub(crate) fn top() -> &'static Path {
    // This crate stands two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// cargo, as the one that started this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command whose output the person sees.
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
