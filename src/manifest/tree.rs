//! YAML text as a tree in which every key and value knows its place. Duplicate keys survive, so that they can be
//! reported together with everything else.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::diagnostic::{Diagnostic, Place};

/// Longest manifest that is read, bytes. The longest one in use is a hundredth of it.
pub const MAX_BYTES: u64 = 1 << 20;

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Whole numbers of either sign; every limit in a manifest is far inside.
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A value, where it stands, and which bytes of the source it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
    /// Bytes of the source that spell a scalar.
    pub bytes: Option<Range<usize>>,
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub text: String,
    pub place: Place,
}

/// Parses one YAML document.
///
/// # Errors
/// The first syntax error, a second document, a text over [`MAX_BYTES`], or a document that expands beyond its budget.
pub(super) fn parse(text: &str) -> Result<Node, Diagnostic> {
    if text.len() as u64 > MAX_BYTES {
        return Err(Diagnostic::at(Place::START, too_large(text.len() as u64)));
    }
    serde_saphyr::from_str_with_options::<Node>(text, options()).map_err(|error| {
        let place = error.location().map_or(Place::START, Place::from);
        Diagnostic::at(place, format!("not a readable YAML document: {}", words(&error)))
    })
}

fn words(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::MultipleDocuments { .. } = error.without_snippet() {
        return "found a second document, expected one; give it a file of its own".to_owned();
    }
    // The location stands in front of the line already; the parser repeats it in words.
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

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Place { line: location.line(), column: location.column() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let span = spanned.defined.span();
        let bytes = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(start, len)| Some(usize::try_from(start).ok()?..usize::try_from(start + len).ok()?));
        Ok(Node { value: spanned.value, place: spanned.referenced.into(), bytes })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(i128::from(value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Whole(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key { text: key.value, place: key.referenced.into() };
            entries.push((key, map.next_value::<Node>()?));
        }
        Ok(Value::Mapping(entries))
    }
}
