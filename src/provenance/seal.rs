//! The seal of the files of pins: their digests, in a file of their own. A program compares its pins with what was compiled
//! into it, and would find a changed pin right as soon as it was built again; the seal has to be renewed by hand (`make pins`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::drift::{Drift, digits, short, unreadable};
use super::pins::PinFile;
use crate::digest::sha256;

/// Where the seal is, from the repository's root: lines as `sha256sum` writes them.
pub const FILE: &str = "container/pins.sha256";

const SEAL: &str = include_str!("../../container/pins.sha256");

/// Every sealed file with its digest, hexadecimal.
pub fn sealed() -> impl Iterator<Item = (&'static str, &'static str)> {
    entries(SEAL)
}

fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once("  ")).map(|(digest, path)| (path, digest))
}

/// The pins that this program was built with, against the seal that it was built with.
pub fn of_program() -> Vec<Drift> {
    PinFile::ALL.into_iter().filter_map(|file| of_file(file.path(), file.compiled_in().as_bytes())).collect()
}

/// The sealed files in the repository at `root` and the seal itself, whichever is not as it was when this program was built.
pub fn of_repository(root: &Path) -> Vec<Drift> {
    let mut drift = Vec::new();
    match fs::read_to_string(root.join(FILE)) {
        Ok(text) if text == SEAL => {}
        Ok(text) => drift.push(Drift::new(FILE, sha256_of(text.as_bytes()), sha256_of(SEAL.as_bytes()))),
        Err(error) => drift.push(Drift::new(FILE, unreadable(&error), sha256_of(SEAL.as_bytes()))),
    }
    for (path, digest) in sealed() {
        match fs::read(root.join(path)) {
            Ok(bytes) => drift.extend(of_file(path, &bytes)),
            Err(error) => drift.push(Drift::new(path, unreadable(&error), seal_of(digest))),
        }
    }
    drift
}

/// A file's bytes against the seal that this program was built with.
pub fn of_file(path: &str, bytes: &[u8]) -> Option<Drift> {
    of_bytes(SEAL, path, bytes)
}

/// Paths that are sealed, besides those whose pins are compared one by one.
pub fn other_files() -> BTreeSet<&'static str> {
    sealed().map(|(path, _)| path).filter(|path| PinFile::ALL.iter().all(|file| file.path() != *path)).collect()
}

fn of_bytes(seal: &str, path: &str, bytes: &[u8]) -> Option<Drift> {
    let found = sha256(bytes);
    match entries(seal).find(|(sealed, _)| *sealed == path) {
        Some((_, digest)) if digest == found => None,
        Some((_, digest)) => Some(Drift::new(path, sha256_of(bytes), seal_of(digest))),
        None => Some(Drift::new(path, sha256_of(bytes), format!("a line in {FILE}"))),
    }
}

fn sha256_of(bytes: &[u8]) -> String {
    format!("sha256 {}", short(bytes))
}

fn seal_of(digest: &str) -> String {
    format!("the sealed sha256 {}", digits(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes a pin seals it: `make pins`.
    #[test]
    fn the_seal_is_that_of_the_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        if !root.join("container/setup.sh").is_file() {
            crate::skip::skip("this is not a whole repository");
            return;
        }
        let drift: Vec<String> = of_repository(root).iter().map(ToString::to_string).collect();
        assert!(drift.is_empty() && of_program().is_empty(), "{drift:?}: where that is meant, run make pins");
        for file in PinFile::ALL {
            assert!(sealed().any(|(path, digest)| path == file.path() && digest.len() == 64), "{}", file.path());
        }
        assert!(other_files().contains("container/Containerfile"), "the digests of the base images");
    }

    #[test]
    fn a_changed_pin_is_named_by_a_program_that_was_built_from_it() {
        let text = PinFile::Flake.compiled_in();
        let digit = text.rfind(|c: char| c.is_ascii_digit()).unwrap();
        let changed = format!("{}{}", &text[..digit], &text[digit + 1..]);
        assert_eq!(of_file("flake.lock", text.as_bytes()), None);
        let drift = of_file("flake.lock", changed.as_bytes()).unwrap().to_string();
        assert!(
            drift.starts_with("flake.lock: sha256 ") && drift.contains(" instead of the sealed sha256 "),
            "{drift}"
        );
        let drift = of_bytes("", "flake.lock", text.as_bytes()).unwrap().to_string();
        assert!(drift.ends_with("instead of a line in container/pins.sha256"), "{drift}");
    }
}
