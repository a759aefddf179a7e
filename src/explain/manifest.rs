//! Where a row stands in its manifest.

use std::path::{Path, PathBuf};

use crate::digest::sha256;
use crate::plan::Plan;
use crate::store::schema::ResultRow;

/// Digits of a digest that a person compares.
const DIGITS: usize = 12;

/// The manifest's file, as far as it is here unchanged: beside its models, or in the folder of this project.
fn file(plan: &Plan) -> Option<(PathBuf, String)> {
    let name = format!("{}.yaml", plan.name);
    let places = [plan.base_dir.join(&name), Path::new("experiments").join(&name)];
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).ok().filter(|bytes| sha256(bytes) == plan.manifest_sha256)?;
        Some((path, String::from_utf8(bytes).ok()?))
    };
    places.into_iter().find_map(read)
}

/// What to give `mixprec run`.
pub(super) fn path(plan: &Plan) -> String {
    match file(plan) {
        Some((path, _)) => path.display().to_string(),
        None => format!("experiments/{}.yaml", plan.name),
    }
}

/// The file, or its digest where it is not here or another now.
pub(super) fn place(plan: &Plan) -> String {
    match file(plan) {
        Some((path, _)) => path.display().to_string(),
        None => {
            let digest = plan.manifest_sha256.get(..DIGITS).unwrap_or(&plan.manifest_sha256);
            format!("experiments/{}.yaml of SHA-256 {digest}… (no file here has this digest)", plan.name)
        }
    }
}

/// The lines that name the row's model, backend, policy, shape and input, each as `FILE:LINE: TEXT`; where the file is not here,
/// the same in the manifest's terms.
pub(super) fn lines(plan: &Plan, row: &ResultRow) -> Vec<String> {
    let Some((path, text)) = file(plan) else {
        return vec![format!(
            "{}: models {}, backends {}, precisions {}, batch_sizes {}, sequence_lengths {}, inputs {}",
            place(plan),
            row.model,
            row.backend,
            row.precision,
            row.batch_size,
            row.sequence_length,
            row.input
        )];
    };
    let [batch, sequence] = [row.batch_size, row.sequence_length].map(|size| size.to_string());
    let named = [
        ("models", row.model.as_str()),
        ("backends", row.backend.name()),
        ("precisions", row.precision.as_str()),
        ("batch_sizes", batch.as_str()),
        ("sequence_lengths", sequence.as_str()),
        ("inputs", row.input.as_str()),
    ];
    let line = |(key, value): (&str, &str)| {
        let (number, line) = line_of(&text, key, value)?;
        Some(format!("{}:{number}: {}", path.display(), line.trim()))
    };
    named.into_iter().filter_map(line).collect()
}

/// The line under a top-level key that has the value as a word, from 1.
fn line_of<'a>(text: &'a str, key: &str, value: &str) -> Option<(usize, &'a str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut section = lines.skip_while(|(_, line)| !line.starts_with(&format!("{key}:")));
    let (number, head) = section.next()?;
    let block = section.take_while(|(_, line)| line.is_empty() || line.starts_with([' ', '#', '-']));
    let is_separator = |c: char| c.is_whitespace() || ",:[]{}\"'".contains(c);
    let has = |line: &str| line.split('#').next().unwrap_or_default().split(is_separator).any(|word| word == value);
    std::iter::once((number, head)).chain(block).find(|(_, line)| has(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_under_its_key_only() {
        let text = "models:\n  # fp16\n  bert: {random: 1}\nprecisions:\n  - fp32\n  - {name: fp16-norms, base: fp16}\n  - fp16\nbatch_sizes: [1, 16]\n";
        let line = |key, value| line_of(text, key, value).map(|(number, _)| number);
        assert_eq!(line("models", "bert"), Some(3));
        assert_eq!(line("precisions", "fp16-norms"), Some(6));
        assert_eq!(line("batch_sizes", "16"), Some(8));
        assert_eq!((line("batch_sizes", "6"), line("models", "fp16"), line("inputs", "x")), (None, None, None));
    }
}
