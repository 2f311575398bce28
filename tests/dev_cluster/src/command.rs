//! Running a program until it exits. Owns the error of a failed program, which contains the command line and the
//! output. Does not own long-running processes (`process.rs`).

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Creates a command from a program and its arguments: `command("ip", ["link", "show"])`.
pub(crate) fn command<I, S>(program: &str, args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(program);
    command.args(args).env("PATH", search_path());
    command
}

/// The PATH, extended by the system directories that Debian includes only in root's PATH.
#[must_use]
pub fn search_path() -> String {
    let given = std::env::var("PATH").unwrap_or_default();
    format!("{given}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Ways to run a command until it exits.
pub trait Run {
    /// Runs the command and returns its standard output as text.
    ///
    /// # Errors
    /// Returns an error if the command cannot be started or does not exit with 0. The error holds the command line and
    /// the output.
    fn text(&mut self) -> Result<String>;

    /// Does the same as [`Run::text`], with `input` on the standard input.
    ///
    /// # Errors
    /// Returns the errors of [`Run::text`].
    fn text_from(&mut self, input: &[u8]) -> Result<String>;
}

/// Running commands whose output is JSON.
pub trait Json {
    /// Runs the command and parses its standard output.
    ///
    /// # Errors
    /// Returns an error if [`Run::text`] returns one, or if the output is not JSON.
    fn json(&mut self) -> Result<serde_json::Value>;
}

impl Run for Command {
    fn text(&mut self) -> Result<String> {
        finish(self, None)
    }

    fn text_from(&mut self, input: &[u8]) -> Result<String> {
        finish(self, Some(input))
    }
}

impl Json for Command {
    fn json(&mut self) -> Result<serde_json::Value> {
        let text = self.text()?;
        serde_json::from_str(&text).with_context(|| format!("{} printed no JSON", line(self)))
    }
}

fn finish(command: &mut Command, input: Option<&[u8]>) -> Result<String> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{} could not be started", line(command)))?;
    // The whole input is written before any output is read. This cannot block, because the inputs are manifests of a
    // few KiB, which fit into the pipe.
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(input).with_context(|| format!("{} did not read its input", line(command)))?;
    }
    let output = child.wait_with_output().with_context(|| format!("waiting for {} failed", line(command)))?;
    if !output.status.success() {
        let printed = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        bail!("{} failed ({}): {}", line(command), output.status, printed.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line as text for messages.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_output() {
        let error = command("sh", ["-c", "echo no such thing >&2; exit 3"]).text().unwrap_err().to_string();
        assert!(error.contains("exit 3") && error.contains("no such thing"), "{error}");
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(command("cat", [""; 0]).text_from(b"hello").unwrap(), "hello");
    }
}
