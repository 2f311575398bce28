//! Copies `operator/plan/src` and plants those bugs of `src/bugs.rs` in the copy that belong to it, each behind its
//! switch (`planting.rs`).

use std::path::{Path, PathBuf};

#[path = "../planting.rs"]
mod planting;

#[path = "src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate with the planner exports them with their documentation")]
mod bugs;

fn main() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../operator/plan/src");
    let target = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a directory"));
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed=src/bugs.rs");
    println!("cargo:rerun-if-changed=../planting.rs");
    planting::copy_crate(&source, &target);
    for (place, bug) in bugs::BUGS.iter().enumerate() {
        for edit in bug.edits.iter().filter(|edit| edit.part == bugs::Part::Planner) {
            let switch = format!("crate::switch::is_on({place})");
            planting::plant(&target.join(edit.file), bug.name, (edit.from, edit.to), &switch);
        }
    }
    // The world must notice a bug by itself, therefore the planner's own assertions are off while a bug is on.
    let check = "    Finished { valid: &valid, observed, roster: &roster, identity, actions }.check();";
    let guarded = format!("    if !PLANTED {{\n    {check}\n    }}");
    planting::plant(
        &target.join("plan.rs"),
        "the switch of assertions",
        (check, &guarded),
        "crate::switch::is_any_on()",
    );
}
