//! What a row was made from, by digest. In-toto and SLSA name it so in the provenance of a build: its materials.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::sha256;

/// The materials of a row besides its configuration and its weights. The worker that read the files states them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Materials {
    /// SHA-256 of the checkpoint's config.json; `None` of random weights.
    pub config_sha256: Option<String>,
    /// SHA-256 of each tokenizer file by its name; empty where none was read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokenizer: BTreeMap<String, String>,
    /// SHA-256 of the input's file; `None` where none was read.
    pub input_sha256: Option<String>,
    /// SHA-256 of each library of the backend by its name, as far as they were found.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub libraries: BTreeMap<String, String>,
    /// SHA-256 of the manifest's settings ([`crate::plan::Plan::protocol_sha256`]).
    pub settings_sha256: String,
    /// SHA-256 of the program's own arithmetic for the backend ([`crate::provenance::arithmetic`]).
    pub arithmetic_sha256: Option<String>,
}

/// A material that is another than it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// config.json.
    Config,
    /// The tokenizer file of this name, which may be new or gone.
    Tokenizer(String),
    /// The input's file.
    Input,
    /// The library of this name.
    Library(String),
    /// The manifest's settings.
    Settings,
    /// The program's own arithmetic.
    Arithmetic,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Changed::Config => f.write_str("config.json"),
            Changed::Tokenizer(name) | Changed::Library(name) => f.write_str(name),
            Changed::Input => f.write_str("the input's file"),
            Changed::Settings => f.write_str("the manifest's settings"),
            Changed::Arithmetic => f.write_str("the arithmetic of this program"),
        }
    }
}

impl Materials {
    /// What differs from the materials of another row of the same configuration. What one of the two has not read does not
    /// differ.
    pub fn changed(&self, now: &Materials) -> Vec<Changed> {
        let differ = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        let settings = self.settings_sha256 != now.settings_sha256;
        let of_tokenizer = match self.tokenizer.is_empty() || now.tokenizer.is_empty() {
            true => Vec::new(),
            false => differing(&self.tokenizer, &now.tokenizer),
        };
        let of_libraries = differing(&self.libraries, &now.libraries);
        let of_libraries = of_libraries
            .into_iter()
            .filter(|name| self.libraries.contains_key(name.as_str()) && now.libraries.contains_key(name.as_str()));
        let single = [
            (differ(&self.config_sha256, &now.config_sha256), Changed::Config),
            (differ(&self.input_sha256, &now.input_sha256), Changed::Input),
            (settings, Changed::Settings),
            (differ(&self.arithmetic_sha256, &now.arithmetic_sha256), Changed::Arithmetic),
        ];
        let single = single.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what);
        let mut found: Vec<Changed> = single
            .chain(of_tokenizer.into_iter().map(Changed::Tokenizer))
            .chain(of_libraries.map(Changed::Library))
            .collect();
        found.sort();
        found
    }

    /// SHA-256 over the tokenizer's files: over a line `DIGEST  NAME` of each, in the order of their names. `None` where none
    /// was read.
    pub fn tokenizer_sha256(&self) -> Option<String> {
        let lines: String = self.tokenizer.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        (!lines.is_empty()).then(|| sha256(lines.as_bytes()))
    }
}

/// Names whose digests differ, or that only one side has.
pub fn differing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn materials() -> Materials {
        let files = |names: [&str; 2]| names.map(|name| (name.to_owned(), format!("digest of {name}"))).into();
        Materials {
            config_sha256: Some("c".to_owned()),
            tokenizer: files(["tokenizer.json", "tokenizer_config.json"]),
            input_sha256: Some("i".to_owned()),
            libraries: files(["libnvrtc.so", "libcublasLt.so"]),
            settings_sha256: "s".to_owned(),
            arithmetic_sha256: Some("a".to_owned()),
        }
    }

    #[test]
    fn each_change_is_named_and_what_is_unknown_is_none() {
        let base = materials();
        assert_eq!(base.changed(&base), []);
        let other = || "other".to_owned();
        let named = |edit: &dyn Fn(&mut Materials)| {
            let mut now = materials();
            edit(&mut now);
            let (there, back) = (base.changed(&now), now.changed(&base));
            assert_eq!(there, back);
            there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(named(&|now| now.config_sha256 = Some(other())), "config.json");
        assert_eq!(named(&|now| now.input_sha256 = Some(other())), "the input's file");
        assert_eq!(named(&|now| now.settings_sha256 = other()), "the manifest's settings");
        assert_eq!(named(&|now| now.arithmetic_sha256 = Some(other())), "the arithmetic of this program");
        assert_eq!(named(&|now| drop(now.tokenizer.insert("tokenizer.json".to_owned(), other()))), "tokenizer.json");
        assert_eq!(named(&|now| drop(now.tokenizer.remove("tokenizer_config.json"))), "tokenizer_config.json");
        assert_eq!(named(&|now| drop(now.libraries.insert("libnvrtc.so".to_owned(), other()))), "libnvrtc.so");
        assert_eq!(named(&|now| drop(now.libraries.remove("libnvrtc.so"))), "", "not found on this machine");
        assert_eq!(named(&|now| now.tokenizer.clear()), "", "not read");
        assert_eq!(named(&|now| (now.config_sha256, now.input_sha256) = (None, None)), "");
    }

    /// Computed with sha256sum over the two lines.
    #[test]
    fn the_tokenizers_digest_is_over_names_and_bytes() {
        let digest = |pairs: &[(&str, &str)]| {
            let tokenizer = pairs.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect();
            Materials { tokenizer, ..materials() }.tokenizer_sha256()
        };
        let ab = digest(&[("b.json", "12"), ("a.json", "34")]).unwrap();
        assert_eq!(ab, "ac69d674048f5623ded4e5ee558178d760f1ca10b01a84573083e2a2c11f27ad");
        assert_ne!(digest(&[("b.json", "34"), ("a.json", "12")]).unwrap(), ab);
        assert_eq!(digest(&[]), None);
    }
}
