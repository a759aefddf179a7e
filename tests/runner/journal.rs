//! Damaged journals and changed manifests.

use std::path::PathBuf;

use crate::experiment::{CONFIGURATIONS, Experiment};

#[test]
fn a_truncated_journal_is_completed() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let expected = experiment.rows_without_times();
    let bytes = experiment.journal_bytes();
    std::fs::write(experiment.dir().join("journal.jsonl"), &bytes[..bytes.len() - 100]).unwrap();
    let stderr = experiment.expect(0, "", &[]);
    assert!(stderr.contains("journal.jsonl:13: cut off a torn last line"), "{stderr}");
    assert_eq!(experiment.rows_without_times(), expected);
    assert_eq!(experiment.journal().records.len(), CONFIGURATIONS);
}

/// Rows add up to what the run took, whatever it did between them.
#[test]
fn every_row_knows_its_share_of_the_runs_time() {
    let experiment = Experiment::new();
    let start = std::time::Instant::now();
    experiment.expect(0, "", &[]);
    let whole = start.elapsed().as_secs_f64();
    let records = experiment.journal().records;
    let shares: Vec<f64> = records.iter().map(|record| record.wall_s.unwrap()).collect();
    assert!(shares.iter().all(|share| *share > 0.0), "{shares:?}");
    let sum: f64 = shares.iter().sum();
    assert!(sum < whole && sum > 0.2 * whole, "{sum} of {whole} s");
    let rows = mixprec::store::parquet::read_results(experiment.dir()).unwrap();
    assert_eq!(rows.iter().filter_map(|row| row.wall_s).sum::<f64>(), sum);
}

#[test]
fn a_flipped_bit_is_refused_then_set_aside_by_force() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let expected = experiment.rows_without_times();
    let mut bytes = experiment.journal_bytes();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    let line = bytes[..middle].iter().filter(|&&byte| byte == b'\n').count() + 1;
    std::fs::write(experiment.dir().join("journal.jsonl"), &bytes).unwrap();
    let refused = experiment.expect(2, "", &[]);
    assert!(refused.contains(&format!("journal.jsonl:{line}: ")) && refused.contains("--force"), "{refused}");
    assert_eq!(experiment.journal_bytes(), bytes, "refusing changes nothing");
    let forced = experiment.expect(0, "", &["--force"]);
    assert!(forced.contains("moved 1 line(s) to journal.damaged"), "{forced}");
    assert!(experiment.dir().join("journal.damaged").exists());
    assert_eq!(experiment.rows_without_times(), expected);
}

#[test]
fn another_protocol_is_refused() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let before = experiment.journal_bytes();
    let environments = || -> Vec<(PathBuf, String)> {
        let files = std::fs::read_dir(experiment.dir().join("environments")).unwrap().map(|file| file.unwrap().path());
        files.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
    };
    let provenance = environments();
    assert_eq!(provenance.len(), 1);
    experiment.manifest(|text| text.replace("warmup: 1", "warmup: 2"));
    let refused = experiment.expect(2, "", &[]);
    assert!(refused.contains("must not mix") && refused.contains("--out"), "{refused}");
    assert_eq!(experiment.journal_bytes(), before);
    assert_eq!(environments(), provenance, "the manifest of a refused run is not that of the rows");
}

#[test]
fn a_grown_manifest_measures_what_is_new() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let before = experiment.journal_bytes();
    experiment.manifest(|text| text.replace("[1, 2]", "[1, 2, 3]").replace("configurations: 12", "configurations: 18"));
    experiment.expect(0, "", &[]);
    assert!(experiment.journal_bytes().starts_with(&before));
    assert_eq!(experiment.journal().records.len(), 18);
}
