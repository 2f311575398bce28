//! Copies `node/raft/src` and plants the bugs of `src/bugs.rs` in the copy, each behind its switch. Fails if a text
//! that a bug replaces does not occur exactly once, so that no bug disappears unnoticed when the core changes.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate exports them with their documentation")]
mod bugs;

fn main() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../node/raft/src");
    let target = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a directory"));
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed=src/bugs.rs");
    copy(&source, &target);
    for (place, bug) in bugs::BUGS.iter().enumerate() {
        for edit in bug.edits {
            plant(&target.join(edit.file), edit, bug.name, place);
        }
    }
    // A file that is included into another one must not begin with inner doc comments.
    let lib = target.join("lib.rs");
    let text = read(&lib);
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("//!")).collect();
    write(&lib, &kept.join("\n"));
}

fn plant(file: &Path, edit: &bugs::Edit, bug: &str, place: usize) {
    let text = read(file);
    let found = text.matches(edit.from).count();
    assert!(
        found == 1,
        "{bug}: {} contains {found} times, not once: {:?}. The core has changed: adapt the bug in src/bugs.rs",
        edit.file,
        edit.from
    );
    let to = edit.to.replace("PLANTED", &format!("crate::switch::is_on({place})"));
    write(file, &text.replace(edit.from, &to));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("the directory can be read").path();
        let copied = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            write(&copied, &read(&path));
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
