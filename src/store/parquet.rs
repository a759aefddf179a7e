//! Reads and writes `results.parquet` and `samples.parquet`. They are written whole and atomically, and refused when
//! damaged.
//!
//! The footer holds the schema version and the file's SHA-256, computed with the digest's own 64 characters set to
//! zeros. The digest is checked before anything is decoded, so a flipped bit anywhere is an error and not a wrong
//! number.

use std::io::Cursor;
use std::path::Path;

use polars::prelude::{
    Column, DataFrame, KeyValueMetadata, ParallelStrategy, ParquetCompression, ParquetReader, ParquetWriter,
    PolarsResult, SerReader,
};

use super::footer::without_arrow_schema;
use super::schema::{ColumnInfo, OLDEST_SCHEMA_VERSION, ResultRow, SCHEMA_VERSION, SampleRow};
use super::weights::{WEIGHTS_COLUMNS, complete_row};
use super::{RESULTS_FILE, SAMPLES_FILE, StoreError};
use crate::digest::sha256;
use crate::files::{FileError, replace};
use crate::panics::catch;

const VERSION_KEY: &str = "mixprec.schema_version";
/// Precedes the digest in the file.
const DIGEST_PREFIX: &str = "mixprec.sha256:";
const DIGEST_KEY: &str = "mixprec.digest";
const DIGEST_LENGTH: usize = 64;
/// Most rows of a table: forty times the samples of the paper's grid.
const MAX_ROWS: usize = 1 << 26;

/// Columns that schema 8 added, null in rows of an older table.
const COMPARISON_COLUMNS: [&str; 6] = [
    "forward_compared_rows",
    "forward_broken_rows",
    "broken_forwards",
    "failed_forwards",
    "forward_cosine_min",
    "broken_rows",
];

/// Columns that schema 9 added, null in rows of an older table.
const CAUSE_COLUMNS: [&str; 13] = [
    "config_sha256",
    "tokenizer_sha256",
    "input_sha256",
    "settings_sha256",
    "arithmetic_sha256",
    "output",
    "dropped_head",
    "labels",
    "rank_correlation",
    "engine_library_digests",
    "engine_options",
    "flops_share_permitted",
    "engine_findings",
];

/// Columns that schema 12 added, null in rows of an older table.
const PROCESS_COLUMNS: [&str; 2] = ["processes", "process_spread"];

/// The same of samples.
const PROCESS_OF_SAMPLE: [&str; 1] = ["process"];

/// Columns that schema 11 added, null in rows of an older table.
const SUSTAINED_COLUMNS: [&str; 2] = ["ceiling_sustained_flops_per_s", "ceiling_sustained_share"];

/// Columns that schema 10 added, null in rows of an older table.
const SCORE_COLUMNS: [&str; 35] = [
    "task_answers",
    "task_accuracy_low",
    "task_accuracy_high",
    "task_f1",
    "task_f1_low",
    "task_f1_high",
    "task_f1_macro",
    "task_f1_macro_low",
    "task_f1_macro_high",
    "task_f1_micro",
    "task_f1_micro_low",
    "task_f1_micro_high",
    "task_matthews",
    "task_matthews_low",
    "task_matthews_high",
    "task_subset_accuracy",
    "task_subset_accuracy_low",
    "task_subset_accuracy_high",
    "task_pearson",
    "task_pearson_low",
    "task_pearson_high",
    "task_spearman",
    "task_spearman_low",
    "task_spearman_high",
    "task_exact_match",
    "task_exact_match_low",
    "task_exact_match_high",
    "task_span_f1",
    "task_span_f1_low",
    "task_span_f1_high",
    "perplexity_low",
    "perplexity_high",
    "pseudo_perplexity",
    "pseudo_perplexity_low",
    "pseudo_perplexity_high",
];

/// Writes `results.parquet` into `dir`. Equal rows give equal bytes.
///
/// # Errors
/// [`StoreError`]; an earlier file stays as it was.
pub fn write_results(dir: &Path, rows: &[ResultRow]) -> Result<(), StoreError> {
    let path = dir.join(RESULTS_FILE);
    let frame = results_frame(rows).map_err(StoreError::frame(&path))?;
    write(&path, frame, SCHEMA_VERSION)
}

/// Reads `results.parquet` of `dir`.
///
/// # Errors
/// [`StoreError`] naming the file and the problem.
pub fn read_results(dir: &Path) -> Result<Vec<ResultRow>, StoreError> {
    let path = dir.join(RESULTS_FILE);
    let (mut frame, version) = read(&path)?;
    let added = [
        (7, &WEIGHTS_COLUMNS[..]),
        (8, &COMPARISON_COLUMNS),
        (9, &CAUSE_COLUMNS),
        (10, &SCORE_COLUMNS),
        (11, &SUSTAINED_COLUMNS),
        (12, &PROCESS_COLUMNS),
    ];
    for (_, names) in added.into_iter().filter(|(since, _)| version < *since) {
        add_columns(&mut frame, ResultRow::columns(), names).map_err(StoreError::frame(&path))?;
    }
    let rows = ResultRow::from_frame(&frame).and_then(|rows| rows.into_iter().map(complete_row).collect());
    rows.map_err(|detail| StoreError::damaged(&path, detail))
}

/// Writes `samples.parquet` into `dir`. Equal rows give equal bytes.
///
/// # Errors
/// [`StoreError`]; an earlier file stays as it was.
pub fn write_samples(dir: &Path, rows: &[SampleRow]) -> Result<(), StoreError> {
    let path = dir.join(SAMPLES_FILE);
    let frame = DataFrame::new(rows.len(), SampleRow::to_columns(rows)).map_err(StoreError::frame(&path))?;
    write(&path, frame, SCHEMA_VERSION)
}

/// Reads `samples.parquet` of `dir`.
///
/// # Errors
/// [`StoreError`] naming the file and the problem.
pub fn read_samples(dir: &Path) -> Result<Vec<SampleRow>, StoreError> {
    let path = dir.join(SAMPLES_FILE);
    let (mut frame, version) = read(&path)?;
    if version < 12 {
        add_columns(&mut frame, SampleRow::columns(), &PROCESS_OF_SAMPLE).map_err(StoreError::frame(&path))?;
    }
    SampleRow::from_frame(&frame).map_err(|detail| StoreError::damaged(&path, detail))
}

/// The rows as a dataframe.
///
/// # Errors
/// The dataframe library's error.
pub fn results_frame(rows: &[ResultRow]) -> PolarsResult<DataFrame> {
    DataFrame::new(rows.len(), ResultRow::to_columns(rows))
}

fn write(path: &Path, mut frame: DataFrame, version: u32) -> Result<(), StoreError> {
    let metadata = vec![
        (VERSION_KEY.to_owned(), version.to_string()),
        (DIGEST_KEY.to_owned(), format!("{DIGEST_PREFIX}{}", "0".repeat(DIGEST_LENGTH))),
    ];
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Snappy)
        .set_parallel(false)
        .with_key_value_metadata(Some(KeyValueMetadata::from_static(metadata)))
        .finish(&mut frame)
        .map_err(StoreError::frame(path))?;
    let mut bytes = without_arrow_schema(bytes).map_err(|detail| StoreError::damaged(path, detail))?;
    let start = digest_start(&bytes).ok_or_else(|| StoreError::damaged(path, "the digest was not written"))?;
    let digest = sha256(&bytes);
    bytes[start..start + DIGEST_LENGTH].copy_from_slice(digest.as_bytes());
    Ok(replace(path, &bytes).map_err(FileError::at(path))?)
}

/// Adds columns that an older table lacks, all null.
fn add_columns(frame: &mut DataFrame, columns: Vec<ColumnInfo>, names: &[&str]) -> PolarsResult<()> {
    for column in columns.into_iter().filter(|column| names.contains(&column.name)) {
        frame.with_column(Column::full_null(column.name.into(), frame.height(), &column.dtype))?;
    }
    Ok(())
}

/// A table and its version.
fn read(path: &Path) -> Result<(DataFrame, u32), StoreError> {
    let mut bytes = crate::files::read(path).map_err(StoreError::io(path))?;
    let start =
        digest_start(&bytes).ok_or_else(|| StoreError::damaged(path, "it does not end in mixprec's own digest"))?;
    let digest = bytes[start..start + DIGEST_LENGTH].to_vec();
    bytes[start..start + DIGEST_LENGTH].fill(b'0');
    if sha256(&bytes).as_bytes() != digest {
        return Err(StoreError::damaged(path, "its bytes do not match its digest"));
    }
    // The digest shows that the bytes are as written, not who wrote them. Whoever tampers with a table can also renew
    // its digest.
    catch(|| decode(path, bytes)).map_err(|panic| StoreError::damaged(path, panic))?
}

/// Decodes a table with a valid digest, on this thread only, and its version.
fn decode(path: &Path, bytes: Vec<u8>) -> Result<(DataFrame, u32), StoreError> {
    let mut reader = ParquetReader::new(Cursor::new(bytes)).read_parallel(ParallelStrategy::None);
    let metadata = reader.get_metadata().map_err(StoreError::frame(path))?.key_value_metadata().clone();
    let found = metadata.into_iter().flatten().find(|pair| pair.key == VERSION_KEY).and_then(|pair| pair.value);
    let found = found.unwrap_or_else(|| "unknown".to_owned());
    let (oldest, newest) = (OLDEST_SCHEMA_VERSION, SCHEMA_VERSION);
    let Some(version) = (oldest..=newest).find(|version| version.to_string() == found) else {
        return Err(StoreError::Version { path: path.to_owned(), found, oldest, newest });
    };
    // The library allocates memory by these numbers before it reads the data.
    let metadata = reader.get_metadata().map_err(StoreError::frame(path))?;
    if metadata.row_groups.iter().map(|group| group.num_rows()).chain([metadata.num_rows]).any(|rows| rows > MAX_ROWS) {
        return Err(StoreError::damaged(path, format!("it claims more than {MAX_ROWS} rows")));
    }
    let frame = reader.finish().map_err(StoreError::frame(path))?;
    Ok((frame, version))
}

/// Position of the digest: after the last occurrence of its prefix, which lies in the footer.
fn digest_start(bytes: &[u8]) -> Option<usize> {
    let prefix = DIGEST_PREFIX.as_bytes();
    let start = bytes.windows(prefix.len()).rposition(|window| window == prefix)? + prefix.len();
    (start + DIGEST_LENGTH <= bytes.len()).then_some(start)
}

#[cfg(test)]
mod tests {
    use polars_parquet_format::ColumnChunk;

    use super::super::footer::read_footer;
    use super::*;

    fn samples() -> Vec<SampleRow> {
        let row = |index: u64| SampleRow {
            id: format!("{:016x}", index % 3),
            environment: "feedfacecafebeef".to_owned(),
            index,
            process: (index % 3 == 1).then_some(index / 6),
            latency_ms: Some(1.5 + index as f64),
            device_ms: index.is_multiple_of(2).then_some(0.5 + index as f64),
            end_to_end_ms: None,
            aa_first_ms: None,
            aa_second_ms: (index < 20).then_some(2.5),
        };
        (0..100).map(row).collect()
    }

    #[test]
    fn rows_survive_and_equal_rows_are_equal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        write_samples(dir.path(), &samples()).unwrap();
        let first = std::fs::read(dir.path().join(SAMPLES_FILE)).unwrap();
        assert_eq!(read_samples(dir.path()).unwrap(), samples());
        write_samples(dir.path(), &samples()).unwrap();
        assert_eq!(std::fs::read(dir.path().join(SAMPLES_FILE)).unwrap(), first);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    /// Views of Arrow are unknown to many readers; tests/report/readers.rs opens tables in one.
    #[test]
    fn text_is_the_formats_own_and_columns_have_statistics() {
        let dir = tempfile::tempdir().unwrap();
        write_samples(dir.path(), &samples()).unwrap();
        let (_, footer) = read_footer(&std::fs::read(dir.path().join(SAMPLES_FILE)).unwrap()).unwrap();
        let keys: Vec<_> = footer.key_value_metadata.iter().flatten().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, [VERSION_KEY, DIGEST_KEY]);
        let columns: Vec<_> = footer.row_groups.iter().flat_map(|group| &group.columns).collect();
        assert_eq!(columns.len(), SampleRow::columns().len());
        let counted = |column: &ColumnChunk| column.meta_data.as_ref()?.statistics.as_ref()?.null_count;
        assert!(columns.into_iter().all(|column| counted(column).is_some()));
    }

    #[test]
    fn an_empty_table_is_a_table() {
        let dir = tempfile::tempdir().unwrap();
        write_results(dir.path(), &[]).unwrap();
        assert_eq!(read_results(dir.path()).unwrap(), []);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SAMPLES_FILE);
        write_samples(dir.path(), &samples()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 1 << (position % 8);
            std::fs::write(&path, &bytes).unwrap();
            let error = read_samples(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "byte {position}: {error}");
        }
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = read_samples(dir.path()).unwrap_err().to_string();
            assert!(error.contains("damaged table") && error.contains("run `mixprec run` again"), "{error}");
        }
    }

    /// Found by fuzzing: a nonsensical footer makes the library panic.
    #[test]
    fn a_table_whose_footer_was_changed_and_sealed_again_is_an_error_or_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SAMPLES_FILE);
        write_samples(dir.path(), &samples()[..3]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // The footer's length precedes the last four bytes. A changed run length in the pages before the footer makes
        // the library request more memory than there is, which ends the process (fuzz/known/tables).
        let length = whole[whole.len() - 8..whole.len() - 4].try_into().map(u32::from_le_bytes).unwrap() as usize;
        let footer = whole.len() - 8 - length..whole.len();
        for (position, mask) in footer.flat_map(|position| [(position, 0x01), (position, 0x13)]) {
            let mut bytes = whole.clone();
            bytes[position] ^= mask;
            let Some(start) = digest_start(&bytes) else { continue };
            bytes[start..start + DIGEST_LENGTH].fill(b'0');
            let digest = sha256(&bytes);
            bytes[start..start + DIGEST_LENGTH].copy_from_slice(digest.as_bytes());
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read_samples(dir.path()) {
                assert!(error.to_string().contains(SAMPLES_FILE), "{position}: {error}");
            }
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SAMPLES_FILE);
        write_samples(dir.path(), &samples()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let key = bytes.windows(VERSION_KEY.len()).rposition(|window| window == VERSION_KEY.as_bytes()).unwrap();
        // Thrift puts a field header and a length between key and value.
        let value = key + VERSION_KEY.len() + 2;
        assert_eq!(bytes[value..=value + 1], *SCHEMA_VERSION.to_string().as_bytes());
        bytes[value..=value + 1].copy_from_slice(b"99");
        let start = digest_start(&bytes).unwrap();
        bytes[start..start + DIGEST_LENGTH].fill(b'0');
        let digest = sha256(&bytes);
        bytes[start..start + DIGEST_LENGTH].copy_from_slice(digest.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = read_samples(dir.path()).unwrap_err().to_string();
        let known = format!("schema version 99, but this program reads versions 6 to {SCHEMA_VERSION}");
        assert!(error.contains(&known), "{error}");
    }

    #[test]
    fn a_table_of_schema_7_is_read_without_the_comparison_of_all_forwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESULTS_FILE);
        let counted = ResultRow { forwards: Some(4), broken_rows: Some(1), ..ResultRow::default() };
        let frame = results_frame(std::slice::from_ref(&counted)).unwrap().drop_many(COMPARISON_COLUMNS);
        write(&path, frame.clone(), 7).unwrap();
        assert_eq!(read_results(dir.path()).unwrap(), [ResultRow { broken_rows: None, ..counted }]);
        write(&path, frame, 8).unwrap();
        let error = read_results(dir.path()).unwrap_err().to_string();
        assert!(error.contains("column `forward_compared_rows` is missing"), "{error}");
    }

    #[test]
    fn a_read_only_folder_is_one_clear_error() {
        let error = write_samples(Path::new("/proc/self"), &samples()).unwrap_err().to_string();
        assert!(error.starts_with("/proc/self/samples.parquet: "), "{error}");
    }
}
