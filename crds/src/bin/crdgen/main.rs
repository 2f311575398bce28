//! Owns the command line of `crdgen`, which generates the charts' templates and the reference pages from the types.
//! `write` writes them, `check` lists stale ones, `print` prints the bare definitions for `kubectl apply -f -`. Does not
//! own their content (`chart.rs`, `reference.rs`, `yaml.rs`).

mod chart;
mod reference;
mod yaml;

use std::{collections::BTreeMap, env, fs, io, path::Path, process::ExitCode};

/// Content of generated files, by path from the top of the tree.
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

/// Writes all files. Returns path and cause of each file that could not be written.
fn write(top: &Path, files: &Files) -> Vec<String> {
    let write_one = |path: &str, content: &str| -> io::Result<()> {
        let path = top.join(path);
        fs::create_dir_all(path.parent().expect("generated files have a folder"))?;
        fs::write(path, content)
    };
    files.iter().filter_map(|(path, content)| Some(format!("{path}: {}", write_one(path, content).err()?))).collect()
}

/// Paths of files that are missing or have another content.
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
