//! Checks for refused words: those that are wrong in every use, marks of unfinished work, names without meaning, and
//! paths of one machine. Owns the lists of these words. Does not own style, which no test can check, nor the meaning of
//! words (the glossary).

/// Words and phrases that no text of the tree and no name may contain, and what to say instead.
const REFUSED: &[(&[&str], &str)] = &[
    (&["time-out", "time-outs"], "timeout"),
    (&["hand-over", "hand-overs"], "leadership transfer"),
    (&["for ever"], "permanently, for good"),
    (&["but for"], "except"),
    (&["the own"], "its own"),
    (&["heir", "heirs"], "successor"),
    (&["lessor"], "lease expiry"),
    (&["weather"], "network profile"),
    (&["museum"], "regressions"),
    (&["drill", "drills"], "exhaustive cases"),
    (&["portrait", "portraits"], "rendering"),
    (&["wish", "wishes"], "workload; preference"),
    (&["door", "doors"], "service, endpoint, API, admission"),
    (&["room", "rooms"], "module, crate, phase; free space, capacity"),
    (&["rot", "rots", "rotted", "rotten"], "corruption, checksum mismatch, damaged"),
    (&["mint", "mints", "minted", "minting"], "generate"),
    (&["calm", "calmly"], "unchanged, idle"),
    (&["fruitful", "fruitless"], "changed, unchanged"),
    (&["needless", "needlessly", "of no use"], "unnecessary"),
    (&["worn out"], "expired"),
    (&["nobody", "somebody", "anybody", "whoever", "whomever"], "the party: member, client, leader, caller, operator"),
];

/// Files that may contain the refused words, because they quote them.
const QUOTING: [&str; 2] = ["tidy/words.rs", "docs/contributing/glossary.md"];

#[test]
fn words_that_are_wrong_in_every_use_are_refused() {
    let mut findings = Vec::new();
    let is_checked = |name: &str| {
        !QUOTING.iter().any(|quoting| name.ends_with(quoting)) && !name.ends_with(".lock") && !name.ends_with("go.sum")
    };
    for (name, text) in super::files("").into_iter().filter(|(name, _)| is_checked(name)) {
        for (_, word, instead) in refused(&name) {
            findings.push(format!("{name}: the name says \"{word}\": say {instead}"));
        }
        for (line, word, instead) in refused(&text) {
            findings.push(format!("{name}:{line}: \"{word}\": say {instead}"));
        }
    }
    super::settle(&findings);
}

/// Returns the line, the refused word, and the replacement, for each refused word in a text.
fn refused(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let words = words(text);
    let mut found = Vec::new();
    for (at, (line, word)) in words.iter().enumerate() {
        for (refused, instead) in REFUSED {
            let matches = |phrase: &str| {
                let mut parts = phrase.split(' ');
                parts.next() == Some(word.as_str())
                    && parts.enumerate().all(|(n, part)| words.get(at + 1 + n).is_some_and(|(_, next)| next == part))
            };
            found.extend(refused.iter().filter(|phrase| matches(phrase)).map(|phrase| (*line, *phrase, *instead)));
        }
    }
    found
}

/// Returns the words of a text in lower case, with their lines. The parts of a name count as separate words; a word
/// with a hyphen is one word. An empty word marks the end of a sentence or clause.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut word = String::new();
        let mut before = ' ';
        for character in line.chars().chain([' ']) {
            let starts = character.is_uppercase() && before.is_lowercase();
            let joins = character.is_alphabetic() || character == '-' && before.is_alphabetic();
            if (starts || !joins) && !word.is_empty() {
                words.push((number + 1, std::mem::take(&mut word).trim_end_matches('-').to_owned()));
            }
            if joins {
                word.extend(character.to_lowercase());
            } else if ".,;:!?()".contains(character) {
                words.push((number + 1, String::new()));
            }
            before = character;
        }
    }
    words
}

#[test]
fn words_are_found_in_prose_and_in_names() {
    let text = "it lasts for\n// ever; not a doorway\nfn at_the_door() {} struct RoomLeft; for, ever Time-outs";
    let found: Vec<(usize, &str)> = refused(text).into_iter().map(|(line, word, _)| (line, word)).collect();
    assert_eq!(found, [(1, "for ever"), (3, "door"), (3, "room"), (3, "time-outs")]);
}

/// Marks of unfinished work. They are put together from parts, because otherwise this file would contain them.
fn leftovers() -> Vec<String> {
    [("to", "do!("), ("unimple", "mented!("), ("#[ign", "ore"), ("TO", "DO"), ("FIX", "ME"), ("XX", "X")]
        .map(|(a, b)| format!("{a}{b}"))
        .to_vec()
}

/// The end of the reason of a test that only a thorough run includes. Such a test is not left over.
const THOROUGH: &str = "cargo xtask test --thorough\"]";

#[test]
fn nothing_is_left_over() {
    let mut findings = Vec::new();
    for (name, text) in super::files(".rs") {
        for (number, line) in text.lines().enumerate() {
            for word in leftovers() {
                if line.contains(&word) && !line.ends_with(THOROUGH) {
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
fn every_folder_and_file_is_named_after_its_purpose() {
    let banned = ["util", "utils", "helper", "helpers", "common", "misc", "mod"];
    let findings: Vec<String> = super::files("")
        .into_iter()
        .filter(|(name, _)| name.split('/').any(|part| banned.contains(&part.strip_suffix(".rs").unwrap_or(part))))
        .map(|(name, _)| format!("{name}: name it after what it is for"))
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
