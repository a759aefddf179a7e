//! Typed reading of a tree. A reader that finds something wrong reports it and returns `None`; reading goes on, so that
//! one pass finds every mistake. A manifest is accepted only when nothing was reported.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::diagnostic::{Position, Report, one_of, quoted, suggestion};
use super::tree::{Node, YamlKey, YamlValue};

/// A value together with where it came from, for checks that need several parts of the manifest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Positioned<T> {
    pub value: T,
    pub position: Position,
    pub path: String,
}

/// A node and the key path that leads to it.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'t> {
    pub node: &'t Node,
    pub path: String,
}

/// The permitted range of a real number, and its wording in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct RealRange {
    /// Whether a finite number is permitted.
    pub contains: fn(f64) -> bool,
    /// `a number of seconds above 0`
    pub words: &'static str,
}

impl<'t> Cursor<'t> {
    pub fn root(node: &'t Node) -> Self {
        Cursor { node, path: String::new() }
    }

    /// A value with this node's position.
    pub fn locate<T>(&self, value: T) -> Positioned<T> {
        Positioned { value, position: self.node.position, path: self.path.clone() }
    }

    /// Reports `found ..., expected ...; cure`.
    pub fn mismatch(&self, report: &mut Report<'_>, expected: &str, cure: &str) {
        let found = report.found(self.node);
        let cure = if cure.is_empty() { String::new() } else { format!("; {cure}") };
        report.push(self.node.position, &self.path, format!("found {found}, expected {expected}{cure}"));
    }

    /// Reports `message` about this node.
    pub fn reject(&self, report: &mut Report<'_>, message: impl Into<String>) {
        report.push(self.node.position, &self.path, message);
    }

    /// The items of a list that may not be empty.
    pub fn items(&self, report: &mut Report<'_>, expected: &str, example: &str) -> Option<Vec<Cursor<'t>>> {
        match &self.node.value {
            YamlValue::List(items) if !items.is_empty() => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, node)| Cursor { node, path: format!("{}[{i}]", self.path) })
                    .collect(),
            ),
            _ => {
                self.mismatch(report, expected, &format!("write `{example}`"));
                None
            }
        }
    }

    /// The entries of a mapping whose keys the author chooses. Duplicate keys and an empty mapping are reported.
    pub fn named_entries(&self, report: &mut Report<'_>, expected: &str) -> Option<Vec<(&'t YamlKey, Cursor<'t>)>> {
        match &self.node.value {
            YamlValue::Mapping(entries) if !entries.is_empty() => Some(self.distinct(report, entries)),
            _ => {
                self.mismatch(report, expected, "");
                None
            }
        }
    }

    /// The items of a list; none for anything else. Reports nothing.
    pub fn readable_items(&self) -> Vec<Cursor<'t>> {
        let YamlValue::List(items) = &self.node.value else { return Vec::new() };
        let item = |(i, node)| Cursor { node, path: format!("{}[{i}]", self.path) };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a mapping; none for anything else. Reports nothing.
    pub fn readable_entries(&self) -> Vec<(&'t YamlKey, Cursor<'t>)> {
        let YamlValue::Mapping(entries) = &self.node.value else { return Vec::new() };
        entries.iter().map(|(key, node)| (key, Cursor { node, path: join(&self.path, &key.text) })).collect()
    }

    /// The keys of a mapping; none for anything else.
    pub fn keys(&self) -> Vec<&'t str> {
        match &self.node.value {
            YamlValue::Mapping(entries) => entries.iter().map(|(key, _)| key.text.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    fn distinct(&self, report: &mut Report<'_>, entries: &'t [(YamlKey, Node)]) -> Vec<(&'t YamlKey, Cursor<'t>)> {
        let mut seen: BTreeMap<&str, Position> = BTreeMap::new();
        let mut kept = Vec::new();
        for (key, node) in entries {
            let path = join(&self.path, &key.text);
            if let Some(first) = seen.get(key.text.as_str()) {
                report.push(key.position, &path, format!("found this key a second time, first at {first}; keep one"));
                continue;
            }
            seen.insert(&key.text, key.position);
            kept.push((key, Cursor { node, path }));
        }
        kept
    }

    /// A text that is not blank.
    pub fn text(&self, report: &mut Report<'_>, expected: &str) -> Option<&'t str> {
        match &self.node.value {
            YamlValue::Text(text) if !text.trim().is_empty() => Some(text.trim()),
            YamlValue::Whole(_) | YamlValue::Real(_) | YamlValue::Bool(_) => {
                self.mismatch(report, expected, "YAML reads this as a number or a truth value, so put it in quotes");
                None
            }
            _ => {
                self.mismatch(report, expected, "");
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn whole(&self, report: &mut Report<'_>, range: RangeInclusive<usize>) -> Option<usize> {
        if let YamlValue::Whole(value) = self.node.value
            && let Ok(value) = usize::try_from(value)
            && range.contains(&value)
        {
            return Some(value);
        }
        self.mismatch(report, &format!("a whole number from {} to {}", range.start(), range.end()), "");
        None
    }

    /// A seed: any whole number of 64 bits.
    pub fn seed(&self, report: &mut Report<'_>) -> Option<u64> {
        if let YamlValue::Whole(value) = self.node.value
            && let Ok(value) = u64::try_from(value)
        {
            return Some(value);
        }
        self.mismatch(report, "a seed, a whole number from 0 to 18446744073709551615", "");
        None
    }

    /// A finite number in a range.
    pub fn real(&self, report: &mut Report<'_>, range: RealRange) -> Option<f64> {
        let value = match self.node.value {
            YamlValue::Real(value) => Some(value),
            YamlValue::Whole(value) => Some(value as f64),
            _ => None,
        };
        let value = value.filter(|value| value.is_finite() && (range.contains)(*value));
        if value.is_none() {
            self.mismatch(report, range.words, "");
        }
        value
    }

    /// `true` or `false`.
    pub fn flag(&self, report: &mut Report<'_>) -> Option<bool> {
        if let YamlValue::Bool(value) = self.node.value {
            return Some(value);
        }
        self.mismatch(report, "`true` or `false`", "");
        None
    }

    /// One of a set of names.
    pub fn choice<T: Copy>(&self, report: &mut Report<'_>, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        if let YamlValue::Text(text) = &self.node.value {
            if let Some((_, value)) = choices.iter().find(|(name, _)| name == text) {
                return Some(*value);
            }
            let found = report.found(self.node);
            self.reject(report, format!("found {found}, expected {}{}", one_of(&names), suggestion(text, &names)));
        } else {
            self.mismatch(report, &one_of(&names), "");
        }
        None
    }

    /// A lower-case hexadecimal digest of `digits` digits.
    pub fn hex(&self, report: &mut Report<'_>, digits: usize, what: &str) -> Option<String> {
        let expected = format!("{what}, {digits} lower-case hexadecimal digits");
        let text = self.text(report, &expected)?;
        if text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Some(text.to_owned());
        }
        self.mismatch(report, &expected, &format!("it has {} characters", text.chars().count()));
        None
    }
}

/// The entries of a mapping whose keys are fixed. Opening it reports unknown and duplicate keys.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    position: Position,
    path: String,
    entries: Vec<(&'t YamlKey, Cursor<'t>)>,
}

impl<'t> Fields<'t> {
    /// Opens `cursor` as a mapping with these keys; anything else is reported as not being `expected`.
    pub fn open<S: AsRef<str>>(
        cursor: &Cursor<'t>,
        report: &mut Report<'_>,
        expected: &str,
        allowed: &[S],
    ) -> Option<Self> {
        let YamlValue::Mapping(entries) = &cursor.node.value else {
            cursor.mismatch(report, expected, "");
            return None;
        };
        let mut entries = cursor.distinct(report, entries);
        entries.retain(|(key, entry)| {
            let known = allowed.iter().any(|name| name.as_ref() == key.text);
            if !known {
                let message =
                    format!("found an unknown key, expected {}{}", one_of(allowed), suggestion(&key.text, allowed));
                report.push(key.position, &entry.path, message);
            }
            known
        });
        Some(Fields { position: cursor.node.position, path: cursor.path.clone(), entries })
    }

    /// The value of a key, if given.
    pub fn optional(&self, key: &str) -> Option<&Cursor<'t>> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(_, cursor)| cursor)
    }

    /// The value of a key that must be given; `example` is a value to write.
    pub fn required(&self, report: &mut Report<'_>, key: &str, example: &str) -> Option<&Cursor<'t>> {
        let found = self.optional(key);
        if found.is_none() {
            report.push(self.position, &join(&self.path, key), format!("missing; add it, like `{key}: {example}`"));
        }
        found
    }
}

/// `path.key`, the key in quotes where it is not a plain word.
fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { quoted(key).replace('`', "\"") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Checks a name that rows, tables and folders carry.
pub(super) fn valid_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// What [`valid_name`] requires.
pub(super) const NAME_WORDS: &str =
    "a name of at most 64 letters, digits, dots, dashes and underscores that starts with a letter or digit";
