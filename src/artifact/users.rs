//! Users that results name: whoever has a home in one of their paths.

use std::collections::BTreeSet;

use serde_json::Value;

use super::anonymous::{SEPARATORS, is_boundary};
use crate::merge::Input;

/// Folders whose folders are named after users.
pub(super) const HOMES: [&str; 2] = ["home", "Users"];

/// Users whose homes the plan, the rows or the environments of a folder name.
pub(super) fn users_of(input: &mut Input) -> BTreeSet<String> {
    let data = &mut input.data;
    let mut found: BTreeSet<String> = users_in_path(&data.plan.base_dir.to_string_lossy()).into_iter().collect();
    let mut add = |text: &str| found.extend(text.split(is_boundary).flat_map(users_in_word));
    data.rows.iter_mut().flat_map(|row| row.texts()).for_each(|text| add(text));
    let plan = serde_json::to_value(&data.plan).unwrap_or_default();
    let environments = serde_json::to_value(&data.environments).unwrap_or_default();
    strings(&plan, &mut add);
    strings(&environments, &mut add);
    found
}

/// What follows `home` or `Users` in a path.
fn users_in_path(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split(SEPARATORS).collect();
    let named = |pair: &[&str]| HOMES.contains(&pair[0]).then(|| pair[1].to_owned());
    parts.windows(2).filter_map(named).filter(|name| !name.is_empty()).collect()
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
    }
}
