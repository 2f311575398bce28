//! Splits Rust text into code, comments and literals, and finds the items that are compiled only for tests. Owns a
//! lexer that knows only the tokens that the checks need. Does not contain a parser: the lexer knows no grammar above
//! tokens, and does not rely on rustfmt's layout.

/// The part of a Rust text to which a byte belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// Returns the text with every comment and literal replaced by spaces. Lines and columns do not change.
pub(crate) fn code(text: &str) -> String {
    keep(text, Part::Code)
}

/// Returns the text with everything except its comments replaced by spaces.
pub(crate) fn comments(text: &str) -> String {
    keep(text, Part::Comment)
}

/// Returns the result of [`code`] without the items under `#[cfg(test)]`.
pub(crate) fn production_code(text: &str) -> String {
    let code = code(text);
    let mut kept = code.clone().into_bytes();
    for (start, end) in test_items(&code) {
        blank(&mut kept[start..end]);
    }
    String::from_utf8(kept).expect("whole items are replaced by spaces")
}

/// Number of lines outside the items under `#[cfg(test)]`.
pub(crate) fn production_lines(text: &str) -> usize {
    let code = code(text);
    let tests: usize = test_items(&code).iter().map(|&(start, end)| code[start..end].lines().count()).sum();
    text.lines().count() - tests
}

/// The identifiers and keywords of code that contains no comments and literals.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn keep(text: &str, part: Part) -> String {
    let mut kept = text.as_bytes().to_vec();
    for (byte, of) in kept.iter_mut().zip(parts(text)) {
        if of != part {
            blank(std::slice::from_mut(byte));
        }
    }
    String::from_utf8(kept).expect("a character belongs to one part as a whole")
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// Returns the part to which each byte belongs.
fn parts(text: &str) -> Vec<Part> {
    let bytes = text.as_bytes();
    let mut parts = Vec::with_capacity(bytes.len());
    while parts.len() < bytes.len() {
        let at = parts.len();
        let (part, length) = token(&text[at..], bytes[..at].last().copied());
        parts.resize(at + length, part);
    }
    parts
}

/// Returns the part at the start of `rest`, and the length of that part in bytes.
fn token(rest: &str, before: Option<u8>) -> (Part, usize) {
    if rest.starts_with("//") {
        return (Part::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Part::Comment, block_comment(rest));
    }
    // An `r` at the end of an identifier does not begin a literal.
    let fresh = !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fresh && let Some(length) = raw_string(rest) {
        return (Part::Literal, length);
    }
    if rest.starts_with('"') {
        return (Part::Literal, quoted(rest, '"'));
    }
    if let Some(after) = rest.strip_prefix('\'') {
        let mut characters = after.chars();
        let first = characters.next();
        // A quote begins a character literal if a backslash, or one character and another quote, follow it. Any other
        // quote begins a lifetime.
        if first == Some('\\') || characters.next() == Some('\'') {
            return (Part::Literal, quoted(rest, '\''));
        }
    }
    (Part::Code, rest.chars().next().map_or(1, char::len_utf8))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - body.len() + body.find(&close).map_or(body.len(), |at| at + close.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            character if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns the start and the end of each item under `#[cfg(test)]`, in code without comments and literals.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    const MARK: &str = "#[cfg(test)]";
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(start) = code[at..].find(MARK).map(|found| at + found) {
        let end = item_end(code, start + MARK.len());
        items.push((start, end));
        at = end;
    }
    items
}

/// Returns the end of the item that begins at `from`. An item ends with its semicolon, or with the brace that closes
/// its body.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let text = "let a = \"// no\"; // yes \"\nlet r#type = r#\"x\"y\"#; /* a /* b */ c */ let c = '\\''; f::<'a>('x')";
    assert_eq!(
        code(text),
        "let a =        ;         \nlet r#type =         ;                   let c =     ; f::<'a>(   )"
    );
    assert_eq!(comments(text).split_whitespace().collect::<Vec<_>>().join(" "), "// yes \" /* a /* b */ c */");
}

#[test]
fn items_for_tests_are_left_out() {
    let text = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\nmod tests {\n    fn d() {}\n}\n";
    let left: Vec<String> = words(&production_code(text)).map(str::to_owned).collect();
    assert_eq!(left, ["use", "a", "fn", "c"]);
    assert_eq!(production_lines(text), 2);
}
