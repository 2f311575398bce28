//! Checks that files and functions are short enough to be read without interruption.

const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 550;
const FUNCTION_LINES_MAX: usize = 70;
/// Maximum number of functions that may be longer than the limit. Large matches and tables are easier to read as one
/// function. This number may be lowered but not raised.
const LONG_FUNCTIONS_MAX: usize = 5;

#[test]
fn files_stay_below_the_limit() {
    let mut findings = Vec::new();
    for (name, text) in super::files(".rs") {
        let lines = text.lines().count();
        let is_test = name.starts_with("tests/") || name.contains("/tests/");
        let limit = if is_test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        if lines > limit {
            findings.push(format!("{name}: {lines} lines, at most {limit}: split it by topic"));
        }
    }
    super::settle(&findings);
}

#[test]
fn few_functions_are_long() {
    let mut long: Vec<String> = Vec::new();
    for (name, text) in super::files(".rs") {
        for (function, lines) in functions(&text) {
            if lines > FUNCTION_LINES_MAX {
                long.push(format!("{name}: fn {function} has {lines} lines"));
            }
        }
    }
    let limit = LONG_FUNCTIONS_MAX;
    assert!(
        long.len() <= limit,
        "{} functions over {FUNCTION_LINES_MAX} lines, at most {limit}:\n{}",
        long.len(),
        long.join("\n")
    );
}

/// Returns the name and the length of each function. Relies on rustfmt's indentation: a function ends at the first `}`
/// with the same indentation as its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(at) = trimmed.find("fn ") else { continue };
        let opens = trimmed[..at]
            .split_whitespace()
            .all(|word| matches!(word, "pub" | "async" | "const" | "unsafe") || word.starts_with("pub("));
        if !opens || trimmed.ends_with(';') {
            continue;
        }
        let depth = line.len() - trimmed.len();
        let end = format!("{}}}", " ".repeat(depth));
        let length = lines[start..].iter().position(|line| *line == end).map_or(1, |lines| lines + 1);
        let name = trimmed[at + 3..].split(['(', '<']).next().unwrap_or_default();
        found.push((name.to_owned(), length));
    }
    found
}

#[test]
fn function_lengths_are_measured_right() {
    let text = "fn a() {\n}\nimpl X {\n    pub(crate) async fn b(\n        x: u8,\n    ) {\n        y();\n    }\n}\nfn one() -> u8 { 1 }\n";
    let expected = [("a", 2), ("b", 5), ("one", 1)].map(|(name, lines)| (name.to_owned(), lines));
    assert_eq!(functions(text), expected);
}
