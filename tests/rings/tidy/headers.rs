//! Checks that every source file begins with `//!`, because every file must say what it owns.

#[test]
fn every_source_file_opens_by_saying_what_it_owns() {
    let findings: Vec<String> = super::files(".rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| format!("{name}: open with `//!`: what it owns and what it does not own"))
        .collect();
    super::settle(&findings);
}
