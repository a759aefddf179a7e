//! YAML text as a tree in which every key and value knows its position. Duplicate keys survive, so that they can be
//! reported together with everything else.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::diagnostic::{Diagnostic, Position};

/// Longest manifest that is read, bytes. The longest one in use is a hundredth of it.
pub const MAX_BYTES: u64 = 1 << 20;

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum YamlValue {
    Null,
    Bool(bool),
    /// Whole numbers of either sign; every limit in a manifest is far inside this range.
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(YamlKey, Node)>),
}

/// A value, its position, and the bytes of the source that spell it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub value: YamlValue,
    pub position: Position,
    /// Bytes of the source that spell a scalar.
    pub bytes: Option<Range<usize>>,
}

/// A key and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlKey {
    pub text: String,
    pub position: Position,
}

/// Parses one YAML document.
///
/// # Errors
/// The first syntax error, a second document, a text over [`MAX_BYTES`], or a document that expands beyond its budget.
pub(super) fn parse(text: &str) -> Result<Node, Diagnostic> {
    if text.len() as u64 > MAX_BYTES {
        return Err(Diagnostic::at(Position::START, too_large(text.len() as u64)));
    }
    serde_saphyr::from_str_with_options::<Node>(text, options()).map_err(|error| {
        let position = error.location().map_or(Position::START, Position::from);
        Diagnostic::at(position, format!("not a readable YAML document: {}", words(&error)))
    })
}

fn words(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::MultipleDocuments { .. } = error.without_snippet() {
        return "found a second document, expected one; give it a file of its own".to_owned();
    }
    // The line begins with the location already; the parser repeats it in words.
    let text = error.without_snippet().to_string();
    let text = text.split(" at line ").next().unwrap_or_default().lines().next().unwrap_or_default();
    match text.strip_prefix("budget breached: ") {
        Some(breach) => {
            format!("it nests, repeats or expands beyond what a manifest may ({breach}); write it out plainly")
        }
        None => text.to_owned(),
    }
}

/// The message for a file over the limit.
pub(super) fn too_large(bytes: u64) -> String {
    format!("found {bytes} bytes, expected at most {MAX_BYTES}; a manifest is a page or two of YAML")
}

/// A manifest needs few anchors and no deep nesting; whatever asks for more is a mistake or an attack.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000,
            max_nodes: 25_000,
            max_aliases: 32,
            max_anchors: 32,
            max_recorded_anchor_events: 10_000,
            max_depth: 16,
            flow_nesting_limit: 16,
            max_documents: 2,
            max_merge_keys: 0,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 32,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Position { line: location.line(), column: location.column() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<YamlValue>::deserialize(deserializer)?;
        let span = spanned.defined.span();
        let bytes = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(start, len)| Some(usize::try_from(start).ok()?..usize::try_from(start + len).ok()?));
        Ok(Node { value: spanned.value, position: spanned.referenced.into(), bytes })
    }
}

impl<'de> Deserialize<'de> for YamlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = YamlValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<YamlValue, E> {
        Ok(YamlValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<YamlValue, E> {
        Ok(YamlValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<YamlValue, E> {
        Ok(YamlValue::Whole(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<YamlValue, E> {
        Ok(YamlValue::Whole(i128::from(value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<YamlValue, E> {
        Ok(YamlValue::Whole(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<YamlValue, E> {
        Ok(YamlValue::Whole(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<YamlValue, E> {
        Ok(YamlValue::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<YamlValue, E> {
        Ok(YamlValue::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<YamlValue, E> {
        Ok(YamlValue::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<YamlValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Node>()? {
            items.push(item);
        }
        Ok(YamlValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = YamlKey { text: key.value, position: key.referenced.into() };
            entries.push((key, map.next_value::<Node>()?));
        }
        Ok(YamlValue::Mapping(entries))
    }
}
