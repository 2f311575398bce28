//! Documents name files that exist.

use std::path::Path;

#[test]
fn relative_links_lead_somewhere() {
    let mut findings = Vec::new();
    for (name, text) in super::files(".md") {
        let folder = Path::new(&name).parent().expect("a file stands in a folder");
        for target in targets(&text) {
            if target.contains("://") || target.starts_with('#') || target.starts_with("mailto:") {
                continue;
            }
            let file = target.split('#').next().expect("split yields at least one part");
            if !super::top().join(folder).join(file).exists() {
                findings.push(format!("{name}: links to {target}, which does not exist"));
            }
        }
    }
    super::settle(&findings);
}

/// Paths that prose names as code, from a top-level folder down.
#[test]
fn named_paths_lead_somewhere() {
    const ROOMS: [&str; 6] = ["node/", "operator/", "tests/", "crds/", "charts/", "docs/"];
    let mut findings = Vec::new();
    for (name, text) in super::files(".md") {
        let folder = Path::new(&name).parent().expect("a file stands in a folder");
        for line in prose(&text) {
            let named =
                line.split('`').skip(1).step_by(2).filter(|code| ROOMS.iter().any(|room| code.starts_with(room)));
            let missing =
                named.filter(|path| !path.contains([' ', '*', '<', '{']) && !super::top().join(path).exists());
            let missing = missing.filter(|path| !super::top().join(folder).join(path).exists());
            findings.extend(missing.map(|path| format!("{name}: names {path}, which does not exist")));
        }
    }
    super::settle(&findings);
}

/// The lines outside code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The targets of inline links outside code blocks.
fn targets(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|part| part.split(')').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn links_in_code_are_left_alone() {
    assert_eq!(targets("[a](b.md) and [c](d/e.md#f)\n```\n[x](y)\n```\n"), ["b.md", "d/e.md#f"]);
}
