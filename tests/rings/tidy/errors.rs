//! Errors that a caller in this workspace can match in full. Owns what is refused: `#[non_exhaustive]`, which forces a
//! wildcard on every match in a sibling crate, so that a new variant is passed over in silence; and `Result<_, String>`,
//! whose reader can only compare text.

use super::{Finding, Known, source};

/// Where `#[non_exhaustive]` still stands.
const KNOWN_NON_EXHAUSTIVE: Known = &[("", 3)];

/// Where errors are still text.
const KNOWN_TEXT: Known = &[("", 4)];

/// Folders of a member whose errors reach code that must tell them apart.
const TYPED: [&str; 8] = [
    "node/engine/",
    "node/src/apply",
    "node/src/driver",
    "node/src/peer",
    "node/src/wiring",
    "node/raft/src/",
    "node/storage/src/",
    "node/mvcc/src/",
];

#[test]
fn enums_can_be_matched_in_full() {
    super::settle_known(
        &lines_with("#[non_exhaustive]", |_| true, "all users are in this workspace: list the variants"),
        KNOWN_NON_EXHAUSTIVE,
    );
}

#[test]
fn errors_of_members_are_typed() {
    let is_typed = |file: &str| TYPED.iter().any(|folder| file.starts_with(folder));
    super::settle_known(&lines_with(", String>", is_typed, "name the causes in an enum"), KNOWN_TEXT);
}

/// The lines of production code that hold `text`; for a `Result`'s error only those that name a `Result`.
fn lines_with(text: &str, takes: impl Fn(&str) -> bool, advice: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, content) in super::files(".rs").into_iter().filter(|(file, _)| takes(file)) {
        for (number, line) in source::production_code(&content).lines().enumerate() {
            let found = line.find(text);
            let is_result = !text.starts_with(',') || line.contains("Result<");
            if found.is_some() && is_result {
                findings.push((file.clone(), format!("{file}:{}: {}: {advice}", number + 1, line.trim())));
            }
        }
    }
    findings
}
