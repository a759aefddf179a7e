//! Takes out of results what only the author's machine has: absolute paths, the user and the host. Folders that reviewers get
//! must not say whose they are.
//!
//! Paths that the plan or this process knows are replaced whole ([`super::known_paths`]). Of any other path, a word that begins
//! like one is cut to its last part. Users are that of this process, and whoever has a home in a path of the results, which
//! another machine may have measured. The names of users and host are replaced wherever they stand as whole words. They stay where
//! they are ordinary words ([`ORDINARY`]) or words that the results have anyway: keys, names of columns and names that the
//! manifest gives. Nobody is known by such a word, and replacing it would change what the results say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::known_paths::{Kept, KnownPath, KnownPaths, TextPiece, is_plain};
use super::users::{leads_home, users_of};
use crate::merge::{Input, Merged};
use crate::plan::Plan;
use crate::provenance::Environment;
use crate::store::schema::ResultRow;

/// Names of hosts and users that say nothing.
const ORDINARY: [&str; 20] = [
    "admin",
    "build",
    "debian",
    "docker",
    "guest",
    "host",
    "home",
    "localhost",
    "main",
    "node",
    "nobody",
    "root",
    "runner",
    "server",
    "test",
    "ubuntu",
    "user",
    "users",
    "work",
    "worker",
];

/// A shorter name is part of many texts.
const SHORTEST_NAME: usize = 3;

/// Keys of a plan under which people write sentences and paths; all other texts are names.
const FREE_TEXT: [&str; 5] = ["question", "reason", "path", "base_dir", "repository"];

/// What must not be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anonymiser {
    users: Vec<String>,
    hosts: Vec<String>,
    /// Words of the results that are no names of people or machines.
    ordinary: BTreeSet<String>,
    known: KnownPaths,
}

impl Anonymiser {
    /// The user, the host and the paths of this process, and the users and paths of these folders' results.
    pub fn of(inputs: &mut [Input], dirs: &[PathBuf]) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let home = std::env::home_dir().and_then(|home| Some(home.file_name()?.to_str()?.to_owned()));
        let own = [variable("USER"), variable("LOGNAME"), home].into_iter().flatten();
        let users: BTreeSet<String> = own.chain(inputs.iter_mut().flat_map(users_of)).collect();
        let plans: Vec<&Plan> = inputs.iter().map(|input| &input.data.plan).collect();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let named = Self::named(users.into_iter(), [Some(host), variable("HOSTNAME")].into_iter().flatten());
        let documents = plans.iter().map(|plan| serde_json::to_value(plan).unwrap_or_default());
        let mut ordinary: BTreeSet<String> = documents.flat_map(|document| words("", &document)).collect();
        ordinary.extend(ResultRow::columns().iter().flat_map(|column| parts(column.name)));
        let known = KnownPaths::of(&plans, dirs, |path| named.is_private(path));
        Anonymiser { ordinary, known, ..named }
    }

    /// Users, and hosts by their whole and their short names.
    fn named(users: impl Iterator<Item = String>, hosts: impl Iterator<Item = String>) -> Self {
        let telling = |name: &String| !name.is_empty() && !ORDINARY.contains(&name.as_str());
        let hosts = hosts.flat_map(|host| {
            let short = host.split('.').next().unwrap_or_default().to_owned();
            [host, short]
        });
        Anonymiser {
            users: users.filter(telling).collect(),
            hosts: hosts.filter(telling).collect(),
            ordinary: BTreeSet::new(),
            known: KnownPaths::default(),
        }
    }

    /// Takes the author out of all that is published of joined results.
    ///
    /// # Errors
    /// The error of a conversion to JSON and back, a defect.
    pub fn remove_from(&self, merged: &mut Merged) -> Result<(), serde_json::Error> {
        let folder = self.relative(&merged.plan.base_dir);
        let clean = |text: &str| self.clean(text);
        for text in merged.rows.iter_mut().flat_map(|row| row.texts()) {
            *text = clean(text);
        }
        merged.environments = merged
            .environments
            .iter()
            .map(|(id, environment)| Ok((id.clone(), mapped::<Environment>(environment, &clean)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        merged.plan = Plan { base_dir: folder, ..mapped(&merged.plan, &clean)? };
        merged.notes.extend(self.stays());
        let plan = serde_json::to_string(&merged.plan)?;
        let texts = merged.rows.iter_mut().flat_map(|row| row.texts()).map(|text| text.as_str()).chain([plan.as_str()]);
        let short = self.users.iter().chain(&self.hosts).filter(|name| name.len() < SHORTEST_NAME);
        let left: BTreeSet<&String> =
            texts.flat_map(|text| short.clone().filter(|name| has_word(text, name))).collect();
        merged.notes.extend(left.into_iter().map(|name| {
            format!("`{name}` may name this machine or a user, but is too short to be replaced, so it stays in these results")
        }));
        Ok(())
    }

    /// Which name stays where it is a word of its own.
    fn stays(&self) -> Option<String> {
        let name = self.users.iter().chain(&self.hosts).find(|name| self.ordinary.contains(*name))?;
        Some(format!("`{name}` names this machine or a user, and is a word of these results, so it stays in them"))
    }

    /// The manifest's folder, where it is given relative to the folder of the command and names no user.
    fn relative(&self, folder: &Path) -> PathBuf {
        let here = std::env::current_dir().unwrap_or_default();
        let folder = folder.strip_prefix(here).unwrap_or(folder);
        if is_plain(folder) && !self.is_private(&folder.to_string_lossy()) { folder.to_owned() } else { ".".into() }
    }

    /// `text` with the last part alone of every path that is absolute or names a user, and without the names of user and
    /// host.
    pub fn clean(&self, text: &str) -> String {
        let mut out = String::new();
        let mut path: Option<&KnownPath> = None;
        let text = self.cut_quoted(text);
        for piece in self.known.split(&text) {
            match (piece, path.take()) {
                (TextPiece::Text(text), Some(known)) => out += &self.clean_after(known, text),
                (TextPiece::Text(text), None) => out += &self.clean_sentence(text),
                (TextPiece::Path(known), _) => path = Some(known),
                (TextPiece::Torn, _) => {}
            }
        }
        self.without_names(out)
    }

    /// `text` with the last part alone of every absolute path between backticks, which may hold spaces.
    fn cut_quoted(&self, text: &str) -> String {
        let mut parts: Vec<&str> = text.split('`').collect();
        let closed = parts.len() / 2 * 2;
        for part in parts[..closed].iter_mut().skip(1).step_by(2).filter(|part| part.starts_with('/')) {
            if !self.known.begin(part) {
                *part = part.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            }
        }
        parts.join("`")
    }

    /// A known path and the text after it, which may go on with a path below it.
    fn clean_after(&self, known: &KnownPath, text: &str) -> String {
        let (below, after) = text.split_at(text.find(is_boundary).unwrap_or(text.len()));
        let after = self.clean_sentence(after);
        let Some(inside) = below.strip_prefix('/').filter(|inside| !inside.is_empty()) else {
            let shown = if known.kept == Kept::Rest { ".".to_owned() } else { self.last_part(&known.text) };
            return shown + below + &after;
        };
        match known.kept {
            Kept::LastPart => self.last_part(&known.text) + below + &after,
            Kept::Rest => self.clean_word(inside) + &after,
            Kept::LastPartOfRest => self.clean_word(below) + &after,
        }
    }

    fn clean_sentence(&self, text: &str) -> String {
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
        if local.len() > 1 && local.contains(SEPARATORS) && self.is_private(local) {
            return self.last_part(local) + after;
        }
        word.to_owned()
    }

    /// The last part of a path, unless it is a user.
    fn last_part(&self, path: &str) -> String {
        let last = path.trim_end_matches(SEPARATORS).rsplit(SEPARATORS).next().unwrap_or_default();
        if self.is_user(last) { "[folder]".to_owned() } else { last.to_owned() }
    }

    /// Whether a path is absolute on any system or names a user.
    fn is_private(&self, path: &str) -> bool {
        let drive = matches!(path.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
        let absolute = drive || path.starts_with(['/', '~']) || path.starts_with(r"\\");
        absolute || leads_home(path) || path.split(SEPARATORS).any(|part| self.is_user(part))
    }

    fn is_user(&self, name: &str) -> bool {
        self.users.iter().any(|user| user == name)
    }

    fn without_names(&self, text: String) -> String {
        let users = self.users.iter().map(|name| (name, "[user]"));
        let mut names: Vec<_> = users.chain(self.hosts.iter().map(|name| (name, "[host]"))).collect();
        names.retain(|(name, _)| name.len() >= SHORTEST_NAME && !self.ordinary.contains(*name));
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.into_iter().fold(text, |text, (name, mark)| replace_word(&text, name, mark))
    }
}

/// Separators of paths on any system.
pub(super) const SEPARATORS: [char; 2] = ['/', '\\'];

/// `text` with a mark for each occurrence of `name` between characters that are no letters or digits.
fn replace_word(text: &str, name: &str, mark: &str) -> String {
    let mut out = String::new();
    let mut from = 0;
    for (start, found) in text.match_indices(name) {
        let end = start + found.len();
        let apart = |neighbour: Option<char>| !neighbour.is_some_and(char::is_alphanumeric);
        if apart(text[..start].chars().next_back()) && apart(text[end..].chars().next()) {
            out += &text[from..start];
            out += mark;
            from = end;
        }
    }
    out + &text[from..]
}

fn has_word(text: &str, name: &str) -> bool {
    replace_word(text, name, "") != text
}

/// The words of a name, like those of `max_samples`.
fn parts(name: &str) -> impl Iterator<Item = String> + '_ {
    let whole = std::iter::once(name);
    let parts = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    whole.chain(parts).map(str::to_owned)
}

/// The words of a document's keys and names.
fn words(key: &str, value: &Value) -> BTreeSet<String> {
    let below = |entries: &mut dyn Iterator<Item = (&str, &Value)>| -> BTreeSet<String> {
        entries.flat_map(|(key, value)| words(key, value)).collect()
    };
    let mut found: BTreeSet<String> = match value {
        Value::String(text) if !FREE_TEXT.contains(&key) => parts(text).collect(),
        Value::Array(items) => below(&mut items.iter().map(|item| (key, item))),
        Value::Object(entries) => below(&mut entries.iter().map(|(key, value)| (key.as_str(), value))),
        _ => BTreeSet::new(),
    };
    found.extend(parts(key));
    found
}

/// Whether a path in a sentence ends before this character.
pub(super) fn is_boundary(c: char) -> bool {
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
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter();
        let named = Anonymiser::named(names(&["jdoe", "max"]), names(&["node-17.example.org"]));
        Anonymiser { ordinary: words("max_samples", &Value::Null), ..named }
    }

    #[test]
    fn paths_keep_their_last_part() {
        let cases = [
            ("/home/jdoe/model/config.json: No such file", "config.json: No such file"),
            ("cannot open `/scratch/x/libcuda.so.1`; try again", "cannot open `libcuda.so.1`; try again"),
            ("../home/somebody/model/config.json", "config.json"),
            ("../../root/secret/config.json: no, root/leaf", "config.json: no, root/leaf"),
            ("data/jdoe/dev.tsv:3: expected", "dev.tsv:3: expected"),
            ("see ~jdoe/x and file:///etc/y.", "see x and y."),
            ("/home/jdoe", "[folder]"),
            (r"C:\Users\somebody\model\config.json: No such file", "config.json: No such file"),
            (r"`D:\data\dev.tsv`, `..\jdoe\x` and \\server\share\y", "`dev.tsv`, `x` and y"),
        ];
        for (text, expected) in cases {
            assert_eq!(anonymiser().clean(text), expected);
        }
    }

    #[test]
    fn names_of_user_and_host_go_as_whole_words_alone() {
        let cases = [
            ("killed on node-17, by jdoe@node-17.example.org", "killed on [host], by [user]@[host]"),
            ("owner jdoe: cache-of-jdoe_2", "owner [user]: cache-of-[user]_2"),
            ("jdoes, node-170 and max of max_samples", "jdoes, node-170 and max of max_samples"),
        ];
        for (text, expected) in cases {
            assert_eq!(anonymiser().clean(text), expected);
        }
        assert!(anonymiser().stays().is_some_and(|note| note.contains("`max`")));
        for name in ORDINARY {
            let named = Anonymiser::named([name.to_owned()].into_iter(), [name.to_owned()].into_iter());
            assert_eq!(named.clean(&format!("{name} of data/{name}")), format!("{name} of data/{name}"));
        }
    }

    #[test]
    fn a_quoted_path_goes_whole_whatever_characters_it_has() {
        let cases = [
            ("leads to `/srv/A B, (x)/no, lib.so`, which", "leads to `no, lib.so`, which"),
            ("`a` of `/x y/b` and `/x y", "`a` of `b` and `x y"),
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
            r"\d+(?:\w)",
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
