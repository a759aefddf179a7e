//! What the targets share: a folder in memory, and what makes a mutated file pass the seals in front of the readers, since
//! whoever tampers with a file can seal it again.

mod checkpoint;

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use mixprec::digest::sha256;
use mixprec::plan::Plan;
use mixprec::provenance::Environment;
use mixprec::record::Record;
use serde_json::Value;
use tempfile::TempDir;

pub use checkpoint::checkpoint;

/// A folder of this process, in memory where the system has such a place.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        tempfile::Builder::new().prefix("mixprec-fuzz.").tempdir_in(parent).expect("a scratch folder")
    };
    FOLDER.get_or_init(make).path()
}

/// Writes a file of the scratch folder.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("a folder in the scratch folder");
    }
    std::fs::write(&path, bytes).expect("a file in the scratch folder");
    path
}

/// A line of a journal with its checksum.
pub fn journal_line(json: &[u8]) -> Vec<u8> {
    let mut line = sha256(json).as_bytes()[..16].to_vec();
    line.push(b' ');
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

/// Puts the digest of a table right, where the table still has a place for one.
pub fn seal_table(bytes: &mut [u8]) {
    const PREFIX: &[u8] = b"mixprec.sha256:";
    let Some(at) = bytes.windows(PREFIX.len()).rposition(|window| window == PREFIX) else { return };
    let start = at + PREFIX.len();
    if bytes.len() < start + 64 {
        return;
    }
    bytes[start..start + 64].fill(b'0');
    let digest = sha256(bytes);
    bytes[start..start + 64].copy_from_slice(digest.as_bytes());
}

/// Text that does harm where it is not escaped.
pub const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\" onload=\"alert(1)",
    "'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "\\input{/etc/passwd}",
    "\\immediate\\write18{id}",
    "]]>&{{ 1 }}{% raw %}<% x %>",
    "../../../etc/passwd",
];

/// A plan, its records and their environment, of a run of a small manifest on the reference backend.
pub fn base_json() -> &'static Value {
    static BASE: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(include_str!("../seeds/run.json")).expect("the base run is JSON"));
    &BASE
}

/// [`base_json`] as what it is.
pub fn base() -> &'static (Plan, Vec<Record>, Environment) {
    static BASE: LazyLock<(Plan, Vec<Record>, Environment)> = LazyLock::new(|| {
        let part = |name: &str| base_json()[name].clone();
        (
            serde_json::from_value(part("plan")).expect("a plan"),
            serde_json::from_value(part("records")).expect("records"),
            serde_json::from_value(part("environment")).expect("an environment"),
        )
    });
    &BASE
}
