//! Names and leftovers that the house does not keep.

/// Put together here, so that this file does not find itself.
fn leftovers() -> Vec<String> {
    [("to", "do!("), ("unimple", "mented!("), ("#[ign", "ore"), ("TO", "DO"), ("FIX", "ME"), ("XX", "X")]
        .map(|(a, b)| format!("{a}{b}"))
        .to_vec()
}

#[test]
fn nothing_is_left_over() {
    let mut findings = Vec::new();
    for (name, text) in super::files(".rs") {
        for (number, line) in text.lines().enumerate() {
            for word in leftovers() {
                if line.contains(&word) {
                    findings.push(format!(
                        "{name}:{}: {word}: finish it, or say in the documents that it is absent",
                        number + 1
                    ));
                }
            }
        }
    }
    super::settle(&findings);
}

#[test]
fn every_room_has_a_purpose_in_its_name() {
    let banned = ["util", "utils", "helper", "helpers", "common", "misc", "mod"];
    let findings: Vec<String> = super::files("")
        .into_iter()
        .filter(|(name, _)| name.split('/').any(|part| banned.contains(&part.strip_suffix(".rs").unwrap_or(part))))
        .map(|(name, _)| format!("{name}: name the room after what it is for"))
        .collect();
    super::settle(&findings);
}

#[test]
fn types_say_what_they_are() {
    let mut findings = Vec::new();
    for (name, text) in super::files(".rs") {
        for (number, line) in text.lines().enumerate() {
            let declared = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            let Some(rest) = declared.strip_prefix("struct ").or_else(|| declared.strip_prefix("trait ")) else {
                continue;
            };
            let word: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if word.ends_with("Manager") || word.ends_with("Handler") {
                findings.push(format!("{name}:{}: {word}: say what it does or is", number + 1));
            }
        }
    }
    super::settle(&findings);
}

#[test]
fn no_machine_path_is_kept() {
    let roots = [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/")].map(|(a, b)| format!("{a}{b}"));
    let mut findings = Vec::new();
    for (name, text) in super::files("").into_iter().filter(|(name, _)| !name.ends_with(".lock")) {
        for (number, line) in text.lines().enumerate() {
            if roots.iter().any(|root| line.contains(root.as_str())) {
                findings.push(format!("{name}:{}: a path of one machine: {}", number + 1, line.trim()));
            }
        }
    }
    super::settle(&findings);
}
