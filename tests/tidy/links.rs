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

/// The targets of inline links outside code blocks.
fn targets(text: &str) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for part in line.split("](").skip(1) {
            if let Some(target) = part.split(')').next() {
                found.push(target.to_owned());
            }
        }
    }
    found
}

#[test]
fn links_in_code_are_left_alone() {
    assert_eq!(targets("[a](b.md) and [c](d/e.md#f)\n```\n[x](y)\n```\n"), ["b.md", "d/e.md#f"]);
}
