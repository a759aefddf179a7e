//! Users that results name: whoever has a home in one of their paths.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::anonymous::{SEPARATORS, is_boundary};
use super::known_paths::named;
use crate::merge::Input;

/// Folders whose folders are named after users.
const HOMES: [&str; 2] = ["home", "Users"];

/// The home of the user that containers and rented machines run as. People who share it have folders in it.
const ROOT: &str = "root";

/// What folders of root's home are called that are nobody's.
const OF_NOBODY: [&str; 22] = [
    "artifacts",
    "cache",
    "checkpoints",
    "code",
    "data",
    "datasets",
    "experiments",
    "git",
    "mixprec",
    "model",
    "models",
    "project",
    "projects",
    "repo",
    "repos",
    "results",
    "runs",
    "scratch",
    "src",
    "storage",
    "tmp",
    "workspace",
];

/// Users whose homes the plan, the rows or the environments of a folder name.
pub(super) fn users_of(input: &mut Input) -> BTreeSet<String> {
    let data = &mut input.data;
    // A folder that is written relative was so to where the run began, which mostly is where its results are published.
    let folder = &std::path::absolute(&data.plan.base_dir).unwrap_or_else(|_| data.plan.base_dir.clone());
    let excluded = data.plan.excluded.iter().map(|cell| &cell.configuration);
    let files = data.plan.configurations.iter().chain(excluded).flat_map(named);
    let paths: BTreeSet<PathBuf> = files.map(|path| followed(folder, &path)).chain([folder.clone()]).collect();
    let mut found: BTreeSet<String> = paths.iter().flat_map(|path| users_in_path(&path.to_string_lossy())).collect();
    let mut add = |text: &str| found.extend(text.split(is_boundary).flat_map(users_in_word));
    data.rows.iter_mut().flat_map(|row| row.texts()).for_each(|text| add(text));
    let plan = serde_json::to_value(&data.plan).unwrap_or_default();
    let environments = serde_json::to_value(&data.environments).unwrap_or_default();
    strings(&plan, &mut add);
    strings(&environments, &mut add);
    found
}

/// Where a path leads from a folder, `..` taken as written: `/home/ann` of `../ann` in `/home/ben`.
fn followed(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path).components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            Component::ParentDir if whole.file_name().is_some() => drop(whole.pop()),
            other => whole.push(other),
        }
        whole
    })
}

/// Whether the second of three parts of a path names a user: what follows a folder of homes, and a folder in root's home.
fn is_user_after(before: &[&str], name: &str, after: Option<&&str>) -> bool {
    match before {
        [.., home] if HOMES.contains(home) => true,
        ["" | "..", home] | [.., "..", home] if *home == ROOT => {
            after.is_some() && !OF_NOBODY.contains(&name) && name.starts_with(char::is_alphabetic)
        }
        _ => false,
    }
}

/// Whether a path leads into a home, whoever's it is, or may: from two folders up, the next one may be a user's.
pub(super) fn leads_home(path: &str) -> bool {
    let parts: Vec<&str> = path.split(SEPARATORS).collect();
    let below = parts.iter().skip_while(|part| **part == "..").count();
    if parts.len() - below > 1 && below > 1 {
        return true;
    }
    let of_root = |at: usize| parts[at] == ROOT && at > 0 && matches!(parts[at - 1], "" | "..");
    (0..parts.len().saturating_sub(1))
        .any(|at| (HOMES.contains(&parts[at]) || of_root(at)) && !parts[at + 1].is_empty())
}

/// What follows `home` or `Users` in a path, and a folder in `/root`.
fn users_in_path(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split(SEPARATORS).collect();
    let is_user = |at: &usize| !parts[*at].is_empty() && is_user_after(&parts[..*at], parts[*at], parts.get(at + 1));
    (1..parts.len()).filter(is_user).map(|at| parts[at].to_owned()).collect()
}

/// The same of the paths of a word, like `/home/a/lib:/home/b/lib`, and what follows `~`.
fn users_in_word(word: &str) -> impl Iterator<Item = String> {
    word.split(':')
        .flat_map(|path| {
            let tilde = path.split(SEPARATORS).filter_map(|part| part.strip_prefix('~'));
            let tilde = tilde.filter(|_| path.contains(SEPARATORS)).map(str::to_owned);
            let names: Vec<String> = users_in_path(path).into_iter().chain(tilde).collect();
            names.into_iter().map(|name| name.trim_end_matches(['.', '!', '?']).to_owned())
        })
        .filter(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

fn strings(value: &Value, read: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => read(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, read)),
        Value::Object(entries) => entries.values().for_each(|entry| strings(entry, read)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_home_in_a_path_is_a_user() {
        let users = |text: &str| text.split(is_boundary).flat_map(users_in_word).collect::<Vec<_>>();
        assert_eq!(users(r"see /home/ann, C:\Users\ben\x and ~cy/z: s3://b/home/dee."), ["ann", "ben", "cy", "dee"]);
        assert_eq!(users("PATH=/home/ann/lib:/home/ben and ../home/cy/x"), ["ann", "ben", "cy"]);
        assert_eq!(users("home, ~5 %, /home/ and /opt/x"), [""; 0]);
        assert_eq!(users_in_path("/home/Ann B, PhD/proj"), ["Ann B, PhD"]);
        assert_eq!(users("/root/ann/x.tsv, ../../root/ben/y: a/root/cy/z"), ["ann", "ben"]);
        assert_eq!(users("/root/dev.tsv /root/data/x /root/.cache/x /root"), [""; 0]);
    }

    #[test]
    fn whoever_has_the_home_that_a_path_leads_to_from_its_folder_is_a_user() {
        let users =
            |folder: &str, path: &str| users_in_path(&followed(Path::new(folder), Path::new(path)).to_string_lossy());
        assert_eq!(users("/home/ann/proj", "../../ben/none"), ["ben"]);
        assert_eq!(users("/home", "ben"), ["ben"]);
        assert_eq!(users("/home/ann", "./models/x"), ["ann"]);
        assert_eq!(users("/data/x", "../../../../home/cy/z"), ["cy"]);
        assert_eq!(users("proj", "../../none"), [""; 0]);
    }

    #[test]
    fn a_path_into_a_home_is_told_from_others() {
        for path in ["../home/ann", "/root/x", "../../root/model", "../../ann/model", r"C:\Users\ben"] {
            assert!(leads_home(path), "{path}");
        }
        for path in ["home/", "tree/root/leaf", "root/leaf", "/opt/x", "../models/x", "../../model", "..", ""] {
            assert!(!leads_home(path), "{path}");
        }
    }
}
