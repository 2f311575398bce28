//! Copies the sources of a crate and plants bugs in the copy, each behind its switch. Owns the text edits that the build
//! scripts of the crates with bugs share. Does not own the bugs, which the build script includes as `bugs`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bugs::{BUGS, Part};

/// Copies the folder `source` to where cargo expects the output of a build script, and plants those edits of all bugs that
/// belong to `part`. Each is active while `is_on` of the module `switches` returns true for the bug's place in the list.
/// `list` is the file with the bugs. Both are relative to the crate whose build script this is. Returns the copy.
pub(crate) fn plant_all(part: Part, source: &str, list: &str, switches: &str) -> PathBuf {
    let target = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a directory"));
    for read in [source, list, "../planting.rs", "../bug.rs"] {
        println!("cargo:rerun-if-changed={read}");
    }
    copy_crate(Path::new(source), &target);
    for (place, bug) in BUGS.iter().enumerate() {
        for edit in bug.edits.iter().filter(|edit| edit.part == part) {
            let file = target.join(edit.file);
            plant(&file, bug.name, (edit.from, edit.to), &format!("{switches}::is_on({place})"));
        }
    }
    target
}

/// Copies a folder of sources. A `lib.rs` loses its inner doc comments, because a file that is included into another
/// one must not begin with them.
fn copy_crate(source: &Path, target: &Path) {
    copy(source, target);
    let lib = target.join("lib.rs");
    let text = read(&lib);
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("//!")).collect();
    write(&lib, &kept.join("\n"));
}

/// Replaces a text in a file, which must contain it exactly once, so that no bug disappears unnoticed when the sources
/// change. In the new text, `PLANTED` stands for `switch`.
pub(crate) fn plant(file: &Path, bug: &str, (from, to): (&str, &str), switch: &str) {
    let text = read(file);
    let found = text.matches(from).count();
    assert!(
        found == 1,
        "{bug}: {} contains {found} times, not once: {from:?}. The sources have changed: adapt the bug in the list",
        file.display(),
    );
    write(file, &text.replace(from, &to.replace("PLANTED", switch)));
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
