//! Checks of the tree itself: layers, cycles, lengths, headers, words, links, assertions, errors. Owns the rules that a
//! text scan can check; each failure says what to do.

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

/// The workspace's top.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_path_buf()
}

/// Every file of the tree that git knows or would take, with its text; binary files are left out.
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

/// Fails with all findings at once.
fn settle(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
