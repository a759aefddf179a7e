//! One line of an examples file: a JSON object that says what to run and what is right. A mistake is named with its cure.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// What a line gives the model.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::input) enum Given {
    /// A text, or a pair of texts.
    Text {
        /// The text; a question where the pair is its context.
        text: String,
        /// The second one.
        pair: Option<String>,
    },
    /// Token ids as they are.
    Ids {
        /// The ids.
        ids: Vec<u32>,
        /// Type of each; empty where all are of type 0.
        types: Vec<u32>,
    },
}

/// A label as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::input) enum Label {
    /// The name of a class.
    Name(String),
    /// A number: that of a class, or the answer of a regression.
    Number(f64),
}

/// A right answer within a text or a row of ids.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::input) enum Span {
    /// From the first character or token to the one behind the last.
    Range(usize, usize),
    /// The text of the answer.
    Text(String),
}

/// What is right.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::input) enum Right {
    /// Nothing is said.
    Unlabelled,
    /// `label`
    Label(Label),
    /// `labels`: those that hold, or one for each word or id; `None` where one is not scored.
    Labels(Vec<Option<Label>>),
    /// `spans`: the answers that are right; none where the text has no answer.
    Spans(Vec<Span>),
}

/// A line that could be read.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::input) struct Line {
    pub given: Given,
    pub right: Right,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Name(name) => f.write_str(name),
            Label::Number(number) => write!(f, "{number}"),
        }
    }
}

/// How a span is written.
const SPAN_WORDS: &str =
    "[first, behind the last] in characters, or the text of the answer; [] where there is no answer";

/// Every key, as a message lists them.
const KEYS: &str = "`text`, `text_pair`, `ids`, `token_types`, `label`, `labels` and `spans`";

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// The mistake and its cure.
    pub fn parse(text: &str) -> Result<Line, String> {
        let Keys(entries) = serde_json::from_str(text).map_err(|error| {
            format!("{error}; write one JSON object a line, like {{\"text\": \"a film\", \"label\": 1}}")
        })?;
        let mut keys = TakenKeys(entries);
        let given = given(&mut keys)?;
        let right = right(&mut keys)?;
        match keys.0.first() {
            Some((key, _)) => Err(format!("`{key}` is no key; keys are {KEYS}")),
            None => Ok(Line { given, right }),
        }
    }

    /// Which keys it has, as a message says it; lines of one file have the same.
    pub fn keys(&self) -> String {
        let given = match &self.given {
            Given::Text { pair: None, .. } => "`text`",
            Given::Text { pair: Some(_), .. } => "`text` and `text_pair`",
            Given::Ids { .. } => "`ids`",
        };
        let right = match &self.right {
            Right::Unlabelled => "no label",
            Right::Label(Label::Name(_)) => "a name as `label`",
            Right::Label(Label::Number(_)) => "a number as `label`",
            Right::Labels(_) => "`labels`",
            Right::Spans(_) => "`spans`",
        };
        format!("{given} and {right}")
    }
}

/// The keys of an object, each once.
struct Keys(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Keys;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if entries.iter().any(|(known, _)| *known == key) {
                        return Err(serde::de::Error::custom(format_args!("`{key}` stands twice")));
                    }
                    entries.push((key, value));
                }
                Ok(Keys(entries))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

/// The keys that nobody has taken yet.
struct TakenKeys(Vec<(String, Value)>);

impl TakenKeys {
    fn take(&mut self, key: &str) -> Option<Value> {
        let index = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(index).1)
    }

    /// A text that is not empty.
    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(Value::String(_)) => Err(format!("`{key}` is empty; write a text, or remove the line")),
            Some(other) => Err(format!("`{key}` is {}; write a text in quotes", shown(&other))),
        }
    }

    /// A list of whole numbers.
    fn ids(&mut self, key: &str) -> Result<Option<Vec<u32>>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = value.as_array().map(|ids| ids.iter().map(id).collect::<Option<Vec<_>>>());
        ids.flatten().map(Some).ok_or_else(|| {
            format!("`{key}` is {}; write a list of whole numbers from 0, like [101, 7592, 102]", shown(&value))
        })
    }
}

fn given(keys: &mut TakenKeys) -> Result<Given, String> {
    let (text, pair) = (keys.text("text")?, keys.text("text_pair")?);
    let (ids, types) = (keys.ids("ids")?, keys.ids("token_types")?);
    match (text, pair, ids, types) {
        (Some(text), pair, None, None) => Ok(Given::Text { text, pair }),
        (None, None, Some(ids), types) => {
            if ids.is_empty() {
                return Err("`ids` is empty; write the token ids, or remove the line".to_owned());
            }
            if let Some(types) = types.as_ref().filter(|types| types.len() != ids.len()) {
                return Err(format!("{} `token_types` for {} `ids`; write one for each", types.len(), ids.len()));
            }
            Ok(Given::Ids { ids, types: types.unwrap_or_default() })
        }
        (None, Some(_), ..) => Err("`text_pair` without `text`; write the first text as `text`".to_owned()),
        (.., None, Some(_)) => {
            Err("`token_types` without `ids`; remove the key: the tokenizer gives the tokens of texts their types"
                .to_owned())
        }
        (None, None, None, None) => Err("there is neither `text` nor `ids`; write one of them".to_owned()),
        (Some(_), _, Some(_), _) => Err("there are both `text` and `ids`; keep one of them".to_owned()),
    }
}

fn right(keys: &mut TakenKeys) -> Result<Right, String> {
    let found = [keys.take("label"), keys.take("labels"), keys.take("spans")];
    match found {
        [None, None, None] => Ok(Right::Unlabelled),
        [Some(one), None, None] => Ok(Right::Label(label("label", &one)?)),
        [None, Some(Value::Array(all)), None] => {
            let one = |value: &Value| if value.is_null() { Ok(None) } else { label("labels", value).map(Some) };
            Ok(Right::Labels(all.iter().map(one).collect::<Result<_, _>>()?))
        }
        [None, Some(other), None] => {
            Err(format!("`labels` is {}; write a list, like [\"joy\", \"anger\"]", shown(&other)))
        }
        [None, None, Some(Value::Array(all))] => Ok(Right::Spans(all.iter().map(span).collect::<Result<_, _>>()?)),
        [None, None, Some(other)] => Err(format!("`spans` is {}; write a list: {SPAN_WORDS}", shown(&other))),
        _ => Err("there are several of `label`, `labels` and `spans`; keep one of them".to_owned()),
    }
}

fn label(key: &str, value: &Value) -> Result<Label, String> {
    match value {
        Value::String(name) if !name.trim().is_empty() => Ok(Label::Name(name.trim().to_owned())),
        Value::Number(number) => number
            .as_f64()
            .filter(|number| number.is_finite())
            .map(Label::Number)
            .ok_or_else(|| format!("`{key}` is {number}, beyond the range of numbers; write a smaller one")),
        other => Err(format!("`{key}` has {}; write the name of a class in quotes, or a number", shown(other))),
    }
}

fn span(value: &Value) -> Result<Span, String> {
    let wrong = || format!("`spans` has {}; write {SPAN_WORDS}", shown(value));
    if let Value::String(text) = value {
        return if text.trim().is_empty() { Err(wrong()) } else { Ok(Span::Text(text.clone())) };
    }
    let bounds: Vec<usize> = match value {
        Value::Array(bounds) => bounds.iter().filter_map(Value::as_u64).map(|bound| bound as usize).collect(),
        _ => return Err(wrong()),
    };
    match (&bounds[..], value.as_array().map(Vec::len)) {
        ([start, end], Some(2)) if start < end => Ok(Span::Range(*start, *end)),
        _ => Err(wrong()),
    }
}

/// A value as a message quotes it.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, pair: Option<&str>) -> Given {
        Given::Text { text: text.to_owned(), pair: pair.map(str::to_owned) }
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let of = |line: &str| Line::parse(line).unwrap();
        let name = |name: &str| Label::Name(name.to_owned());
        let line = of(r#"{"text": "a", "text_pair": "b", "label": "entailment"}"#);
        assert_eq!(line, Line { given: text("a", Some("b")), right: Right::Label(name("entailment")) });
        let line = of(r#" {"label": -0.5, "ids": [2, 7, 3], "token_types": [0, 0, 1]} "#);
        let ids = Given::Ids { ids: vec![2, 7, 3], types: vec![0, 0, 1] };
        assert_eq!(line, Line { given: ids, right: Right::Label(Label::Number(-0.5)) });
        let line = of(r#"{"text": "New York", "labels": ["B", null, 2]}"#);
        let labels = vec![Some(name("B")), None, Some(Label::Number(2.0))];
        assert_eq!(line, Line { given: text("New York", None), right: Right::Labels(labels) });
        let line = of(r#"{"text": "who", "text_pair": "it was he", "spans": [[7, 9], "he"]}"#);
        assert_eq!(line.right, Right::Spans(vec![Span::Range(7, 9), Span::Text("he".to_owned())]));
        assert_eq!(of(r#"{"text": "a"}"#).right, Right::Unlabelled);
        assert_eq!(of(r#"{"text": "a", "spans": []}"#).right, Right::Spans(vec![]));
    }

    #[test]
    fn every_line_that_the_documentation_shows_is_read() {
        let page = include_str!("../../../experiments/README.md");
        let lines: Vec<&str> = page.split("| `{").skip(1).filter_map(|rest| Some(rest.split_once("}`")?.0)).collect();
        assert!(lines.len() >= 8, "{lines:?}");
        for line in lines {
            Line::parse(&format!("{{{line}}}")).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_cure() {
        for (line, said) in [
            ("good\t1", "write one JSON object a line"),
            (r#"["a"]"#, "write one JSON object a line"),
            (r#"{"text": "a""#, "write one JSON object a line"),
            (r#"{"text": "a", "text": "b"}"#, "`text` stands twice"),
            (r#"{"sentence": "a", "text": "a"}"#, "`sentence` is no key; keys are `text`"),
            (r#"{"label": 1}"#, "there is neither `text` nor `ids`"),
            (r#"{"text": "a", "ids": [1]}"#, "keep one of them"),
            (r#"{"text_pair": "a"}"#, "`text_pair` without `text`"),
            (r#"{"text": "a", "token_types": [0]}"#, "`token_types` without `ids`"),
            (r#"{"ids": [1, 2], "token_types": [0]}"#, "1 `token_types` for 2 `ids`"),
            (r#"{"ids": []}"#, "`ids` is empty"),
            (r#"{"ids": [1, -2]}"#, "whole numbers from 0"),
            (r#"{"ids": [1.5]}"#, "whole numbers from 0"),
            (r#"{"text": 3}"#, "write a text in quotes"),
            (r#"{"text": "  "}"#, "`text` is empty"),
            (r#"{"text": "a", "label": true}"#, "`label` has true; write the name of a class"),
            (r#"{"text": "a", "label": null}"#, "write the name of a class"),
            (r#"{"text": "a", "labels": "joy"}"#, "write a list"),
            (r#"{"text": "a", "label": 1, "labels": [1]}"#, "several of `label`"),
            (r#"{"text": "a", "spans": [[3, 3]]}"#, "`spans` has [3,3]"),
            (r#"{"text": "a", "spans": [[3]]}"#, "`spans` has [3]"),
            (r#"{"text": "a", "spans": {"start": 3}}"#, "`spans` is"),
        ] {
            let error = Line::parse(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
