//! Where the weights of rows came from: through journal and tables of this version and of schema 6.

use std::io::Write;
use std::path::{Path, PathBuf};

use mixprec::analysis::agreement::{Limits, agreement};
use mixprec::analysis::facts::has_random_weights;
use mixprec::digest::sha256;
use mixprec::model::{Injection, WeightsOrigin, WeightsProvenance};
use mixprec::plan::Plan;
use mixprec::record::{Outcome, Record, Status};
use mixprec::report::sentences::caveats::caveats;
use mixprec::results::data::Data;
use mixprec::store::journal::{self, Header, JOURNAL_FILE, Journal, OnDamage};
use mixprec::store::parquet::{read_results, write_results};
use mixprec::store::schema::{ResultRow, WeightsKind};
use mixprec::store::{derive, derive_tables};
use serde_json::Value;

use super::fixture;

const REPOSITORY: &str = "owner/name, injected outlier of every kind, standing in for b";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every kind, with and without an outlier.
fn every_variant() -> Vec<WeightsProvenance> {
    let digits = "4e79316360bf9092".repeat(4);
    let (repository, revision) = ("owner/name".to_owned(), "0123456789".repeat(4));
    let origins = [
        WeightsOrigin::Folder { sha256: digits.clone() },
        WeightsOrigin::Hub { repository, revision: revision.clone(), sha256: digits.clone() },
        WeightsOrigin::Random { seed: u64::MAX },
        WeightsOrigin::StandIn { seed: 0, repository: REPOSITORY.to_owned(), revision: Some(revision) },
        WeightsOrigin::StandIn { seed: 0, repository: "owner/name".to_owned(), revision: None },
        WeightsOrigin::Labelled { sha256_start: digits[..16].to_owned() },
    ];
    let outliers = [None, Some(Injection { layer: 2, channel: 447, magnitude: 3000.1 })];
    let with = |outlier| origins.iter().map(move |origin| WeightsProvenance { origin: origin.clone(), outlier });
    outliers.into_iter().flat_map(with).collect()
}

fn begin_journal(dir: &Path, plan: &Plan) -> Journal {
    Journal::open(dir, &Header::of(plan), OnDamage::Refuse).unwrap().journal
}

/// The laptop's run, all of one kind of weights.
fn run_with(weights: &WeightsProvenance) -> (Data, Vec<Record>) {
    let mut data = fixture::laptop();
    let mut records = fixture::laptop_records(&data.plan);
    for record in &mut records {
        if let Outcome::Ok(measured) = &mut record.outcome {
            (measured.model_provenance, measured.weights) = (weights.to_string(), Some(weights.clone()));
        }
    }
    data.rows = derive::derive(&data.plan, &records);
    (data, records)
}

/// A record as a version before the typed weights wrote it.
fn without_weights(record: &Record) -> Value {
    let mut json = serde_json::to_value(record).unwrap();
    if let Some(measured) = json.pointer_mut("/outcome/ok") {
        assert!(measured.as_object_mut().unwrap().remove("weights").is_some());
    }
    json
}

/// Appends a row as it stands.
fn append(dir: &Path, row: &Value) {
    let text = row.to_string();
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.join(JOURNAL_FILE)).unwrap();
    writeln!(file, "{} {text}", &sha256(text.as_bytes())[..16]).unwrap();
}

fn measured(rows: &[ResultRow]) -> impl Iterator<Item = &ResultRow> {
    rows.iter().filter(|row| row.status == Status::Ok)
}

#[test]
fn every_variant_survives_journal_and_tables() {
    for weights in every_variant() {
        let (data, records) = run_with(&weights);
        let dir = tempfile::tempdir().unwrap();
        fixture::write(dir.path(), &data, &records);
        let mut journal = begin_journal(dir.path(), &data.plan);
        records.iter().for_each(|record| journal.append(record).unwrap());
        assert_eq!(journal::read(dir.path()).unwrap().records, records);
        derive_tables(dir.path(), &data.plan).unwrap();
        let rows = read_results(dir.path()).unwrap();
        assert_eq!(rows, data.rows);
        assert_eq!(Data::read(dir.path()).unwrap().rows, data.rows);
        assert!(measured(&rows).all(|row| row.weights().as_ref() == Some(&weights)), "{weights:?}");
        assert!(rows.iter().all(|row| (row.status == Status::Ok) == row.weights().is_some()));
    }
}

#[test]
fn an_older_journal_says_by_its_labels_what_the_weights_are() {
    for weights in every_variant() {
        let (data, records) = run_with(&weights);
        let dir = tempfile::tempdir().unwrap();
        fixture::write(dir.path(), &data, &records);
        std::fs::remove_file(dir.path().join("results.parquet")).unwrap();
        drop(begin_journal(dir.path(), &data.plan));
        records.iter().for_each(|record| append(dir.path(), &without_weights(record)));
        let rows = Data::read(dir.path()).unwrap().rows;
        let labels = |rows: &[ResultRow]| rows.iter().map(|row| row.model_provenance.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&rows), labels(&data.rows));
        assert!(measured(&rows).all(|row| row.weights().unwrap().same_weights(&weights)), "{weights:?}");
        assert!(measured(&rows).all(|row| has_random_weights(row) == weights.is_random()), "{weights:?}");
        // Tables derived anew follow from that journal, and rows measured since go with the older ones.
        derive_tables(dir.path(), &data.plan).unwrap();
        assert_eq!(Data::read(dir.path()).unwrap().rows, rows);
        append(dir.path(), &serde_json::to_value(&records[0]).unwrap());
        let rows = Data::read(dir.path()).unwrap().rows;
        assert_eq!(rows[0].weights().as_ref(), Some(&weights));
        assert_eq!(measured(&rows).count(), 34);
    }
}

#[test]
fn a_table_of_labels_follows_from_a_journal_that_knows_more() {
    let sha256 = "4e79316360bf9092".repeat(4);
    let (data, records) = run_with(&WeightsOrigin::Folder { sha256: sha256.clone() }.into());
    let dir = tempfile::tempdir().unwrap();
    fixture::write(dir.path(), &data, &records);
    let mut journal = begin_journal(dir.path(), &data.plan);
    records.iter().for_each(|record| journal.append(record).unwrap());
    let read_beside = |origin: WeightsOrigin| {
        let mut rows = data.rows.clone();
        let weights = origin.into();
        rows.iter_mut().filter(|row| row.status == Status::Ok).for_each(|row| row.set_weights(&weights));
        write_results(dir.path(), &rows).unwrap();
        Data::read(dir.path())
    };
    assert_eq!(read_beside(WeightsOrigin::Labelled { sha256_start: sha256[..16].to_owned() }).unwrap().rows, data.rows);
    for other in [
        WeightsOrigin::Labelled { sha256_start: "0".repeat(16) },
        WeightsOrigin::Folder { sha256: format!("{}0", &sha256[..63]) },
    ] {
        let error = read_beside(other).unwrap_err().to_string();
        assert!(error.contains("weights_") && error.contains("do(es) not follow from journal.jsonl"), "{error}");
    }
}

#[test]
fn a_journal_whose_label_is_not_that_of_its_weights_is_damaged() {
    let (data, mut records) = run_with(&WeightsOrigin::Random { seed: 1 }.into());
    let Outcome::Ok(measured) = &mut records[0].outcome else { panic!("measured") };
    measured.model_provenance = "random weights, seed 2".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let mut journal = begin_journal(dir.path(), &data.plan);
    records[..2].iter().for_each(|record| journal.append(record).unwrap());
    let error = journal::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl:2: 1 damaged line"), "{error}");
}

/// A run of the version that wrote schema 6, tables and journal.
#[test]
fn a_folder_of_schema_6_is_read_with_the_weights_of_its_labels() {
    let run: Value = serde_json::from_slice(&std::fs::read(root("fuzz/seeds/run.json")).unwrap()).unwrap();
    let plan: Plan = serde_json::from_value(run["plan"].clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for table in ["results.parquet", "samples.parquet"] {
        std::fs::copy(root("fuzz/seeds/tables").join(table), dir.path().join(table)).unwrap();
    }
    let rows = read_results(dir.path()).unwrap();
    let known = |row: &ResultRow| row.weights().map(|weights| weights.to_string());
    assert!(measured(&rows).count() > 0 && rows.iter().all(|row| known(row) == row.model_provenance));
    assert!(measured(&rows).all(|row| row.weights_kind == Some(WeightsKind::Random)));
    std::fs::write(dir.path().join("plan.json"), run["plan"].to_string()).unwrap();
    std::fs::create_dir(dir.path().join("environments")).unwrap();
    for id in run["records"].as_array().unwrap().iter().map(|record| record["environment"].as_str().unwrap()) {
        std::fs::write(dir.path().join(format!("environments/{id}.json")), run["environment"].to_string()).unwrap();
    }
    drop(begin_journal(dir.path(), &plan));
    run["records"].as_array().unwrap().iter().for_each(|record| append(dir.path(), record));
    assert_eq!(Data::read(dir.path()).unwrap().rows, rows);
}

#[test]
fn tables_of_schema_6_and_published_ones_are_read() {
    let mut kinds = Vec::new();
    for folder in ["tests/report/schema6", "artifacts/h200", "artifacts/h200-stand-ins"] {
        for row in read_results(&root(folder)).unwrap() {
            let weights = row.weights();
            assert_eq!(weights.as_ref().map(ToString::to_string), row.model_provenance, "{folder}");
            let outlier = weights.and_then(|weights| weights.outlier).map(|outlier| outlier.to_string());
            assert_eq!(outlier, row.injection.filter(|_| row.model_provenance.is_some()), "{folder}");
            kinds.extend(row.weights_kind);
        }
    }
    assert!(kinds.contains(&WeightsKind::StandIn) && kinds.contains(&WeightsKind::Labelled), "{kinds:?}");
}

#[test]
fn a_repository_may_read_like_the_rest_of_a_label() {
    let stand_in = |repository: &str| {
        let revision = Some("0123456789".repeat(4));
        WeightsProvenance::from(WeightsOrigin::StandIn { seed: 0, repository: repository.to_owned(), revision })
    };
    let named = "a/b, injected outlier of 3 in layer 1, channel 2";
    let outlier = Some(Injection { layer: 1, channel: 2, magnitude: 3.0 });
    let injected = WeightsProvenance { outlier, ..stand_in("a/b") };
    assert_eq!(stand_in(named).to_string(), injected.to_string());
    let (first, second) = (run_with(&stand_in(named)).0, run_with(&injected).0);
    let said = |data: &Data| caveats(data).into_iter().find(|text| text.contains("in place of")).unwrap();
    assert!(said(&first).contains(&format!("bert-base has random weights in place of {named}; ")), "{}", said(&first));
    assert!(said(&second).contains("bert-base has random weights in place of a/b; "), "{}", said(&second));
    let compared = agreement((Path::new("a"), &first), (Path::new("b"), &second), Limits::default());
    let error = compared.unwrap_err().to_string();
    assert!(error.contains("other weights"), "{error}");
}
