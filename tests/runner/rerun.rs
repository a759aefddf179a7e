//! One row of a results folder, measured again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mixprec::record::Outcome;
use mixprec::store::derive_tables;
use mixprec::store::journal::{Journal, OnDamage};
use mixprec::store::parquet::{read_results, write_results, write_samples};
use mixprec::store::schema::ResultRow;

use crate::experiment::Experiment;
use crate::merging::mixprec;

/// A finished run, published without its journal, and its rows.
fn published() -> (Experiment, Vec<ResultRow>) {
    published_with(None)
}

/// The same with these samples in place of every row's.
fn published_with(samples_ms: Option<&[f64]>) -> (Experiment, Vec<ResultRow>) {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let journal = experiment.dir().join("journal.jsonl");
    if let Some(samples_ms) = samples_ms {
        let mut contents = experiment.journal();
        std::fs::remove_file(&journal).unwrap();
        let mut written = Journal::open(experiment.dir(), &contents.header, OnDamage::Refuse).unwrap().journal;
        for record in &mut contents.records {
            if let Outcome::Ok(measured) = &mut record.outcome {
                measured.samples_ms = samples_ms.to_vec();
                measured.end_to_end_ms.clear();
            }
            written.append(record).unwrap();
        }
        let plan = std::fs::read(experiment.dir().join("plan.json")).unwrap();
        derive_tables(experiment.dir(), &serde_json::from_slice(&plan).unwrap()).unwrap();
    }
    std::fs::remove_file(journal).unwrap();
    let rows = read_results(experiment.dir()).unwrap();
    (experiment, rows)
}

/// Repeats a row and expects this exit code; returns standard output and standard error.
fn rerun(code: i32, dir: &Path, id: &str, more: &[&str]) -> (String, String) {
    let mut arguments = vec!["rerun", dir.to_str().unwrap(), "--id", id];
    arguments.extend(more);
    let (found, stdout, stderr) = mixprec(&arguments);
    assert_eq!(found, Some(code), "{stdout}{stderr}");
    (stdout, stderr)
}

fn change(dir: &Path, rows: &[ResultRow], with: impl Fn(&mut ResultRow)) {
    let mut rows = rows.to_vec();
    rows.iter_mut().for_each(with);
    write_results(dir, &rows).unwrap();
}

/// Samples whose median has an interval that every machine's median lies in.
const WIDE: [f64; 6] = [1e-9, 1e-9, 1e-9, 1e9, 1e9, 1e9];

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_row_is_repeated_from_tables_alone_and_the_folder_stays_as_it_is() {
    let (experiment, rows) = published_with(Some(&WIDE));
    let before = files(experiment.dir());
    let (stdout, _) = rerun(0, experiment.dir(), &rows[3].id, &[]);
    for line in ["mock tiny fp32 2x16 random (", "recorded", "median latency, ms", "n = 6", "overlap.", "NaN"] {
        assert!(stdout.contains(line), "`{line}` is not in: {stdout}");
    }
    assert!(!stdout.contains("do not overlap"), "{stdout}");
    assert!(stdout.contains("The environments do not differ."), "{stdout}");
    assert_eq!(files(experiment.dir()), before);
    assert!(!experiment.dir().join("journal.jsonl").exists());
}

#[test]
fn intervals_apart_are_exit_code_one() {
    let (experiment, rows) = published_with(Some(&[1e9; 6]));
    let (stdout, _) = rerun(1, experiment.dir(), &rows[0].id[..8], &["--json"]);
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(found["agreement"], "differs");
    assert_eq!(found["recorded"]["latency_p50_ms"], 1e9);
    let here = found["here"]["latency_p50_ms"].as_f64().unwrap();
    assert!((0.0..1e5).contains(&here), "{here}");
    assert_eq!(found["ratio"]["value"].as_f64().unwrap(), here / 1e9);
    let (stdout, _) = rerun(1, experiment.dir(), &rows[0].id, &[]);
    assert!(stdout.contains("do not overlap"), "{stdout}");
    // Nothing can be said of a median without an interval.
    let (experiment, rows) = published_with(Some(&[1e9; 2]));
    let (stdout, _) = rerun(0, experiment.dir(), &rows[0].id, &[]);
    assert!(stdout.contains("nothing is decided"), "{stdout}");
}

#[test]
fn only_what_differs_between_the_environments_is_printed() {
    let (experiment, rows) = published_with(Some(&WIDE));
    let folder = experiment.dir().join("environments");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    let mut environment: serde_json::Value = serde_json::from_str(&text).unwrap();
    environment["machine"]["kernel"] = "1.2.3-old".into();
    environment["manifest_sha256"] = "0".repeat(64).into();
    std::fs::write(&file, environment.to_string()).unwrap();
    let (stdout, _) = rerun(0, experiment.dir(), &rows[0].id, &[]);
    let differing: Vec<&str> = stdout.lines().skip_while(|line| !line.starts_with("What differs")).skip(1).collect();
    assert_eq!(differing.len(), 1, "{stdout}");
    assert!(differing[0].starts_with("machine.kernel") && differing[0].contains("1.2.3-old"), "{stdout}");
}

#[test]
fn a_row_that_cannot_be_meant_is_refused_by_name() {
    let (experiment, rows) = published();
    let (_, stderr) = rerun(2, experiment.dir(), "ffffffffffffffff", &[]);
    assert!(stderr.contains("no configuration `ffffffffffffffff`") && stderr.contains("results.parquet"), "{stderr}");
    let (_, stderr) = rerun(2, experiment.dir(), "", &[]);
    assert!(stderr.contains("no configuration ``"), "{stderr}");
    let (_, stderr) = rerun(2, experiment.dir(), &rows[0].id, &["--environment", "0123"]);
    assert!(stderr.contains(rows[0].environment.as_deref().unwrap()) && stderr.contains("--environment"), "{stderr}");
    change(experiment.dir(), &rows, |row| {
        *row = ResultRow { id: row.id.clone(), ..ResultRow::default() };
    });
    write_samples(experiment.dir(), &[]).unwrap();
    let (_, stderr) = rerun(2, experiment.dir(), &rows[0].id, &[]);
    assert!(stderr.contains("planned and not run"), "{stderr}");
}

#[test]
fn a_row_that_fails_here_is_said_to() {
    let (experiment, rows) = published();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mixprec"))
        .args(["rerun", experiment.dir().to_str().unwrap(), "--id", &rows[0].id])
        .env("MIXPREC_MOCK_FAULT", "error")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("failed") && stdout.contains("asked to fail"), "{stdout}");
    assert!(stdout.contains("One was measured and the other was not."), "{stdout}");
}
