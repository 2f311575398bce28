//! Copies the sources of a crate and plants bugs in the copy, each behind its switch. Owns the text edits that the build
//! scripts of the crates with bugs share. Does not own the bugs.

use std::fs;
use std::path::Path;

/// Copies a folder of sources. A `lib.rs` loses its inner doc comments, because a file that is included into another
/// one must not begin with them.
pub(crate) fn copy_crate(source: &Path, target: &Path) {
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
