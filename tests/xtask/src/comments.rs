//! `cargo xtask comments`: chooses comments at random for a reader, who judges whether each can be understood at first
//! reading. Owns the definition of one comment, and the random choice. Does not own the judgement.

use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::Args;
use dev_cluster::Run;

use crate::toolchain::top;

/// Minimum number of words of a comment in the sample.
const WORDS_MIN: usize = 5;

/// Parameters of the sample.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seed of the sample; by default a new one. The seed is printed with the sample
    #[arg(long)]
    seed: Option<u64>,
    /// Number of comments in the sample
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Chooses only from files in this folder and the folders below it
    #[arg(long)]
    folder: Option<String>,
}

/// One or more lines that a reader reads as one comment.
#[derive(Debug, PartialEq, Eq)]
struct Comment {
    /// Line number of the comment's first line.
    line: usize,
    /// Lines of the comment, including the comment markers.
    text: Vec<String>,
    /// The line of code that follows the comment, or precedes it on the same line. Empty for the header of a file.
    item: String,
}

/// Prints the sample.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let nanoseconds =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    let seed = arguments.seed.unwrap_or_else(nanoseconds);
    let mut listing = Command::new("git");
    listing.current_dir(top()).args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]);
    listing.arg(format!("{}*.rs", arguments.folder.as_deref().map_or(String::new(), |folder| format!("{folder}/"))));
    let mut all = Vec::new();
    for file in listing.text()?.lines() {
        let text = std::fs::read_to_string(top().join(file)).unwrap_or_default();
        all.extend(comments(&text).into_iter().map(|comment| (file.to_owned(), comment)));
    }
    ensure!(!all.is_empty(), "no file has a comment of {WORDS_MIN} words: is --folder right?");
    let drawn = draw(all.len(), arguments.count, seed);
    println!("seed {seed}: {} of {} comments of at least {WORDS_MIN} words", drawn.len(), all.len());
    for (number, place) in drawn.iter().enumerate() {
        let (file, comment) = &all[*place];
        println!("\n{}. {file}:{}", number + 1, comment.line);
        comment.text.iter().chain([&comment.item]).for_each(|line| println!("    {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the comments of a Rust file. A comment consists of adjacent lines with the same marker, or follows code on
/// the same line.
fn comments(text: &str) -> Vec<Comment> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let start = at;
        at += 1;
        if let Some(marker) = marker(lines[start]) {
            let same = |line: &&&str| self::marker(line) == Some(marker);
            at = start + lines[start..].iter().take_while(same).count();
            let is_item = |line: &&&str| !line.is_empty() && !line.starts_with("#[") && self::marker(line).is_none();
            let item = if marker == "//!" { "" } else { lines[at..].iter().find(is_item).copied().unwrap_or("") };
            let text = lines[start..at].iter().map(|line| (*line).to_owned()).collect();
            found.push(Comment { line: start + 1, text, item: item.to_owned() });
        } else if let Some((code, comment)) = after_code(lines[start]) {
            found.push(Comment { line: start + 1, text: vec![comment.to_owned()], item: code.to_owned() });
        }
    }
    let words =
        |comment: &Comment| comment.text.iter().flat_map(|line| line.split_whitespace()).filter(is_word).count();
    found.retain(|comment| words(comment) >= WORDS_MIN);
    found
}

fn marker(line: &str) -> Option<&'static str> {
    ["//!", "///", "//"].into_iter().find(|marker| line.starts_with(marker))
}

fn is_word(word: &&str) -> bool {
    word.contains(char::is_alphabetic)
}

/// Splits a line into its code and the comment after the code.
fn after_code(line: &str) -> Option<(&str, &str)> {
    let place = line.match_indices(" // ").map(|(place, _)| place).find(|place| !is_in_literal(&line[..*place]))?;
    Some((&line[..place], &line[place + 1..]))
}

/// Returns whether the end of this code is inside a string literal.
fn is_in_literal(code: &str) -> bool {
    code.replace("\\\"", "").matches('"').count() % 2 == 1
}

/// Returns `count` different numbers below `all` in random order, by the first steps of a Fisher-Yates shuffle.
fn draw(all: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..all).collect();
    let mut state = seed;
    let count = count.min(all);
    for at in 0..count {
        let other = at + (next(&mut state) % (all - at) as u64) as usize;
        places.swap(at, other);
    }
    places.truncate(count);
    places
}

/// Returns the next number of the generator SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn adjacent_lines_are_one_comment() {
        let text = "//! A file that owns something.\n\n/// One two three,\n/// four five.\n#[test]\nfn a() {}\n// Too short.\n\
                    let b = \" // no\"; // because of one two three\n";
        let found: Vec<(usize, usize, String)> =
            comments(text).into_iter().map(|comment| (comment.line, comment.text.len(), comment.item)).collect();
        let expected = [(1, 1, ""), (3, 2, "fn a() {}"), (8, 1, "let b = \" // no\";")];
        assert_eq!(found, expected.map(|(line, lines, item)| (line, lines, item.to_owned())));
    }

    #[test]
    fn a_seed_draws_the_same_comments_each_once() {
        let drawn = draw(1_000, 100, 7);
        assert_eq!(drawn, draw(1_000, 100, 7));
        assert_ne!(drawn, draw(1_000, 100, 8));
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!(draw(3, 100, 7).len(), 3);
    }
}
