//! Checks of the source tree: layers, cycles, lengths, headers, words, links, assertions, errors. Owns the rules that a
//! scan of the text can check. The message of each failure says what to do.

mod assertions;
mod cycles;
mod errors;
mod headers;
mod layers;
mod lengths;
mod links;
mod modules;
mod source;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root folder of the workspace.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_path_buf()
}

/// Returns every file whose name ends with `ending`, with its text. Includes the files that git tracks and the new
/// files that git does not ignore. Leaves out binary files.
fn files(ending: &str) -> Vec<(String, String)> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .expect("git is installed");
    assert!(listing.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listing.stderr));
    let names = String::from_utf8(listing.stdout).expect("file names are UTF-8");
    let mut files = Vec::new();
    for name in names.lines().filter(|name| name.ends_with(ending)) {
        if let Ok(text) = std::fs::read_to_string(top().join(name)) {
            files.push((name.to_owned(), text));
        }
    }
    assert!(!files.is_empty(), "no file ends with {ending:?}: the check looks in the wrong place");
    files
}

/// Fails if there are findings. The message of the failure contains all findings.
fn settle(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
