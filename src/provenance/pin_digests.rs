//! The digests of the pin files, in a file of their own. A program compares its pins with those compiled into it. That
//! comparison alone would accept a changed pin after the next build. The digests are renewed by hand (`make pins`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::drift::{Drift, digits, short, unreadable};
use crate::digest::sha256;
use crate::libraries::pins::PinFile;

/// Path of the digests, from the repository's root. The lines are those of `sha256sum`.
pub const FILE: &str = "container/pins.sha256";

const PIN_DIGESTS: &str = include_str!("../../container/pins.sha256");

/// Every pinned file with its hexadecimal digest.
pub fn pinned_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    entries(PIN_DIGESTS)
}

fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once("  ")).map(|(digest, path)| (path, digest))
}

/// Compares the pins compiled into this program with the digests compiled into it.
pub fn of_program() -> Vec<Drift> {
    PinFile::ALL.into_iter().filter_map(|file| of_file(file.path(), file.compiled_in().as_bytes())).collect()
}

/// Compares the pinned files in the repository at `root`, and the file of digests itself, with the digests compiled in.
pub fn of_repository(root: &Path) -> Vec<Drift> {
    let mut drift = Vec::new();
    match fs::read_to_string(root.join(FILE)) {
        Ok(text) if text == PIN_DIGESTS => {}
        Ok(text) => drift.push(Drift::new(FILE, sha256_of(text.as_bytes()), sha256_of(PIN_DIGESTS.as_bytes()))),
        Err(error) => drift.push(Drift::new(FILE, unreadable(&error), sha256_of(PIN_DIGESTS.as_bytes()))),
    }
    for (path, digest) in pinned_files() {
        match fs::read(root.join(path)) {
            Ok(bytes) => drift.extend(of_file(path, &bytes)),
            Err(error) => drift.push(Drift::new(path, unreadable(&error), pinned_digest(digest))),
        }
    }
    drift
}

/// Compares a file's bytes with the digest compiled in.
pub fn of_file(path: &str, bytes: &[u8]) -> Option<Drift> {
    of_bytes(PIN_DIGESTS, path, bytes)
}

/// Paths of the pinned files other than [`PinFile::ALL`], whose pins are compared one by one.
pub fn other_files() -> BTreeSet<&'static str> {
    pinned_files().map(|(path, _)| path).filter(|path| PinFile::ALL.iter().all(|file| file.path() != *path)).collect()
}

fn of_bytes(pin_digests: &str, path: &str, bytes: &[u8]) -> Option<Drift> {
    let found = sha256(bytes);
    match entries(pin_digests).find(|(pinned, _)| *pinned == path) {
        Some((_, digest)) if digest == found => None,
        Some((_, digest)) => Some(Drift::new(path, sha256_of(bytes), pinned_digest(digest))),
        None => Some(Drift::new(path, sha256_of(bytes), format!("a line in {FILE}"))),
    }
}

fn sha256_of(bytes: &[u8]) -> String {
    format!("sha256 {}", short(bytes))
}

fn pinned_digest(digest: &str) -> String {
    format!("the sealed sha256 {}", digits(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a changed pin, `make pins` renews the digests.
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
            assert!(pinned_files().any(|(path, digest)| path == file.path() && digest.len() == 64), "{}", file.path());
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
