//! Takes out of results what only the author's machine has: absolute paths, the user and the host. Folders that reviewers get
//! must not say whose they are.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::merge::Merged;
use crate::plan::Plan;
use crate::provenance::Environment;

/// Folders whose folders are named after users.
const HOMES: [&str; 2] = ["home", "Users"];

/// Names of hosts and users that say nothing.
const COMMON: [&str; 4] = ["localhost", "root", "user", "nobody"];

/// What must not be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anonymiser {
    users: Vec<String>,
    host: String,
}

impl Anonymiser {
    /// The user and the host of this process.
    pub fn of_this_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let home = std::env::home_dir().and_then(|home| Some(home.file_name()?.to_str()?.to_owned()));
        let users = [variable("USER"), variable("LOGNAME"), home];
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Anonymiser { users: users.into_iter().flatten().collect(), host }
    }

    /// Takes the author out of all that is published of joined results.
    ///
    /// # Errors
    /// The error of a conversion to JSON and back, a defect.
    pub fn remove_from(&self, merged: &mut Merged) -> Result<(), serde_json::Error> {
        let folder = self.relative(&merged.plan.base_dir);
        let from_manifest = format!("{}/", merged.plan.base_dir.display());
        let clean = |text: &str| match merged.plan.base_dir.is_absolute() {
            true => self.clean(&text.replace(&from_manifest, "")),
            false => self.clean(text),
        };
        for text in merged.rows.iter_mut().flat_map(|row| row.texts()) {
            *text = clean(text);
        }
        merged.environments = merged
            .environments
            .iter()
            .map(|(id, environment)| Ok((id.clone(), mapped::<Environment>(environment, &clean)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        merged.plan = Plan { base_dir: folder, ..mapped(&merged.plan, &clean)? };
        Ok(())
    }

    /// The manifest's folder, where it is given relative to the folder of the command and names no user.
    fn relative(&self, folder: &Path) -> PathBuf {
        let here = std::env::current_dir().unwrap_or_default();
        let folder = folder.strip_prefix(here).unwrap_or(folder);
        let plain = folder.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if plain && !self.names_a_user(&folder.to_string_lossy()) { folder.to_owned() } else { ".".into() }
    }

    /// `text` with the last part alone of every path that is absolute or names a user, and without the host.
    fn clean(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(|c| !is_boundary(c)) {
            let end = rest[start..].find(is_boundary).map_or(rest.len(), |length| start + length);
            out += &rest[..start];
            out += &self.clean_word(&rest[start..end]);
            rest = &rest[end..];
        }
        out + rest
    }

    fn clean_word(&self, word: &str) -> String {
        // A sentence may go on after a path: `/a/b.json: not found`.
        let path = word.trim_end_matches(['.', ':']);
        let after = &word[path.len()..];
        let local = path.strip_prefix("file://").unwrap_or(path);
        let absolute = local.starts_with('/') || local.starts_with("~");
        if local.len() > 1 && local.contains('/') && (absolute || self.names_a_user(local)) {
            let last = local.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            return if self.is_user(last) { format!("[folder]{after}") } else { self.without_host(last) + after };
        }
        self.without_host(word)
    }

    fn names_a_user(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        parts.windows(2).any(|pair| HOMES.contains(&pair[0]) && !pair[1].is_empty())
            || parts.iter().any(|part| self.is_user(part))
    }

    fn is_user(&self, name: &str) -> bool {
        !COMMON.contains(&name) && self.users.iter().any(|user| user == name)
    }

    fn without_host(&self, word: &str) -> String {
        if self.host.len() < 3 || COMMON.contains(&self.host.as_str()) {
            return word.to_owned();
        }
        let named = |part: &str| part.trim_matches(|c: char| !c.is_alphanumeric()) == self.host;
        let parts = word
            .split_inclusive('@')
            .map(|part| if named(part) { part.replace(&self.host, "[host]") } else { part.to_owned() });
        parts.collect()
    }
}

/// Whether a path in a sentence ends before this character.
fn is_boundary(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '`' | '"' | '\'' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '=' | '|')
}

/// The value with every text of its JSON form mapped.
fn mapped<T: Serialize + DeserializeOwned>(value: &T, map: &impl Fn(&str) -> String) -> Result<T, serde_json::Error> {
    fn visit(value: &mut Value, map: &impl Fn(&str) -> String) {
        match value {
            Value::String(text) => *text = map(text),
            Value::Array(items) => items.iter_mut().for_each(|item| visit(item, map)),
            Value::Object(entries) => entries.values_mut().for_each(|entry| visit(entry, map)),
            _ => {}
        }
    }
    let mut document = serde_json::to_value(value)?;
    visit(&mut document, map);
    serde_json::from_value(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymiser() -> Anonymiser {
        Anonymiser { users: vec!["jdoe".to_owned()], host: "node-17".to_owned() }
    }

    #[test]
    fn paths_keep_their_last_part() {
        let cases = [
            ("/home/jdoe/model/config.json: No such file", "config.json: No such file"),
            ("cannot open `/scratch/x/libcuda.so.1`; try again", "cannot open `libcuda.so.1`; try again"),
            ("../home/somebody/model/config.json", "config.json"),
            ("data/jdoe/dev.tsv:3: expected", "dev.tsv:3: expected"),
            ("see ~jdoe/x and file:///etc/y.", "see x and y."),
            ("/home/jdoe", "[folder]"),
            ("killed on node-17, by jdoe@node-17", "killed on [host], by jdoe@[host]"),
        ];
        for (text, expected) in cases {
            assert_eq!(anonymiser().clean(text), expected);
        }
    }

    #[test]
    fn what_names_nobody_stays() {
        for text in [
            "model/config.json: No such file or directory (os error 2)",
            "1/sqrt(head size), 8/8 rows and/or more",
            "https://example.org/a/b, google-bert/bert-base-uncased at 86b5e0934494",
            "layer.3/mlp/fc2 of ../models/x",
            "",
        ] {
            assert_eq!(anonymiser().clean(text), text);
        }
        let relative = |folder: &str| anonymiser().relative(Path::new(folder));
        assert_eq!(relative("experiments"), Path::new("experiments"));
        for folder in ["/tmp/x", "../x", "home/somebody", "data/jdoe"] {
            assert_eq!(relative(folder), Path::new("."), "{folder}");
        }
    }
}
