//! Checks that callers in this workspace can match every variant of an error. Owns the two declarations that are
//! refused: `#[non_exhaustive]`, because it forces other crates to write a wildcard in every match, so that the compiler
//! does not report an unhandled new variant; and, in the member's code, `Result<_, String>`, because its error can only
//! be compared as text.

use super::source;

/// Folders of the member's code in which no error may be a `String`, because callers must distinguish the errors.
const TYPED: [&str; 6] =
    ["node/engine/", "node/mvcc/src/", "node/raft/src/", "node/src/peer", "node/storage/src/", "node/wire/"];

#[test]
fn enums_can_be_matched_in_full() {
    super::settle(&lines_with("#[non_exhaustive]", "all users are in this workspace: list the variants"));
}

#[test]
fn errors_of_members_are_typed() {
    let mut findings = Vec::new();
    for (file, content) in super::files(".rs") {
        if TYPED.iter().any(|folder| file.starts_with(folder)) {
            let lines = string_errors(&source::production_code(&content));
            findings.extend(lines.into_iter().map(|line| format!("{file}:{line}: name the causes in an enum")));
        }
    }
    super::settle(&findings);
}

/// Returns the line numbers at which a `Result` with the error `String` begins. The type may span several lines.
fn string_errors(code: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, _) in code.match_indices("Result<") {
        let mut depth = 1;
        let parameters = &code[at + "Result<".len()..];
        let end = parameters.char_indices().find(|(_, c)| {
            depth += i32::from(matches!(c, '<' | '(' | '[')) - i32::from(matches!(c, '>' | ')' | ']'));
            depth == 0
        });
        let parameters = &parameters[..end.map_or(0, |(end, _)| end)];
        let error = parameters.trim_end_matches(|c: char| c.is_whitespace() || c == ',');
        if error.strip_suffix("String").is_some_and(|before| before.trim_end().ends_with(',')) {
            lines.push(code[..at].matches('\n').count() + 1);
        }
    }
    lines
}

/// Returns the lines of production code that contain `text`.
fn lines_with(text: &str, advice: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (file, content) in super::files(".rs") {
        for (number, line) in source::production_code(&content).lines().enumerate() {
            if line.contains(text) {
                findings.push(format!("{file}:{}: {}: {advice}", number + 1, line.trim()));
            }
        }
    }
    findings
}

#[test]
fn a_string_error_is_found_in_every_form() {
    let found = |code: &str| string_errors(code);
    assert_eq!(found("fn f() -> Result<(), String> {}"), [1]);
    assert_eq!(found("\nfn f() -> Result<\n    Vec<(u8, u8)>,\n    String,\n> {}"), [2]);
    assert!(found("fn f() -> Result<BTreeMap<u8, String>, Error> {}").is_empty());
    assert!(found("fn f() -> Result<String> {}").is_empty());
}
