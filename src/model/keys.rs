//! The keys of a config.json, read one by one, so that every refusal names its key and says what may stand there.

use serde_json::{Map, Value};

use super::damage::instead_of_a_file;

/// The object that a config.json holds.
pub(super) struct ConfigKeys(Map<String, Value>);

/// Numbers that Python's `json.dump` writes and JSON does not have.
const LITERALS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// How much of a value a message quotes, characters.
const QUOTED: usize = 40;

impl ConfigKeys {
    /// Parses the text of a file. Python's literals for numbers that are not finite are strings here, which no number may be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Some(found) = instead_of_a_file(text.as_bytes()) {
            return Err(format!("{found}; fetch it again"));
        }
        match serde_json::from_str(&with_quoted_literals(text)) {
            Ok(Value::Object(keys)) => Ok(ConfigKeys(keys)),
            Ok(_) => Err("it is no JSON object; save it with `config.save_pretrained(folder)`".to_owned()),
            Err(error) => Err(format!("it is no JSON ({error}); correct it or fetch it again")),
        }
    }

    /// The value of a key; `None` where it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A whole number from 1 to `most` under the first of its names that the file has, `default` where it has none.
    pub fn size(&self, names: &[&str], default: usize, most: usize) -> Result<usize, String> {
        let Some((key, value)) = names.iter().find_map(|name| self.0.get_key_value(*name)) else { return Ok(default) };
        match whole(value) {
            Some(size) if (1.0..=most as f64).contains(&size) => Ok(size as usize),
            _ => {
                let expected = format!("a whole number from 1 to {most}");
                Err(refusal(key, value, &expected, &default.to_string()))
            }
        }
    }

    /// A positive finite number.
    pub fn positive(&self, key: &str, default: f64) -> Result<f64, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(value) => match value.as_f64().filter(|number| number.is_finite() && *number > 0.0) {
                Some(number) => Ok(number),
                None => Err(refusal(key, value, "a positive number", &format!("{default:e}"))),
            },
        }
    }

    /// A finite number that is not negative.
    pub fn not_negative(&self, key: &str, default: f64) -> Result<f64, String> {
        match self.0.get(key).map(|value| (value, value.as_f64())) {
            None => Ok(default),
            Some((_, Some(number))) if number.is_finite() && number >= 0.0 => Ok(number),
            Some((value, _)) => Err(refusal(key, value, "a number that is not negative", &format!("{default:e}"))),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(refusal(key, value, "true or false", &default.to_string())),
        }
    }

    /// A string.
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(value) => Err(refusal(key, value, "a string", default)),
        }
    }

    /// A token id, or the first of a list of them; `None` of null and of an empty list.
    pub fn token(&self, key: &str, default: i64) -> Result<Option<i64>, String> {
        self.optional_token(key, Some(default))
    }

    /// As [`ConfigKeys::token`], of a key whose default may be null.
    pub fn optional_token(&self, key: &str, default: Option<i64>) -> Result<Option<i64>, String> {
        let value = match self.0.get(key) {
            None => return Ok(default),
            Some(Value::Array(ids)) => match ids.first() {
                None => return Ok(None),
                Some(first) => first,
            },
            Some(Value::Null) => return Ok(None),
            Some(one) => one,
        };
        match whole(value) {
            Some(id) => Ok(Some(id as i64)),
            None => {
                let default = default.map_or_else(|| "null".to_owned(), |id| id.to_string());
                Err(refusal(key, value, "a token id, null or a list of ids", &default))
            }
        }
    }

    /// A list of strings; empty where the key is absent or null. One string is a list of it.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>, String> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let strings: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
        strings.ok_or_else(|| format!("{key} is {}; write a list of strings, or leave the key out", quoted(value)))
    }
}

/// A whole number, `12.0` included. Beyond 2^53 it is rounded, which no size and no id reaches.
fn whole(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.fract() == 0.0)
}

fn refusal(key: &str, value: &Value, expected: &str, default: &str) -> String {
    format!("{key} is {}; write {expected}, or leave the key out for transformers' default, {default}", quoted(value))
}

/// A value as the file has it, cut to a length that a message bears.
pub(super) fn quoted(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// The text with [`LITERALS`] outside of strings as strings.
pub(super) fn with_quoted_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut inside) = (text, false);
    while let Some(next) = rest.chars().next() {
        let literal = LITERALS.iter().find(|literal| !inside && rest.starts_with(**literal));
        let taken = match next {
            '\\' if inside => rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end),
            _ => literal.map_or(next.len_utf8(), |literal| literal.len()),
        };
        inside ^= next == '"';
        let mark = if literal.is_some() { "\"" } else { "" };
        out.extend([mark, &rest[..taken], mark]);
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> ConfigKeys {
        ConfigKeys::parse(text).unwrap()
    }

    #[test]
    fn a_size_is_a_whole_number_however_it_is_written() {
        let size = |value: &str| keys(&format!("{{\"n\": {value}}}")).size(&["other", "n"], 7, 1000);
        for (value, expected) in [("12", 12), ("12.0", 12), ("1e2", 100), ("1000", 1000)] {
            assert_eq!(size(value), Ok(expected), "{value}");
        }
        for value in
            ["0", "-3", "1001", "1.5", "null", "true", "\"12\"", "[12]", "{}", "NaN", "-Infinity", &"9".repeat(40)]
        {
            let error = size(value).unwrap_err();
            let cure = "write a whole number from 1 to 1000, or leave the key out for transformers' default, 7";
            assert!(error.starts_with("n is `") && error.ends_with(cure), "{error}");
        }
        assert_eq!(keys("{}").size(&["n"], 7, 1000), Ok(7));
        assert_eq!(keys(r#"{"a": 1, "b": 2}"#).size(&["b", "a"], 7, 1000), Ok(2), "the first name that is there");
    }

    #[test]
    fn pythons_literals_are_refused_by_key_and_do_no_harm_elsewhere() {
        let text =
            "\u{feff}{\"rate\": NaN, \"list\": [-Infinity, Infinity], \"name\": \"a \\\"NaN\\\" \\\\\", \"eps\": NaN}";
        let keys = keys(text);
        assert_eq!(keys.text("name", ""), Ok("a \"NaN\" \\"));
        let error = keys.positive("eps", 1e-12).unwrap_err();
        assert_eq!(
            error,
            "eps is `\"NaN\"`; write a positive number, or leave the key out for transformers' default, 1e-12"
        );
    }

    #[test]
    fn other_types_are_refused_by_key() {
        let keys = keys(r#"{"a": 0, "b": "x", "c": ["x", 1], "d": null, "e": [[1]]}"#);
        assert!(keys.flag("a", true).unwrap_err().starts_with("a is `0`; write true or false"));
        assert!(keys.text("a", "gelu").unwrap_err().starts_with("a is `0`; write a string"));
        assert!(keys.token("b", 0).unwrap_err().starts_with("b is `\"x\"`; write a token id"));
        assert!(keys.token("e", 0).unwrap_err().starts_with("e is `[1]`; write a token id"));
        assert!(keys.strings("c").unwrap_err().starts_with("c is `[\"x\",1]`; write a list of strings"));
        assert_eq!((keys.strings("b"), keys.strings("d")), (Ok(vec!["x"]), Ok(vec![])));
        assert_eq!((keys.token("d", 5), keys.token("z", 5)), (Ok(None), Ok(Some(5))));
    }

    #[test]
    fn what_is_no_json_object_is_named() {
        for (text, says) in [
            ("", "it is empty"),
            ("[1]", "it is no JSON object"),
            ("{\"a\": 1", "it is no JSON (EOF"),
            ("<!DOCTYPE html>", "it is a web page"),
            ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ] {
            let error = ConfigKeys::parse(text).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }
}
