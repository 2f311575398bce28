//! Copies `node/raft/src` and plants the bugs of `src/bugs.rs` in the copy, each behind its switch
//! (`planting.rs`).

use std::path::{Path, PathBuf};

#[path = "../planting.rs"]
mod planting;

#[path = "src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate exports them with their documentation")]
mod bugs;

fn main() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../node/raft/src");
    let target = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a directory"));
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed=src/bugs.rs");
    println!("cargo:rerun-if-changed=../planting.rs");
    planting::copy_crate(&source, &target);
    for (place, bug) in bugs::BUGS.iter().enumerate() {
        for edit in bug.edits {
            let switch = format!("crate::switch::is_on({place})");
            planting::plant(&target.join(edit.file), bug.name, (edit.from, edit.to), &switch);
        }
    }
}
