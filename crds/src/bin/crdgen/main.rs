//! Makes everything that is derived from the types: the charts' templates and the reference pages. `write` makes them
//! anew, `check` tells which are stale, `print` shows the bare definitions for `kubectl apply -f -`. Decides nothing
//! about their content: see the modules.

mod chart;
mod reference;
mod yaml;

use std::{collections::BTreeMap, env, fs, io, path::Path, process::ExitCode};

/// Generated files by path from the top of the tree.
type Files = BTreeMap<String, String>;

fn main() -> ExitCode {
    let verb = env::args().nth(1);
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match verb.as_deref() {
        Some("print") => {
            for definition in crds::definitions() {
                print!("---\n{}", yaml::document(&definition));
            }
            ExitCode::SUCCESS
        }
        Some("write") => report("cannot write", &write(&top, &generated())),
        Some("check") => report("stale, run `cargo run -p crds --bin crdgen write`", &stale(&top, &generated())),
        _ => {
            eprintln!("usage: crdgen print | write | check");
            ExitCode::from(2)
        }
    }
}

fn generated() -> Files {
    let mut files = Files::new();
    for definition in crds::definitions() {
        files.extend(chart::templates(&definition));
        files.extend(reference::page(&definition));
    }
    files.extend(reference::conditions());
    files
}

/// Writes all files; returns those that could not be written, with the cause.
fn write(top: &Path, files: &Files) -> Vec<String> {
    let write_one = |path: &str, content: &str| -> io::Result<()> {
        let path = top.join(path);
        fs::create_dir_all(path.parent().expect("generated files have a folder"))?;
        fs::write(path, content)
    };
    files.iter().filter_map(|(path, content)| Some(format!("{path}: {}", write_one(path, content).err()?))).collect()
}

/// Files that are missing or differ from what would be written.
fn stale(top: &Path, files: &Files) -> Vec<String> {
    let fresh = |path: &str, content: &str| fs::read_to_string(top.join(path)).is_ok_and(|found| found == content);
    files.iter().filter(|(path, content)| !fresh(path, content)).map(|(path, _)| path.clone()).collect()
}

fn report(what: &str, problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}: {what}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
