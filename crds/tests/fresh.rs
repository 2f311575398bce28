//! Tests that the generated files in the tree match the types.

use std::process::Command;

#[test]
fn charts_and_reference_pages_are_fresh() {
    let check = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg("check").output().expect("crdgen runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
