//! Owns writing plain data as YAML that people can review: sorted keys, block style, long text folded. Supports what
//! definitions need; no anchors, no tags.

use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

const WIDTH: usize = 116;

/// `data` as one document that ends in a newline.
pub(crate) fn document(data: &impl Serialize) -> String {
    let mut out = String::new();
    match serde_json::to_value(data).expect("definitions are plain data") {
        Value::Object(fields) if !fields.is_empty() => mapping(&mut out, &Value::Object(fields), 0),
        other => scalar(&mut out, &other, 0),
    }
    out
}

/// Writes the entries of a non-empty object, each on its own line at `depth`. The caller has indented the first one.
fn mapping(out: &mut String, object: &Value, depth: usize) {
    let fields = object.as_object().expect("called for objects only");
    let mut names: Vec<_> = fields.keys().collect();
    names.sort();
    for (position, name) in names.into_iter().enumerate() {
        if position > 0 {
            indent(out, depth);
        }
        out.push_str(&word(name));
        out.push(':');
        value(out, &fields[name], depth);
    }
}

/// Writes the value that follows a key.
fn value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            indent(out, depth + 1);
            mapping(out, value, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                indent(out, depth + 1);
                out.push('-');
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        out.push(' ');
                        mapping(out, item, depth + 2);
                    }
                    _ => scalar(out, item, depth + 1),
                }
            }
        }
        _ => scalar(out, value, depth),
    }
}

/// Writes a value on the rest of the line, and ends the line.
fn scalar(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(text) if foldable(text) => folded(out, text, depth + 1),
        Value::String(text) => writeln!(out, " {}", word(text)).expect("strings grow"),
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 => {
                writeln!(out, " {float:.0}").expect("strings grow");
            }
            _ => writeln!(out, " {number}").expect("strings grow"),
        },
        other => writeln!(out, " {other}").expect("strings grow"),
    }
}

/// Whether text is long enough to fold and contains nothing that folding would change.
fn foldable(text: &str) -> bool {
    text.len() > 80 && !text.contains(['\n', '\t']) && !text.contains("  ") && text.trim() == text
}

fn folded(out: &mut String, text: &str, depth: usize) {
    out.push_str(" >-\n");
    let mut line = String::new();
    for part in text.split(' ') {
        if !line.is_empty() && depth * 2 + line.len() + 1 + part.len() > WIDTH {
            indent(out, depth);
            out.push_str(&line);
            out.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part);
    }
    indent(out, depth);
    out.push_str(&line);
    out.push('\n');
}

/// Formats short text: without quotes if no YAML reader could take it for another type, otherwise quoted as in JSON,
/// which is valid YAML.
fn word(text: &str) -> String {
    let bare = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { serde_json::to_string(text).expect("text is JSON") }
}

fn indent(out: &mut String, depth: usize) {
    out.push_str(&"  ".repeat(depth));
}
