//! Committed pages: `report.html` of a fixture, the values behind it without those of its tables, a figure or two for a
//! person to look at; the appendix. After a change that is meant, this accepts them and the inline snapshots of `latex/`:
//!
//!     MIXPREC_BLESS=1 cargo insta test --release --accept --test report
//!
//! `cargo install cargo-insta` brings the command. Without it `MIXPREC_BLESS=1 cargo test --release --test report` rewrites
//! the pages alone.

use std::collections::BTreeMap;
use std::path::Path;

/// What of a report is committed: of everything else `latex/` says that it agrees with these.
pub fn committed(mut files: BTreeMap<String, Vec<u8>>, figures: &[&str]) -> BTreeMap<String, Vec<u8>> {
    files.retain(|name, _| name.starts_with("report.") || figures.contains(&name.as_str()));
    assert_eq!(files.len(), 2 + figures.len());
    let values = String::from_utf8(files["report.json"].clone()).unwrap();
    let (head, rest) = values.split_once("\n  \"sections\": [\n").unwrap();
    let (_, tail) = rest.split_once("\n  ],").unwrap();
    files.insert("report.json".to_owned(), format!("{head}{tail}").into_bytes());
    files
}

/// Compares these files with all that the folder holds.
pub fn compare(folder: &str, files: &BTreeMap<String, Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(folder);
    if std::env::var_os("MIXPREC_BLESS").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        return;
    }
    let mut expected: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    expected.sort();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), expected);
    for (name, bytes) in files {
        let wanted = std::fs::read(folder.join(name)).unwrap();
        let (found, text) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&wanted));
        let difference = found.lines().zip(text.lines()).position(|(a, b)| a != b);
        let cure = "tests/report/committed.rs says how to accept it";
        assert!(*bytes == wanted, "{name} differs first in line {difference:?}; {cure}");
    }
}
