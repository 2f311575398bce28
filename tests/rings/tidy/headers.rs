//! Every source file opens with `//!`, because a file that cannot say what it owns should not exist.

#[test]
fn every_source_file_opens_by_saying_what_it_owns() {
    let findings: Vec<String> = super::files(".rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| format!("{name}: open with `//!`: what it owns and what it does not own"))
        .collect();
    super::settle(&findings);
}
