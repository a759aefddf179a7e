//! What a search has measured, on disk, so that one that was stopped repeats none of it and ends with the same set.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::store::journal::{decode, encode};

/// Name of the file with the outcomes of forwards, inside the folder of a search.
pub(super) const SEARCH_JOURNAL: &str = "search.jsonl";
/// Name of the file with the times of policies.
pub(super) const TIMING_JOURNAL: &str = "timing.jsonl";

/// One line. The key is the digest of all that decides the outcome, so that searches with other limits, backends or inputs may
/// share a folder.
#[derive(Debug, Serialize, Deserialize)]
struct JournaledOutcome<T> {
    key: String,
    outcome: T,
}

/// The outcomes known so far, in lines with checksums like those of a run's journal.
#[derive(Debug)]
pub(super) struct SearchJournal<T> {
    path: PathBuf,
    file: File,
    known: HashMap<String, T>,
}

impl<T: Clone + Serialize + DeserializeOwned> SearchJournal<T> {
    /// Opens the journal of this name in a folder, or creates it. Damaged lines are left out: their forwards run again.
    pub fn open(dir: &Path, name: &str) -> Result<Self, FileError> {
        let path = dir.join(name);
        let failed = FileError::at(&path);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(failed)?,
        };
        let lines = bytes.split(|&byte| byte == b'\n').filter_map(decode::<JournaledOutcome<T>>);
        let known = lines.map(|line| (line.key, line.outcome)).collect();
        let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
        if bytes.last().is_some_and(|&byte| byte != b'\n') {
            // A kill tore the last line. It must not run into the next one.
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok(SearchJournal { path, file, known })
    }

    /// The outcome of this key.
    pub fn get(&self, key: &str) -> Option<T> {
        self.known.get(key).cloned()
    }

    /// Appends an outcome. It is not synchronised with the disk: a power cut costs forwards, never a wrong outcome.
    pub fn insert(&mut self, key: String, outcome: T) -> Result<(), FileError> {
        let failed = FileError::at(&self.path);
        let line = JournaledOutcome { key, outcome };
        self.file.write_all(&encode(&line).map_err(failed)?).map_err(failed)?;
        self.known.insert(line.key, line.outcome);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tolerance::ForwardOutcome;
    use super::*;

    #[test]
    fn cut_anywhere_it_keeps_every_whole_outcome_and_goes_on() {
        let outcome = |broken| ForwardOutcome {
            cosine_min: Some(1.0 / 3.0),
            broken_rows: Some(broken),
            ..ForwardOutcome::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let open = || SearchJournal::<ForwardOutcome>::open(dir.path(), SEARCH_JOURNAL).unwrap();
        let mut journal = open();
        for broken in 0..3 {
            journal.insert(format!("key {broken}"), outcome(broken)).unwrap();
        }
        let path = dir.path().join(SEARCH_JOURNAL);
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let mut journal = open();
            let whole = bytes[..length].iter().filter(|&&byte| byte == b'\n').count();
            let last_is_whole = usize::from(bytes.get(length) == Some(&b'\n'));
            for broken in 0..3 {
                let expected = ((broken as usize) < whole + last_is_whole).then(|| outcome(broken));
                assert_eq!(journal.get(&format!("key {broken}")), expected, "cut at {length}");
            }
            journal.insert("later".to_owned(), outcome(9)).unwrap();
            let again = open();
            assert_eq!(again.get("later"), Some(outcome(9)));
            assert_eq!(again.known.len(), whole + last_is_whole + 1);
        }
    }
}
