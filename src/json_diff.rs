//! The differences between two JSON documents of the same shape, for messages that name only what differs.

use std::collections::BTreeSet;

use serde_json::Value;

/// One difference between two documents.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Path of the value: `machine.cpu.model`, `gpus[0].driver`.
    pub property: String,
    /// Text of the first document's value; `None` where it has none.
    pub first: Option<String>,
    /// Text of the second document's value; `None` where it has none.
    pub second: Option<String>,
}

/// All differences between two documents, in the order of their keys. Lists of texts are compared as sets: each side
/// shows the texts that only it has.
pub fn differences(first: &Value, second: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), first, second, &mut found);
    found
}

/// `measurement.warmup: 2, there 1; tolerances.fp16: none, there {}`
pub fn in_words(differences: &[Difference]) -> String {
    let value = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let named =
        |found: &Difference| format!("{}: {}, there {}", found.property, value(&found.first), value(&found.second));
    differences.iter().map(named).collect::<Vec<_>>().join("; ")
}

fn compare(property: String, first: &Value, second: &Value, found: &mut Vec<Difference>) {
    if first == second {
        return;
    }
    let below = |key: &str| if property.is_empty() { key.to_owned() } else { format!("{property}.{key}") };
    match (first, second) {
        (Value::Object(_), Value::Object(_) | Value::Null) | (Value::Null, Value::Object(_)) => {
            let keys: BTreeSet<&String> =
                [first, second].into_iter().filter_map(Value::as_object).flat_map(|object| object.keys()).collect();
            for key in keys {
                compare(below(key), &first[key], &second[key], found);
            }
        }
        (Value::Array(a), Value::Array(b)) if texts(a).is_some() && texts(b).is_some() => {
            let (a, b) = (texts(a).unwrap_or_default(), texts(b).unwrap_or_default());
            let only = |one: &BTreeSet<&str>, other: &BTreeSet<&str>| {
                let only: Vec<&str> = one.difference(other).copied().collect();
                (!only.is_empty()).then(|| only.join(" "))
            };
            found.push(Difference { property, first: only(&a, &b), second: only(&b, &a) });
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let at = |list: &[Value]| list.get(index).cloned().unwrap_or(Value::Null);
                compare(format!("{property}[{index}]"), &at(a), &at(b), found);
            }
        }
        _ => found.push(Difference { property, first: text(first), second: text(second) }),
    }
}

/// The texts of a list that holds only texts.
fn texts(list: &[Value]) -> Option<BTreeSet<&str>> {
    list.iter().map(Value::as_str).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(property: &str, first: Option<&str>, second: Option<&str>) -> Difference {
        Difference { property: property.to_owned(), first: first.map(str::to_owned), second: second.map(str::to_owned) }
    }

    #[test]
    fn only_what_differs_is_named() {
        let first = json!({"a": {"b": 1, "c": "x"}, "d": [{"e": 1}], "f": ["p", "q"], "same": [1, 2]});
        let second = json!({"a": {"b": 2, "c": "x"}, "d": [], "f": ["q", "r"], "g": true, "same": [1, 2]});
        let expected = [
            difference("a.b", Some("1"), Some("2")),
            difference("d[0].e", Some("1"), None),
            difference("f", Some("p"), Some("r")),
            difference("g", None, Some("true")),
        ];
        assert_eq!(differences(&first, &second), expected);
        assert!(differences(&first, &first).is_empty());
    }
}
