//! The tables in other people's hands: what pyarrow does with those that are published and with those of a small run.

use std::path::{Path, PathBuf};

use mixprec::store::parquet::{write_results, write_samples};
use mixprec::store::schema::{ResultRow, SampleRow};

use crate::fixtures;

/// Every Parquet table below a folder.
fn tables(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => tables(&path),
        false => vec![path],
    });
    let mut found: Vec<PathBuf> = found.filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    found.sort();
    found
}

/// Rows, row groups and types of each table, after it was filtered, sorted, joined and written as CSV.
fn opened(paths: &[PathBuf]) -> Option<Vec<String>> {
    let arguments: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    Some(fixtures::python("report/readers.py", &arguments)?.lines().map(str::to_owned).collect())
}

#[test]
fn published_tables_are_plain_to_other_readers() {
    let paths = tables(&Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts"));
    assert!(paths.len() > 10, "{paths:?}");
    let Some(lines) = opened(&paths) else { return };
    for (path, line) in paths.iter().zip(lines) {
        let types: Vec<&str> = line.split(' ').skip(2).collect();
        let plain = ["bool", "double", "string", "uint64"];
        assert!(types.iter().all(|kind| plain.contains(kind)), "{}: {line}", path.display());
    }
}

#[test]
fn tables_with_no_rows_with_nulls_and_with_many_rows_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let dir = folder.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    };
    let (empty, few, many) = (dir("empty"), dir("few"), dir("many"));
    write_results(&empty, &[]).unwrap();
    write_samples(&empty, &[]).unwrap();
    let row =
        |id: &str| ResultRow { id: id.to_owned(), model: "größer \u{1F600}".to_owned(), ..ResultRow::default() };
    write_results(&few, &[row("b"), row("a")]).unwrap();
    let sample = |index| SampleRow { id: format!("{:04}", index % 7), index, ..SampleRow::default() };
    // More than one row group.
    write_samples(&many, &(0..600_000).map(sample).collect::<Vec<_>>()).unwrap();
    let paths = tables(folder.path());
    let Some(lines) = opened(&paths) else { return };
    let starts: Vec<String> =
        lines.iter().map(|line| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(starts, ["0 0", "0 0", "2 1", "600000 2"], "{paths:?}");
}
