//! Errors that a caller in this workspace can match in full. Owns what is refused: `#[non_exhaustive]`, which forces a
//! wildcard on every match in a sibling crate, so that a new variant is passed over in silence; and `Result<_, String>`,
//! whose reader can only compare text.

use super::source;

/// Folders of a member whose errors reach code that must tell them apart.
const TYPED: [&str; 6] =
    ["node/engine/", "node/mvcc/src/", "node/raft/src/", "node/src/peer", "node/storage/src/", "node/wire/"];

#[test]
fn enums_can_be_matched_in_full() {
    super::settle(&lines_with("#[non_exhaustive]", |_| true, "all users are in this workspace: list the variants"));
}

#[test]
fn errors_of_members_are_typed() {
    let is_typed = |file: &str| TYPED.iter().any(|folder| file.starts_with(folder));
    super::settle(&lines_with(", String>", is_typed, "name the causes in an enum"));
}

/// The lines of production code that hold `text`; for a `Result`'s error only those that name a `Result`.
fn lines_with(text: &str, takes: impl Fn(&str) -> bool, advice: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (file, content) in super::files(".rs").into_iter().filter(|(file, _)| takes(file)) {
        for (number, line) in source::production_code(&content).lines().enumerate() {
            let found = line.find(text);
            let is_result = !text.starts_with(',') || line.contains("Result<");
            if found.is_some() && is_result {
                findings.push(format!("{file}:{}: {}: {advice}", number + 1, line.trim()));
            }
        }
    }
    findings
}
