//! Checks that callers in this workspace can match every variant of an error. Owns the forms that are refused.
//! `#[non_exhaustive]` forces other crates to write a wildcard in every match, so the compiler does not report that a
//! new variant is not handled. The error of a `Result<_, String>` can only be compared as text.

use super::source;

/// Folders of the member's code in which no error may be a `String`, because callers must distinguish the errors.
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

/// Returns the lines of production code that contain `text`. If `text` begins with a comma, only lines that also
/// contain `Result` count.
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
