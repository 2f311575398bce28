//! Scenarios as text: each file `testdata/**/*.txt` contains commands and the outputs that result from them. The files
//! are easy to compare with the paper. Owns the comparison of expected and actual outputs: `UPDATE=1 cargo test -p raft
//! --test scripts` writes the actual outputs into the files, for review. Does not own the commands
//! (`scripts/interpreter.rs` lists them).
#![allow(clippy::disallowed_methods)] // The lint is for the core; this program writes files for review.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "network/cluster.rs"]
mod network;

#[path = "scripts/interpreter.rs"]
mod interpreter;
#[path = "scripts/script.rs"]
mod script;
#[path = "scripts/words.rs"]
mod words;

use interpreter::Interpreter;
use script::Script;

#[test]
fn scripts_give_the_written_outputs() {
    let update = world::settings::updates();
    let mut differences = Vec::new();
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"));
    assert!(files.len() >= 20, "scripts are missing: found only {}", files.len());
    for file in files {
        let written = fs::read_to_string(&file).expect("a script is readable");
        let played = play(&written);
        differences.extend(
            played.lines().filter(|line| line.starts_with("! ")).map(|line| format!("{}: {line}", file.display())),
        );
        if played == written {
            continue;
        }
        if update {
            fs::write(&file, &played).expect("a script is writable");
        } else {
            differences.push(difference(&file, &written, &played));
        }
    }
    assert!(
        differences.is_empty(),
        "{}\nif the new outputs are right, run UPDATE=1 cargo test -p raft --test scripts",
        differences.join("\n")
    );
}

/// A script with a wrong expected output must fail.
#[test]
fn a_script_with_a_wrong_output_fails() {
    let wrong = "# A leader out of nothing.\nmembers 1 2 3\nstart\n----\n1 is leader in term 1\n";
    let played = play(wrong);
    assert_ne!(played, wrong);
    let difference = difference(Path::new("wrong.txt"), wrong, &played);
    assert!(difference.contains("- 1 is leader in term 1"), "{difference}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("testdata is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Runs a script and returns it with the actual outputs. A failed command gives a line that begins with `!`; no script
/// may contain such a line.
fn play(written: &str) -> String {
    let mut script = Script::parse(written);
    let mut interpreter = Interpreter::default();
    for scene in &mut script.scenes {
        let mut said = Vec::new();
        for (line, command) in &scene.commands {
            let outcome = interpreter.act(command);
            said.extend(outcome.unwrap_or_else(|why| vec![format!("! line {line}: {command}: {why}")]));
        }
        scene.said = said;
    }
    script.to_string()
}

/// Describes the first lines that differ between the two texts.
fn difference(file: &Path, written: &str, played: &str) -> String {
    let same = written.lines().zip(played.lines()).take_while(|(one, two)| one == two).count();
    let mut text = format!("{}:{}:", file.display(), same + 1);
    let excerpt = |text: &str, sign: &str| -> String {
        text.lines().skip(same).take(6).map(|line| format!("\n    {sign} {line}")).collect()
    };
    text.push_str(&excerpt(written, "-"));
    text.push_str(&excerpt(played, "+"));
    text
}
