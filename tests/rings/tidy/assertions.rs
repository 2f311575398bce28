//! Checks that the pure crates assert the conditions on which they rely. Owns how assertions are counted: the number of
//! `assert!`, `assert_eq!`, `assert_ne!` and their `debug_` forms per 1,000 lines of production code.
//! `cargo test -p tests --test tidy assertions -- --nocapture` prints the figures.

use super::source;

/// Minimum number of assertions per 1,000 lines of production code.
const FLOOR: f64 = 15.0;

/// Folders of the pure crates.
const CRATES: [&str; 4] = ["node/raft", "node/storage", "node/mvcc", "operator/plan"];

#[test]
fn pure_crates_assert_what_they_rely_on() {
    let mut findings = Vec::new();
    for folder in CRATES {
        let (mut asserted, mut lines) = (0_usize, 0_usize);
        for (_, text) in super::files(".rs").into_iter().filter(|(file, _)| file.starts_with(&format!("{folder}/src/")))
        {
            asserted += assertions(&source::production_code(&text));
            lines += source::production_lines(&text);
        }
        let rate = asserted as f64 * 1000.0 / lines.max(1) as f64;
        println!("{folder:<16} {asserted:>4} assertions in {lines:>5} lines: {rate:>5.1} per 1,000");
        if rate < FLOOR {
            findings.push(format!("{folder}: {rate:.1} assertions per 1,000 lines, at least {FLOOR}"));
        }
    }
    super::settle(&findings);
}

fn assertions(code: &str) -> usize {
    let is_assertion = |word: &str| word.trim_start_matches("debug_").starts_with("assert");
    code.split('!').filter(|before| source::words(before).last().is_some_and(is_assertion)).count()
}

#[test]
fn assertions_are_counted() {
    let text = "assert!(a); debug_assert_eq!(b, c); // assert!(d)\nprintln!(\"assert!\"); const _: () = assert!(true);\n\
                #[cfg(test)] mod tests { fn f() { assert!(e) } }";
    assert_eq!(assertions(&source::production_code(text)), 3);
}
