//! Where a row stands in its manifest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::digest::sha256;
use crate::manifest::schema::Manifest;
use crate::plan::{ConfigurationId, Plan};
use crate::store::schema::ResultRow;
use crate::terminal::shell_word;

/// Digits of a digest that a person compares.
const DIGITS: usize = 12;

/// The manifest of an experiment, in the folder where it was or in that of this project: as it was, or else as it is now.
pub(super) struct ManifestFile {
    path: PathBuf,
    /// Its text and the configurations that it plans; `None` where it is not here.
    found: Option<(String, HashSet<ConfigurationId>)>,
    /// Digest of the file that the rows were measured with.
    sha256: String,
    is_same: bool,
}

impl ManifestFile {
    pub fn of(plan: &Plan) -> Self {
        let name = format!("{}.yaml", plan.name);
        let beside = plan.base_dir.strip_prefix(".").unwrap_or(&plan.base_dir);
        let default = beside.join(&name);
        let mut places = vec![default.clone(), Path::new("experiments").join(&name)];
        places.extend(of_other_names(&plan.base_dir, &plan.manifest_sha256).map(|file| beside.join(file)));
        let read = |path: &PathBuf| Some((path.clone(), std::fs::read(path).ok()?));
        let here: Vec<(PathBuf, Vec<u8>)> = places.iter().filter_map(read).collect();
        let is_same = |(_, bytes): &&(PathBuf, Vec<u8>)| sha256(bytes) == plan.manifest_sha256;
        let same = here.iter().find(is_same);
        let ids = |plan: &Plan| plan.configurations.iter().map(|one| one.id.clone()).collect();
        let found = same.or(here.first()).and_then(|(path, bytes)| {
            let ids = match same {
                Some(_) => ids(plan),
                None => ids(&Plan::expand(&Manifest::load(path).ok()?)),
            };
            Some((path.clone(), (String::from_utf8(bytes.clone()).ok()?, ids)))
        });
        let (path, found) = found.map_or((default, None), |(path, found)| (path, Some(found)));
        ManifestFile { path, found, sha256: plan.manifest_sha256.clone(), is_same: same.is_some() }
    }

    /// Where it is, or was.
    fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// What to give `mixprec run`.
    pub fn word(&self) -> String {
        shell_word(&self.path)
    }

    /// The file, and its former digest where it is not here or another now.
    pub fn place(&self) -> String {
        let digest = self.sha256.get(..DIGITS).unwrap_or(&self.sha256);
        match &self.found {
            Some(_) if self.is_same => self.path(),
            Some(_) => format!("{}, which was another file (SHA-256 {digest}…) when it was run", self.path()),
            None => format!("{} of SHA-256 {digest}…, which is not here", self.path()),
        }
    }

    /// The lines that name the row's model, backend, policy, shape and input, each as `FILE:LINE: TEXT`; where the file does not
    /// plan the row, the same in the manifest's terms.
    pub fn lines(&self, row: &ResultRow) -> Vec<String> {
        let [batch, sequence] = [row.batch_size, row.sequence_length].map(|size| size.to_string());
        let named = [
            ("models", row.model.as_str()),
            ("backends", row.backend.name()),
            ("precisions", row.precision.as_str()),
            ("batch_sizes", batch.as_str()),
            ("sequence_lengths", sequence.as_str()),
            ("inputs", row.input.as_str()),
        ];
        let planned = self.found.as_ref().filter(|(_, ids)| ids.iter().any(|id| id.0 == row.id));
        let Some((text, _)) = planned else {
            let terms = named.map(|(key, value)| format!("{key} {value}"));
            return vec![format!("{}: {}", self.place(), terms.join(", "))];
        };
        let line = |(key, value): (&str, &str)| {
            let (number, line) = line_of(text, key, value)?;
            Some(format!("{}:{number}: {}", self.path(), line.trim()))
        };
        let changed = (!self.is_same).then(|| format!("{}; it plans the same configuration", self.place()));
        named.into_iter().filter_map(line).chain(changed).collect()
    }
}

/// The manifests of a folder with this digest, whatever their names are.
fn of_other_names(folder: &Path, digest: &str) -> impl Iterator<Item = PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let has_digest = move |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| sha256(&bytes) == digest);
    files.filter(is_yaml).filter(has_digest).filter_map(|path| path.file_name().map(PathBuf::from))
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
