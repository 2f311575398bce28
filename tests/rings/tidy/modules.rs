//! The modules of each crate and the imports between their files. Owns how a path is resolved: `crate`, `super`,
//! `self`, child modules, names that a `use` imports, re-exports. A macro or a glob counts as an import of the module
//! that its path names. Does not own which imports are allowed (`cycles.rs`).

use std::collections::{BTreeMap, BTreeSet};

use super::source;

/// A crate's modules and the imports between them.
pub(crate) struct Crate {
    /// The crate's folder. For a program, the name of its root file follows.
    pub(crate) name: String,
    pub(crate) modules: Vec<Module>,
    /// Pairs of a module and a module that it imports, by index, each with one of the imported names.
    pub(crate) imports: BTreeMap<(usize, usize), String>,
}

/// A module that has its own file.
pub(crate) struct Module {
    /// Path of the module's file from the root folder of the workspace.
    pub(crate) file: String,
    /// Path of the module below the root of the crate.
    pub(crate) path: Vec<String>,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// Names that `use` imports into the module, each with its path as written.
    uses: BTreeMap<String, Vec<String>>,
    /// All paths in the code of the module, including those of `use`.
    named: Vec<Vec<String>>,
}

/// Returns every library and program of the workspace.
pub(crate) fn crates() -> Vec<Crate> {
    let files: BTreeMap<String, String> = super::files(".rs").into_iter().collect();
    let read = |name: &str| files.get(name).cloned();
    let mut crates = Vec::new();
    for name in files.keys() {
        let Some((folder, root)) = name.split_once("/src/") else { continue };
        let is_program = root.strip_prefix("bin/").is_some_and(|rest| !rest.contains('/'));
        if root == "lib.rs" || root == "main.rs" || is_program {
            let label = if root == "lib.rs" { folder.to_owned() } else { format!("{folder} {root}") };
            crates.push(Crate::load(label, name, &read));
        }
    }
    assert!(crates.len() > 10, "only {} crates were found: the check looks in the wrong place", crates.len());
    crates
}

impl Crate {
    fn load(name: String, root: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut found = Self { name, modules: Vec::new(), imports: BTreeMap::new() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        found.add(root.to_owned(), folder, Vec::new(), None, read);
        found.draw();
        found
    }

    /// Creates a crate from file names and texts, for tests of the checks.
    pub(crate) fn from_files(name: &str, files: &[(&str, &str)]) -> Self {
        let read = |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned());
        Self::load(name.to_owned(), "src/lib.rs", &read)
    }

    /// Adds the module in `file`, and the modules that it declares. The files of its child modules are in `folder`.
    fn add(
        &mut self,
        file: String,
        folder: &str,
        path: Vec<String>,
        parent: Option<usize>,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> usize {
        let text = read(&file).expect("a declared module has a file");
        let tokens = tokens(&source::production_code(&text));
        let place = self.modules.len();
        let (uses, named) = imports(&tokens);
        self.modules.push(Module { file, path: path.clone(), parent, children: BTreeMap::new(), uses, named });
        for pair in tokens.windows(3).filter(|pair| pair[0] == "mod" && pair[2] == ";") {
            let child = pair[1].clone();
            let child_file = format!("{folder}/{child}.rs");
            if read(&child_file).is_some() {
                let mut child_path = path.clone();
                child_path.push(child.clone());
                let added = self.add(child_file, &format!("{folder}/{child}"), child_path, Some(place), read);
                self.modules[place].children.insert(child, added);
            }
        }
        place
    }

    fn draw(&mut self) {
        for from in 0..self.modules.len() {
            for path in self.modules[from].named.clone() {
                if let Some(to) = self.resolve(from, &path, 0).filter(|to| *to != from) {
                    self.imports.entry((from, to)).or_insert_with(|| path.join("::"));
                }
            }
        }
    }

    /// Returns the module that contains the item that `path` names in the module `from`; `None` if this crate does not
    /// contain the item.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        /// Maximum length of a chain of re-exports. Without this limit, two names that import each other would cause an
        /// endless recursion.
        const CHAIN_MAX: usize = 8;
        let (first, mut rest) = path.split_first()?;
        let module = &self.modules[from];
        let mut at = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => module.parent?,
            name => match module.children.get(name) {
                Some(child) => *child,
                None if depth < CHAIN_MAX => {
                    let used = module.uses.get(name).filter(|used| used.first() != Some(first))?;
                    return self.resolve(from, &joined(used, rest), depth + 1);
                }
                None => return None,
            },
        };
        while let Some((name, after)) = rest.split_first() {
            let module = &self.modules[at];
            if name == "super" {
                at = module.parent?;
            } else if let Some(child) = module.children.get(name) {
                at = *child;
            } else if let Some(used) = module.uses.get(name).filter(|_| depth < CHAIN_MAX) {
                return Some(self.resolve(at, &joined(used, after), depth + 1).unwrap_or(at));
            } else {
                break;
            }
            rest = after;
        }
        Some(at)
    }
}

fn joined(start: &[String], end: &[String]) -> Vec<String> {
    start.iter().chain(end).cloned().collect()
}

/// Splits code into identifiers, `::` and single characters.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

type Uses = BTreeMap<String, Vec<String>>;

/// Returns the names that `use` imports, and every path that has two or more parts.
fn imports(tokens: &[String]) -> (Uses, Vec<Vec<String>>) {
    let mut uses = Uses::new();
    let mut named = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let mut leaves = Vec::new();
            at = tree(tokens, at + 1, &[], &mut leaves);
            for (alias, path) in leaves {
                named.insert(path.clone());
                uses.insert(alias, path);
            }
            continue;
        }
        let starts = is_word(&tokens[at]) && (at == 0 || tokens[at - 1] != "::");
        let mut path = Vec::new();
        if starts {
            path.push(tokens[at].clone());
            while tokens.get(at + 1).is_some_and(|token| token == "::")
                && tokens.get(at + 2).is_some_and(|token| is_word(token))
            {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
        }
        if path.len() > 1 {
            named.insert(path);
        }
        at += 1;
    }
    (uses, named.into_iter().collect())
}

/// Reads one branch of a `use` tree and adds its leaves, each a name with its path, to `leaves`. Returns the position
/// after the branch.
fn tree(tokens: &[String], mut at: usize, above: &[String], leaves: &mut Vec<(String, Vec<String>)>) -> usize {
    let mut path = above.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = tree(tokens, at, &path, leaves);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            "*" => {
                leaves.push((format!("*{}", path.join("::")), path));
                return at + 1;
            }
            "::" => at += 1,
            word if is_word(word) => {
                // In `use a::{self}`, `self` names `a`.
                if word != "self" || path.is_empty() {
                    path.push(word.to_owned());
                }
                at += 1;
                if tokens.get(at).is_some_and(|token| token == "as") {
                    leaves.push((tokens[at + 1].clone(), path));
                    return at + 2;
                }
            }
            _ => break,
        }
        if tokens.get(at).is_none_or(|token| token != "::" && token != "{") && tokens[at - 1] != "::" {
            leaves.push((path.last().cloned().unwrap_or_default(), path));
            return at;
        }
    }
    at + 1
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn use_trees_are_read() {
    let code = "use a::{self, b::{C, D as E}, f::*}; use g; fn h() { i::j(k::<l::M>()) }";
    let (uses, named) = imports(&tokens(code));
    let uses: Vec<String> = uses.iter().map(|(alias, path)| format!("{alias}={}", path.join("::"))).collect();
    assert_eq!(uses, ["*a::f=a::f", "C=a::b::C", "E=a::b::D", "a=a", "g=g"]);
    let named: Vec<String> = named.iter().map(|path| path.join("::")).collect();
    assert_eq!(named, ["a", "a::b::C", "a::b::D", "a::f", "g", "i::j", "l::M"]);
}
