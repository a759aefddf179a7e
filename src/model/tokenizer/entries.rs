//! A JSON object in the order of its file, which decides the ids of new tokens.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::files::{FileError, read_text};
use crate::model::ModelError;
use crate::model::damage::instead_of_a_file;
use crate::model::keys::with_quoted_literals;

/// Keys and values in their order, each key once.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries(pub Vec<(String, Value)>);

impl Entries {
    /// Reads a JSON file; `None` if it does not exist.
    pub fn read(path: &Path) -> Result<Option<Entries>, ModelError> {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(FileError { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let failed = |message: String| ModelError::Tokenizer { path: path.to_owned(), message };
        if let Some(found) = instead_of_a_file(text.as_bytes()) {
            return Err(failed(format!("{found}; fetch it again")));
        }
        let saved = if path.ends_with("config.json") { "config" } else { "tokenizer" };
        let cure = format!("correct it, or save it with `{saved}.save_pretrained(folder)`");
        let read = serde_json::from_str(&with_quoted_literals(&text)).map(Some);
        read.map_err(|error| failed(format!("it is no JSON object ({error}); {cure}")))
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn set(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub fn take(&mut self, key: &str) -> Option<Value> {
        let index = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(index).1)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(key) = map.next_key::<String>()? {
                    // A template for chats may be long and decides no id.
                    match key.as_str() {
                        "chat_template" => drop(map.next_value::<IgnoredAny>()?),
                        _ => entries.set(&key, map.next_value()?),
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_named_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer_config.json");
        for (text, says) in [
            ("", "tokenizer_config.json: it is empty; fetch it again"),
            ("<html>", "it is a web page or XML"),
            ("[]", "it is no JSON object (invalid type: sequence"),
            ("{\"a\": 1", "save it with `tokenizer.save_pretrained(folder)`"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Entries::read(&path).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let path = folder.path().join("config.json");
        std::fs::write(&path, "[]").unwrap();
        let error = Entries::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("save it with `config.save_pretrained(folder)`"), "{error}");
    }
}
