//! Certificates of searches, read back.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use super::ResultsError;
use crate::files::{FileError, read_json};
use crate::manifest::schema::SearchTolerance;
use crate::record::certificate::{CERTIFICATE_FILE, Certificate};

/// The folders below `dir`, itself among them, that hold a certificate; sorted.
///
/// # Errors
/// [`ResultsError`] where there is none, or where a folder cannot be read.
pub fn folders(dir: &Path) -> Result<Vec<PathBuf>, ResultsError> {
    let (mut found, mut unread) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = unread.pop() {
        let failed = FileError::at(&folder);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                unread.push(entry.path());
            }
        }
        if folder.join(CERTIFICATE_FILE).is_file() {
            found.push(folder);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(ResultsError::NoSearch { path: dir.to_owned() }),
        false => Ok(found),
    }
}

/// The certificate in a folder.
///
/// # Errors
/// [`ResultsError`] naming the file.
pub fn certificate(folder: &Path) -> Result<Certificate, ResultsError> {
    let path = folder.join(CERTIFICATE_FILE);
    read_json(&path).map_err(|source| ResultsError::Certificate { path, source })
}

/// All certificates below these folders: by model, input, start, backend and shape, and from the loosest tolerance to the tightest.
///
/// # Errors
/// As [`folders`] and [`certificate`].
pub fn certificates(dirs: &[PathBuf]) -> Result<Vec<Certificate>, ResultsError> {
    let folders = dirs.iter().map(|dir| folders(dir)).collect::<Result<Vec<_>, _>>()?.concat();
    let mut all = folders.iter().map(|folder| certificate(folder)).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| {
        let by_subject = a.subject_key().cmp(&b.subject_key());
        by_subject.then_with(|| strictness(&a.tolerance, &b.tolerance))
    });
    Ok(all)
}

/// Looser limits first; no limit is the loosest.
fn strictness(a: &SearchTolerance, b: &SearchTolerance) -> Ordering {
    let key = |limits: &SearchTolerance| {
        let cosine = limits.cosine_min.unwrap_or(f64::NEG_INFINITY);
        let count = |limit: Option<u64>| limit.map_or(f64::NEG_INFINITY, |limit| -(limit as f64));
        let ratio = limits.max_perplexity_ratio.map_or(f64::NEG_INFINITY, |ratio| -ratio);
        [cosine, count(limits.max_broken_rows), count(limits.max_flips), ratio]
    };
    let pairs = key(a).into_iter().zip(key(b));
    pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_go_from_loose_to_tight() {
        let mut limits: Vec<SearchTolerance> = vec![
            SearchTolerance { cosine_min: Some(0.9999), ..Default::default() },
            SearchTolerance { max_flips: Some(0), ..Default::default() },
            SearchTolerance { cosine_min: Some(0.999), ..Default::default() },
            SearchTolerance { max_flips: Some(2), ..Default::default() },
        ];
        limits.sort_by(strictness);
        let texts: Vec<String> = limits.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["max_flips=2", "max_flips=0", "cosine_min=0.999", "cosine_min=0.9999"]);
    }

    #[test]
    fn a_folder_without_a_certificate_names_the_command_that_writes_one() {
        let dir = tempfile::tempdir().unwrap();
        let said = folders(dir.path()).unwrap_err().to_string();
        assert!(said.contains("no certificate.json") && said.contains("mixprec search"), "{said}");
        std::fs::create_dir(dir.path().join("one")).unwrap();
        std::fs::write(dir.path().join("one").join(CERTIFICATE_FILE), "{}").unwrap();
        let said = certificates(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(said.contains("certificate.json") && said.contains("mixprec search"), "{said}");
    }
}
