//! What is wrong with a manifest: all of it at once, in the order of the file.

use std::fmt;

use thiserror::Error;

use super::tree::{Node, Value};

/// Diagnostics printed before the rest is only counted.
const MAX_PRINTED: usize = 100;
/// Characters of a found value that are quoted.
const MAX_QUOTED: usize = 60;

/// Line and column of a character, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl Place {
    /// The first character of a file.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// The key path, `precisions[2].classes.softmax`; empty for the document itself.
    pub path: String,
    /// What was found, what is allowed, and the cure.
    pub message: String,
}

impl Diagnostic {
    /// A diagnostic about the document as a whole.
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        Diagnostic { place, path: String::new(), message: message.into() }
    }
}

/// Everything that is wrong with a manifest, ordered by place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Diagnostics {
    file: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn new(file: &str, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.place);
        Diagnostics { file: file.to_owned(), list }
    }

    /// The diagnostics, ordered by place.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }
}

impl fmt::Display for Diagnostics {
    /// `file:line:column: key.path: message`, a line each, and a line with their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Diagnostic { place, path, message } in self.list.iter().take(MAX_PRINTED) {
            write!(f, "{}:{}:{}: ", self.file, place.line, place.column)?;
            if !path.is_empty() {
                write!(f, "{path}: ")?;
            }
            writeln!(f, "{message}")?;
        }
        if self.list.len() > MAX_PRINTED {
            writeln!(f, "{}: {} more errors are not shown", self.file, self.list.len() - MAX_PRINTED)?;
        }
        let plural = if self.list.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural} in {}", self.list.len(), self.file)
    }
}

/// Collects diagnostics while a tree is read.
#[derive(Debug)]
pub(super) struct Report<'t> {
    source: &'t str,
    list: Vec<Diagnostic>,
}

impl<'t> Report<'t> {
    pub fn new(source: &'t str) -> Self {
        Report { source, list: Vec::new() }
    }

    pub fn push(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.list.push(Diagnostic { place, path: path.to_owned(), message: message.into() });
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// A value as its author wrote it, in words for anything that is not a scalar.
    pub fn found(&self, node: &Node) -> String {
        match &node.value {
            Value::Null => "nothing".to_owned(),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Mapping(entries) if entries.is_empty() => "an empty mapping".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Value::Text(text) => format!("the text {}", quoted(text)),
            Value::Bool(value) => format!("`{value}`"),
            Value::Whole(value) => self.spelling(node).unwrap_or_else(|| format!("`{value}`")),
            Value::Real(value) => self.spelling(node).unwrap_or_else(|| format!("`{value}`")),
        }
    }

    fn spelling(&self, node: &Node) -> Option<String> {
        let text = self.source.get(node.bytes.clone()?)?.trim();
        (!text.is_empty()).then(|| quoted(text))
    }
}

/// `text` in backticks, shortened, with control characters escaped so that a file cannot write to the terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_QUOTED).flat_map(escape).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

fn escape(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}

/// `one of `a`, `b``, for the expected part of a message.
pub(super) fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let list: Vec<String> = names.iter().map(|name| quoted(name.as_ref())).collect();
    match list.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", list.join(", ")),
    }
}

/// `; did you mean `name`?` for the nearest of `names`, or nothing when none is near.
pub(super) fn suggestion<S: AsRef<str>>(found: &str, names: &[S]) -> String {
    let length = found.chars().count();
    if length < 3 {
        // Everything short is near everything else: 3 is no typing error for 1.
        return String::new();
    }
    let limit = (length / 3).max(1);
    names
        .iter()
        .map(|name| (strsim::osa_distance(&found.to_lowercase(), &name.as_ref().to_lowercase()), name.as_ref()))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map_or_else(String::new, |(_, name)| format!("; did you mean {}?", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_shortens_and_escapes() {
        assert_eq!(quoted("a\u{1b}[31m"), "`a\\u{1b}[31m`");
        assert_eq!(quoted(&"é".repeat(61)), format!("`{}…`", "é".repeat(60)));
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let names = ["batch_sizes", "sequence_lengths"];
        assert_eq!(suggestion("bathc_size", &names), "; did you mean `batch_sizes`?");
        assert_eq!(suggestion("colour", &names), "");
        assert_eq!(suggestion("3", &["1", "2"]), "");
    }
}
