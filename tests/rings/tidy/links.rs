//! Checks that documents and comments only name files, folders, types, functions and fields that exist. Owns the rules
//! by which a text counts as a name of this project. Does not own links between items in Rust documentation, which
//! `cargo doc` checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source;

/// File name endings. A text may name a file with one of these endings only if the tree contains that file.
const ENDINGS: [&str; 10] = ["rs", "md", "toml", "yaml", "yml", "proto", "tla", "cfg", "tpl", "sh"];

/// Files that a text may name although the tree does not contain them, each with the reason.
const ELSEWHERE: &[(&str, &str)] = &[
    ("Run.tla", "a recorded run, written when it is checked"),
    ("SEED/Run.tla", "the same"),
    ("state/log.rs", "an example of this file"),
];

/// Names from outside this project that look like names in its code.
const FOREIGN: &[(&str, &str)] = &[
    ("SO_REUSEPORT", "an option of Linux sockets"),
    ("EX_IOERR", "an exit code of sysexits.h"),
    ("USER_HZ", "a constant of the Linux kernel"),
    ("br_netfilter", "a module of the Linux kernel"),
    ("WithRequireLeader", "a function of etcd's Go client"),
    ("FailedScheduling", "a reason in events of the Kubernetes scheduler"),
];

#[test]
fn relative_links_lead_somewhere() {
    let mut findings = Vec::new();
    for (name, text) in super::files(".md") {
        for target in targets(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { super::top().join(&name) } else { folder_of(&name).join(file) };
            let has_anchor = || std::fs::read_to_string(&path).is_ok_and(|text| anchors(&text).contains(anchor));
            if !path.exists() || !anchor.is_empty() && !has_anchor() {
                findings.push(format!("{name}: links to {target}, which does not exist"));
            }
        }
    }
    super::settle(&findings);
}

/// Checks the paths that documents name in backticks: whole paths that start at a top-level folder, and ends of paths
/// such as `state/log.rs`.
#[test]
fn paths_named_in_documents_exist() {
    let tree = Tree::load();
    let mut findings = Vec::new();
    for (name, text) in super::files(".md") {
        for (number, named) in quoted(&text) {
            if is_path(&named) && !tree.has_path(&named, &folder_of(&name)) {
                findings.push(format!("{name}:{number}: names {named}, which does not exist"));
            }
        }
    }
    super::settle(&findings);
}

/// Checks each text in backticks in a document if the text looks like a name of this project: `some_name`, `SomeName`,
/// `SOME_NAME`, `path::to::name`.
#[test]
fn names_in_documents_exist() {
    let tree = Tree::load();
    let mut findings = Vec::new();
    for (name, text) in super::files(".md") {
        for (number, named) in quoted(&text) {
            findings.extend(
                tree.missing(&named)
                    .map(|part| format!("{name}:{number}: names {named}, but {part} is nowhere in the tree")),
            );
        }
    }
    super::settle(&findings);
}

#[test]
fn files_named_in_comments_exist() {
    let tree = Tree::load();
    let mut findings = Vec::new();
    for (name, text) in super::files(".rs") {
        for (number, line) in source::comments(&text).lines().enumerate() {
            for named in line.split(|c: char| !(c.is_alphanumeric() || "_-./:".contains(c))) {
                let named = named.trim_matches(['.', ':', '-']);
                let is_ours = has_ending(named) && !named.contains(':');
                // Comments used to refer to a document of this name, which the tree never contained.
                let is_gone = named == "DESIGN";
                if is_gone || is_ours && !tree.has_path(named, &folder_of(&name)) {
                    findings.push(format!("{name}:{}: names {named}, which does not exist", number + 1));
                }
            }
        }
    }
    super::settle(&findings);
}

#[test]
fn names_in_comments_exist() {
    let tree = Tree::load();
    let mut findings = Vec::new();
    for (name, text) in super::files(".rs") {
        for (number, line) in source::comments(&text).lines().enumerate() {
            for named in line.split('`').skip(1).step_by(2) {
                findings
                    .extend(tree.missing(named).map(|part| {
                        format!("{name}:{}: names {named}, but {part} is nowhere in the tree", number + 1)
                    }));
            }
        }
    }
    super::settle(&findings);
}

/// The names that a text may use.
struct Tree {
    /// Path of every file.
    files: Vec<String>,
    /// Every identifier in the tree, except those in documents and in comments of Rust code.
    words: BTreeSet<String>,
}

impl Tree {
    fn load() -> Self {
        let mut words = BTreeSet::new();
        let mut files = Vec::new();
        for (name, text) in super::files("") {
            let is_rust = name.ends_with(".rs");
            let text = if is_rust { without_comments(&text) } else { text };
            if !name.ends_with(".md") {
                words.extend(source::words(&text).map(str::to_owned));
            }
            words.extend(source::words(&name).map(str::to_owned));
            files.push(name);
        }
        Self { files, words }
    }

    /// If `named` looks like a name in code, returns those of its parts between `::` that are neither in the tree's words
    /// nor in [`FOREIGN`]. Otherwise returns nothing.
    fn missing<'a>(&'a self, named: &'a str) -> impl Iterator<Item = &'a str> {
        let parts = named.trim_end_matches("()").split("::").filter(|_| is_name(named));
        parts.filter(|part| !self.words.contains(*part) && !FOREIGN.iter().any(|(foreign, _)| foreign == part))
    }

    /// Returns whether `named` is a path that starts at the top folder or at `folder`, or is the end or a middle part
    /// of a file's path.
    fn has_path(&self, named: &str, folder: &Path) -> bool {
        let named = named.trim_start_matches("./").trim_end_matches('/');
        let end = format!("/{named}");
        let middle = format!("/{named}/");
        super::top().join(named).exists()
            || folder.join(named).exists()
            || ELSEWHERE.iter().any(|(file, _)| *file == named)
            || self.files.iter().any(|file| file.ends_with(&end) || format!("/{file}").contains(&middle))
    }
}

/// Returns the code and the literals of a text. These contain the names that the compiler or a user sees.
fn without_comments(text: &str) -> String {
    let comments = source::comments(text);
    let blank = |(a, b): (u8, u8)| if b == b' ' || b == b'\n' { a } else { b' ' };
    let bytes = text.bytes().zip(comments.bytes()).map(blank).collect();
    String::from_utf8(bytes).unwrap_or_default()
}

fn folder_of(name: &str) -> PathBuf {
    super::top().join(Path::new(name).parent().expect("a file stands in a folder"))
}

fn has_ending(named: &str) -> bool {
    named.rsplit_once('.').is_some_and(|(stem, ending)| {
        ENDINGS.contains(&ending) && stem.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Returns whether `named` is a path in this project: it starts with a top-level folder, or is a file with a known
/// ending.
fn is_path(named: &str) -> bool {
    const TOP: [&str; 6] = ["node/", "operator/", "tests/", "crds/", "charts/", "docs/"];
    let plain = named.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
    plain && !named.starts_with(['/', '-']) && (TOP.iter().any(|top| named.starts_with(top)) || has_ending(named))
}

/// Returns whether `named` looks like a name in code: it contains an underscore or `::`, or has capital letters inside,
/// as in `SomeName`.
fn is_name(named: &str) -> bool {
    let named = named.trim_end_matches("()");
    let is_word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let parts: Vec<&str> = named.split("::").collect();
    let humps = |part: &str| {
        let ups = part.chars().filter(char::is_ascii_uppercase).count();
        part.starts_with(|c: char| c.is_ascii_uppercase()) && ups >= 2 && ups < part.len()
    };
    parts.iter().all(|part| is_word(part))
        && (parts.len() > 1 || parts[0].trim_matches('_').contains('_') || humps(parts[0]))
}

/// Returns the texts in backticks outside code blocks, each with its line number.
fn quoted(text: &str) -> Vec<(usize, String)> {
    let of_line = |(number, line): (usize, &str)| {
        line.split('`').skip(1).step_by(2).map(|code| (number, code.to_owned())).collect::<Vec<_>>()
    };
    prose(text).flat_map(of_line).collect()
}

/// Returns the lines outside code blocks, with their line numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().map(|(number, line)| (number + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Returns the targets of inline links outside code blocks.
fn targets(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|(_, line)| line.split("](").skip(1))
        .filter_map(|part| part.split(')').next())
        .map(str::to_owned)
        .collect()
}

/// Returns the anchors of a document's headings, as GitHub makes them: lower case, no punctuation, and a hyphen for each
/// space.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| line.trim_start_matches('#'));
    let slug = |heading: &str| {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn anchors_are_made_from_headings() {
    let text = "# How to add …\n## An RPC of etcd's API\n```\n# no heading\n```\n";
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["an-rpc-of-etcds-api", "how-to-add-"]);
}

#[test]
fn links_in_code_blocks_are_not_followed() {
    assert_eq!(targets("[a](b.md) and [c](d/e.md#f)\n```\n[x](y)\n```\n"), ["b.md", "d/e.md#f"]);
}

#[test]
fn names_and_paths_are_recognized() {
    let names = ["some_name", "SomeName", "a::b", "read_all()", "SOME_NAME"];
    assert!(names.iter().all(|name| is_name(name)));
    assert!(!["name", "Name", "some name", "etcd-io", "HTTP", "3.x"].iter().any(|name| is_name(name)));
    let paths = ["node/src", "log.rs", "state/log.rs", "docs/a.md"];
    assert!(paths.iter().all(|path| is_path(path)));
    assert!(!["log", "*.rs", "progress.go", "/etc/x.toml", ".rs"].iter().any(|path| is_path(path)));
    let tree: BTreeMap<&str, bool> = [("b/c.rs", true), ("c.rs", true), ("b", true), ("d.rs", false)].into();
    let loaded = Tree { files: vec!["a/b/c.rs".into()], words: BTreeSet::new() };
    assert!(tree.iter().all(|(path, there)| loaded.has_path(path, Path::new("/nowhere")) == *there));
}
