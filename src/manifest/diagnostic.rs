//! The mistakes of a manifest: all of them at once, in the order of the file.

use std::fmt;

use thiserror::Error;

use super::tree::{Node, YamlValue};

/// Diagnostics that are printed; further ones are only counted.
const MAX_PRINTED: usize = 100;
/// Characters of a found value that are quoted.
const MAX_QUOTED: usize = 60;

/// Line and column of a character, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl Position {
    /// The first character of a file.
    pub const START: Position = Position { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line and column of the mistake.
    pub position: Position,
    /// The key path, `precisions[2].classes.softmax`; empty for the document itself.
    pub path: String,
    /// What was found, what is allowed, and the cure.
    pub message: String,
}

impl Diagnostic {
    /// A diagnostic about the document as a whole.
    pub fn at(position: Position, message: impl Into<String>) -> Self {
        Diagnostic { position, path: String::new(), message: message.into() }
    }
}

/// Everything that is wrong with a manifest, ordered by position.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Diagnostics {
    file: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn new(file: &str, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.position);
        Diagnostics { file: file.to_owned(), list }
    }

    /// The diagnostics, ordered by position.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }
}

impl fmt::Display for Diagnostics {
    /// A line `file:line:column: key.path: message` for each diagnostic, and a last line with their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Diagnostic { position, path, message } in self.list.iter().take(MAX_PRINTED) {
            write!(f, "{}:{}:{}: ", self.file, position.line, position.column)?;
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

    pub fn push(&mut self, position: Position, path: &str, message: impl Into<String>) {
        self.list.push(Diagnostic { position, path: path.to_owned(), message: message.into() });
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
            YamlValue::Null => "nothing".to_owned(),
            YamlValue::List(items) if items.is_empty() => "an empty list".to_owned(),
            YamlValue::List(_) => "a list".to_owned(),
            YamlValue::Mapping(entries) if entries.is_empty() => "an empty mapping".to_owned(),
            YamlValue::Mapping(_) => "a mapping".to_owned(),
            YamlValue::Text(text) if text.is_empty() => "an empty text".to_owned(),
            YamlValue::Text(text) => format!("the text {}", quoted(text)),
            YamlValue::Bool(value) => format!("`{value}`"),
            YamlValue::Whole(value) => self.spelling(node).unwrap_or_else(|| format!("`{value}`")),
            YamlValue::Real(value) => self.spelling(node).unwrap_or_else(|| format!("`{value}`")),
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
        // All short names are near each other: 3 is no misspelling of 1.
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
