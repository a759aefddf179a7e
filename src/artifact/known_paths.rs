//! Paths that results may name: those of the plan and of this machine. Each is found whole, because the name of a folder may
//! hold every character that ends a path in a sentence.

use std::path::{Component, Path, PathBuf};

use crate::input::InputSource;
use crate::libraries::{self, Library};
use crate::model::ModelSource;
use crate::plan::{Configuration, Plan};

/// What is published in place of a known path that something follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Its last part: `bert/config.json` of a checkpoint.
    LastPart,
    /// What follows it, as the manifest names it: the path is the manifest's folder.
    Rest,
    /// The last part of what follows it.
    LastPartOfRest,
}

/// One path as a text may spell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownPath {
    pub text: String,
    pub kept: Kept,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextPiece<'a> {
    /// No known path begins in it.
    Text(&'a str),
    /// A known path.
    Path(&'a KnownPath),
    /// The beginning of a known path, before the mark of a text that was cut off.
    Torn,
}

/// Where the text of a reason was cut off.
const CUT: char = '…';

/// Every known path, the longest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KnownPaths(Vec<KnownPath>);

impl KnownPaths {
    /// The paths of a plan, of the folders that are published, and of this process: its home, its current folder and its
    /// libraries. A relative path is known only where `is_private` says so.
    pub fn of(plans: &[&Plan], dirs: &[PathBuf], is_private: impl Fn(&str) -> bool) -> Self {
        let mut known = KnownPaths::default();
        let tells = |path: &Path| {
            let named = path.components().any(|part| matches!(part, Component::Normal(_)));
            named && !is_plain(path) || is_private(&path.to_string_lossy())
        };
        for plan in plans {
            let folder = plan.base_dir.canonicalize().ok();
            let written = Some(&plan.base_dir).filter(|path| tells(path));
            written.into_iter().chain(&folder).for_each(|path| known.add(path, Kept::Rest));
            let excluded = plan.excluded.iter().map(|cell| &cell.configuration);
            for path in plan.configurations.iter().chain(excluded).flat_map(named) {
                let from_here = plan.base_dir.join(&path);
                let resolved = from_here.canonicalize().ok();
                if is_private(&path.to_string_lossy()) {
                    // Reasons of rows name it from the manifest's folder.
                    let below = path.strip_prefix(&plan.base_dir).ok();
                    let written = [path.as_path(), &from_here].into_iter().chain(below);
                    written.chain(resolved.as_deref()).for_each(|path| known.add(path, Kept::LastPart));
                    continue;
                }
                // What lies below the manifest's folder keeps the name that the manifest gives it.
                let elsewhere = resolved.filter(|path| !folder.as_ref().is_some_and(|folder| path.starts_with(folder)));
                elsewhere.iter().for_each(|path| known.add(path, Kept::LastPart));
            }
        }
        let here = [std::env::current_dir().ok(), std::env::home_dir()];
        let libraries = Library::PINNED.iter().filter_map(|&library| Some(libraries::find(library).ok()?.path));
        let variables = libraries::VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
        for path in dirs.iter().cloned().chain(here.into_iter().flatten()).chain(libraries).chain(variables) {
            let written = Some(path.clone()).filter(|path| tells(path));
            written.iter().chain(&path.canonicalize().ok()).for_each(|path| known.add(path, Kept::LastPartOfRest));
        }
        known.0.sort_by_key(|path| std::cmp::Reverse(path.text.len()));
        known
    }

    /// A path as written, and as messages spell it: a reason has single spaces, and some quote a path. The root says nothing.
    fn add(&mut self, path: &Path, kept: Kept) {
        let text = path.to_string_lossy().trim_end_matches('/').to_owned();
        let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let quoted = text.escape_debug().to_string();
        for text in [text, spaced, quoted] {
            if !text.is_empty() && self.0.iter().all(|known| known.text != text) {
                self.0.push(KnownPath { text, kept });
            }
        }
    }

    /// Whether a known path begins `text`.
    pub fn begin(&self, text: &str) -> bool {
        self.0.iter().any(|path| text.starts_with(&path.text) && ends_path(text, path))
    }

    /// The text in pieces, at each place the longest path.
    pub fn split<'a>(&'a self, text: &'a str) -> Vec<TextPiece<'a>> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let begins = begins_path(&text[..at]);
            let torn = rest.strip_suffix(CUT).filter(|rest| begins && self.is_torn(rest));
            let found = self.0.iter().find(|path| begins && rest.starts_with(&path.text) && ends_path(rest, path));
            let (piece, length) = match (torn, found) {
                (Some(torn), _) => (TextPiece::Torn, torn.len()),
                (None, Some(path)) => (TextPiece::Path(path), path.text.len()),
                (None, None) => {
                    at += rest.chars().next().map_or(1, char::len_utf8);
                    continue;
                }
            };
            pieces.extend([TextPiece::Text(&text[start..at]), piece]);
            at += length;
            start = at;
        }
        pieces.push(TextPiece::Text(&text[start..]));
        pieces
    }

    fn is_torn(&self, rest: &str) -> bool {
        rest.len() > 1 && rest.starts_with('/') && self.0.iter().any(|path| path.text.starts_with(rest))
    }
}

/// Folders and files that a configuration names, as the manifest writes them.
pub(super) fn named(of: &Configuration) -> Vec<PathBuf> {
    let models = of.model_source.candidates().iter().filter_map(|source| match source {
        ModelSource::Checkpoint { path, .. } => Some(path.clone()),
        _ => None,
    });
    models.chain(InputSource::path(&of.input_source).map(Path::to_owned)).collect()
}

/// Whether a path stays below the folder that it starts from.
pub(super) fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// Whether a path may begin after this text.
fn begins_path(before: &str) -> bool {
    !before.chars().next_back().is_some_and(|c| is_of_name(c) || c == '.')
}

/// Whether the path's last part ends where the path does: `/a/b` is no beginning of `/a/b-2` or `/a/b.json`.
fn ends_path(text: &str, path: &KnownPath) -> bool {
    let mut after = text[path.text.len()..].chars();
    match after.next() {
        Some('.') => !after.next().is_some_and(is_of_name),
        next => !next.is_some_and(is_of_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(paths: &[(&str, Kept)]) -> KnownPaths {
        let mut known = KnownPaths::default();
        paths.iter().for_each(|(path, kept)| known.add(Path::new(path), *kept));
        known.0.sort_by_key(|path| std::cmp::Reverse(path.text.len()));
        known
    }

    /// The text with `<PATH>` for each known path and `<>` for the beginning of one.
    fn marked(known: &KnownPaths, text: &str) -> String {
        let pieces = known.split(text).into_iter().map(|piece| match piece {
            TextPiece::Text(text) => text.to_owned(),
            TextPiece::Path(path) => format!("<{}>", path.text.rsplit('/').next().unwrap()),
            TextPiece::Torn => "<>".to_owned(),
        });
        pieces.collect()
    }

    #[test]
    fn a_path_is_found_whole_whatever_characters_it_has() {
        for odd in [
            "John Doe, PhD (lab)",
            "[a] {b} 'c' <d>",
            "=;|`",
            "\u{fc}ber \u{1f600}",
            "a  b\tc",
            "q\"q",
            r"back\slash",
            ".",
        ] {
            let path = format!("/data/{odd}/x y");
            let known = known(&[("/data", Kept::LastPartOfRest), (&path, Kept::LastPart)]);
            let reason = |path: &str| format!("`{path}/config.json`: bad");
            let spaced = path.split_whitespace().collect::<Vec<_>>().join(" ");
            for text in [reason(&path), reason(&spaced), format!("{path:?}: bad"), format!("file://{path}: bad")] {
                let marked = marked(&known, &text);
                assert!(marked.contains("<x y>") && !marked.contains("data"), "{text}: {marked}");
            }
            for end in path.char_indices().map(|(at, _)| at).filter(|&at| at > "/data/".len()) {
                assert_eq!(marked(&known, &format!("in {}…", &path[..end])), "in <>…");
            }
        }
    }

    #[test]
    fn a_longer_name_is_another_path() {
        let known = known(&[("/home/jd", Kept::Rest), ("a/jd", Kept::LastPart)]);
        assert_eq!(marked(&known, "/home/jd, /home/jd/x, see /home/jd."), "<jd>, <jd>/x, see <jd>.");
        for text in ["/home/jdoe/x", "/home/jd-2", "/home/jd.old", "x/home/jd", "data/jd", "", "/h…", "…"] {
            let expected = if text == "/h…" { "<>…" } else { text };
            assert_eq!(marked(&known, text), expected);
        }
    }
}
