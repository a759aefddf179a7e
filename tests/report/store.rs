//! Tables derived from records.

use std::collections::BTreeSet;

use mixprec::engine::Ceilings;
use mixprec::model::{WeightsOrigin, WeightsProvenance};
use mixprec::record::Status;
use mixprec::record::{Failure, FailureKind, Outcome, Record};
use mixprec::results::data::Data;
use mixprec::store::derive;
use mixprec::store::journal::{Header, Journal, OnDamage};
use mixprec::store::parquet::{read_results, read_samples, write_results, write_samples};
use mixprec::store::schema::SampleRow;

use super::fixture;

#[test]
fn every_planned_configuration_is_a_row_in_plan_order() {
    let data = fixture::laptop();
    let planned: Vec<String> =
        data.plan.configurations.iter().map(|configuration| configuration.id.to_string()).collect();
    assert_eq!(data.rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), planned);
    assert_eq!((data.count(Status::Ok), data.count(Status::Failed), data.count(Status::Pending)), (34, 1, 1));
    let failed = &data.rows[7];
    assert_eq!((failed.failure_kind, failed.latency_p50_ms, failed.nan_count), (Some(FailureKind::Crash), None, None));
    assert!(failed.reason.as_deref().unwrap().contains("SIGSEGV"));
}

#[test]
fn statistics_come_from_the_raw_samples() {
    let data = fixture::server();
    let row = &data.rows[0];
    let samples = fixture::measured(&data.plan.configurations[0]).samples_ms;
    let mut sorted = samples.clone();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(row.latency_p50_ms.unwrap(), f64::midpoint(sorted[349], sorted[350]));
    assert!(row.latency_p50_low_ms.unwrap() < row.latency_p50_ms.unwrap());
    assert_eq!(row.latency_p99_ms.unwrap(), sorted[692]);
    assert_eq!(data.rows[299].latency_p90_ms, None, "15 samples support no percentile");
    let per_second = 1e3 / row.latency_p50_ms.unwrap();
    assert!((row.throughput_tokens_per_s.unwrap() - 32.0 * per_second).abs() < 1e-6);
}

#[test]
fn the_last_record_of_a_configuration_wins_and_strangers_are_left_out() {
    let plan = fixture::plan(&fixture::LAPTOP);
    let mut records = fixture::records(&plan, "e");
    let failed = Outcome::Failed(Failure {
        kind: FailureKind::Timeout,
        reason: "late".to_owned(),
        files: None,
        libraries: None,
    });
    records.insert(0, Record { outcome: failed.clone(), ..records[0].clone() });
    let stranger =
        Record { id: mixprec::plan::ConfigurationId("ffff".to_owned()), outcome: failed, ..records[0].clone() };
    records.push(stranger);
    let rows = derive::derive(&plan, &records);
    assert_eq!(rows.len(), plan.configurations.len());
    assert!(rows.iter().all(|row| row.status == Status::Ok));
}

#[test]
fn a_share_of_a_ceiling_is_the_longer_bound_over_the_device_time() {
    let plan = fixture::plan(&fixture::LAPTOP);
    let mut records = fixture::records(&plan, "e");
    records.truncate(1);
    let Outcome::Ok(measured) = &mut records[0].outcome else { panic!("{:?}", records[0].outcome) };
    measured.device_samples_ms = vec![2.0; 7];
    measured.cost.flops = 3_000_000;
    measured.cost.compulsory_bytes = Some(1_000_000);
    // 1 ms of copies in any case; the operations take 0.75 ms at the burst's rate and 1.5 ms under sustained load.
    measured.ceilings = Some(Ceilings { flops_per_s: 4e9, sustained_flops_per_s: Some(2e9), bytes_per_s: 1e9 });
    let row = derive::derive(&plan, &records).remove(0);
    assert_eq!((row.ceiling_share, row.ceiling_sustained_share), (Some(0.5), Some(0.75)));
}

#[test]
fn tables_survive_the_disk_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, data) = (fixture::plan(&fixture::LAPTOP), fixture::laptop());
    let records = fixture::laptop_records(&plan);
    fixture::write(dir.path(), &data, &records);
    assert_eq!(read_results(dir.path()).unwrap(), data.rows);
    let samples = read_samples(dir.path()).unwrap();
    assert_eq!(samples.len(), 34 * 15);
    let bytes = std::fs::read(dir.path().join("results.parquet")).unwrap();
    write_results(dir.path(), &data.rows).unwrap();
    assert_eq!(std::fs::read(dir.path().join("results.parquet")).unwrap(), bytes);
}

#[test]
fn rows_of_replaced_weights_are_pending_until_they_are_measured_again() {
    let plan = fixture::plan(&fixture::LAPTOP);
    let mut records = fixture::records(&plan, fixture::ENVIRONMENT);
    // An interrupted run with other weights reached two rows of the first model.
    let again: Vec<Record> = records[..2].iter().cloned().map(replaced).collect();
    records.extend(again);
    let rows = derive::derive(&plan, &records);
    let first = plan.configurations[0].model.clone();
    for (index, row) in rows.iter().enumerate() {
        let expected = if row.model != first || index < 2 { Status::Ok } else { Status::Pending };
        assert_eq!(row.status, expected, "{index}");
    }
    assert!(rows[..2].iter().all(|row| row.model_provenance.as_deref() == Some("checkpoint sha256 1234123412341234")));
    let sampled = derive::samples(&plan, &records).into_iter().map(|sample| sample.id).collect::<BTreeSet<_>>();
    assert_eq!(sampled.len(), rows.iter().filter(|row| row.status == Status::Ok).count());
}

fn replaced(mut record: Record) -> Record {
    if let Outcome::Ok(measured) = &mut record.outcome {
        let weights = WeightsProvenance::from(WeightsOrigin::Folder { sha256: "1234".repeat(16) });
        measured.model_provenance = weights.to_string();
        measured.weights = Some(weights);
    }
    record
}

/// Writes the folder of a laptop's run; with a journal of these records where there are any.
fn folder(data: &Data, records: &[Record], journal: &[Record]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fixture::write(dir.path(), data, records);
    let header = Header::of(&data.plan);
    if !journal.is_empty() {
        let mut opened = Journal::open(dir.path(), &header, OnDamage::Refuse).unwrap().journal;
        journal.iter().for_each(|record| opened.append(record).unwrap());
    }
    dir
}

#[test]
fn tables_may_be_older_than_the_journal_and_not_otherwise_different() {
    let data = fixture::laptop();
    let records = fixture::laptop_records(&data.plan);
    let mut later = records.clone();
    later.push(Record { finished_unix_s: Some(1_764_000_001), ..records[0].clone() });
    let dir = folder(&data, &records, &later);
    assert_eq!(Data::read(dir.path()).unwrap().rows[0].finished_unix_s, Some(1_764_000_001));
    let error = |dir: &tempfile::TempDir| Data::read(dir.path()).err().unwrap().to_string();
    let mut rows = data.rows.clone();
    rows[8].cosine_min = Some(1.0);
    write_results(dir.path(), &rows).unwrap();
    let text = error(&dir);
    assert!(
        text.contains("results.parquet: 000000005eed0008 was changed after it was measured: cosine_min do"),
        "{text}"
    );
    write_results(dir.path(), &data.rows).unwrap();
    let mut samples = read_samples(dir.path()).unwrap();
    samples[20].latency_ms = samples[20].latency_ms.map(|ms| ms + 1e-9);
    write_samples(dir.path(), &samples).unwrap();
    let text = error(&dir);
    assert!(text.contains("samples.parquet: 000000005eed0001 was changed") && text.contains("journal.jsonl"), "{text}");
}

/// Every time of a published row is computed again from its samples.
#[test]
fn published_times_must_follow_from_the_samples() {
    let data = fixture::laptop();
    let records = fixture::laptop_records(&data.plan);
    let dir = folder(&data, &records, &[]);
    assert_eq!(Data::read(dir.path()).unwrap().rows, data.rows);
    type Change = fn(&mut mixprec::store::schema::ResultRow);
    let changes: [(&str, Change); 5] = [
        ("latency_p50_ms", |row| row.latency_p50_ms = row.latency_p50_ms.map(|median| median * 0.999)),
        ("latency_p50_low_ms", |row| row.latency_p50_low_ms = None),
        ("throughput_tokens_per_s", |row| row.throughput_tokens_per_s = Some(1e9)),
        ("device_p50_ms", |row| row.device_p50_ms = Some(1.0)),
        ("samples", |row| row.samples = Some(1000)),
    ];
    for (column, change) in changes {
        let mut rows = data.rows.clone();
        change(&mut rows[5]);
        write_results(dir.path(), &rows).unwrap();
        let error = Data::read(dir.path()).unwrap_err().to_string();
        let expected =
            format!("000000005eed0005 was changed after it was measured: {column} do(es) not follow from samples");
        assert!(error.contains(&expected), "{error}");
    }
    write_results(dir.path(), &data.rows).unwrap();
    let mut samples = read_samples(dir.path()).unwrap();
    samples.retain(|sample| sample.id != "000000005eed0002");
    write_samples(dir.path(), &samples).unwrap();
    let error = Data::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("000000005eed0002 was changed after it was measured: samples, latency_mean_ms"), "{error}");
    std::fs::remove_file(dir.path().join("samples.parquet")).unwrap();
    assert!(Data::read(dir.path()).unwrap_err().to_string().contains("samples.parquet: no such table"));
}

/// Samples of a row with an A/A test, changed in every way that the columns allow.
#[test]
fn samples_and_rounds_are_whole_series_in_their_order() {
    let data = fixture::server();
    let records = fixture::records(&data.plan, fixture::ENVIRONMENT);
    let tested = data.rows.iter().find(|row| row.aa_ratio.is_some()).unwrap();
    let untested = data.rows.iter().find(|row| row.aa_ratio.is_none() && row.samples > Some(3)).unwrap();
    type Change = fn(&mut Vec<&mut SampleRow>);
    let changes: [(&str, &str, &str, Change); 8] = [
        (&tested.id, "results.parquet", "aa_ratio, aa_ratio_low, aa_ratio_high", |rows| {
            rows.iter_mut().for_each(|row| row.aa_second_ms = row.aa_second_ms.map(|ms| ms * 2.0));
        }),
        (&tested.id, "samples.parquet", "aa_first_ms, aa_second_ms", |rows| {
            rows.iter_mut().rfind(|row| row.aa_second_ms.is_some()).unwrap().aa_second_ms = None;
        }),
        (&untested.id, "samples.parquet", "aa_first_ms, aa_second_ms", |rows| rows[0].aa_second_ms = Some(1.0)),
        (&tested.id, "samples.parquet", "aa_first_ms", |rows| {
            (rows[0].aa_first_ms, rows[0].aa_second_ms) = (None, rows[0].aa_second_ms);
            rows.iter_mut().rfind(|row| row.aa_second_ms.is_some()).unwrap().aa_second_ms = None;
        }),
        (&untested.id, "samples.parquet", "latency_ms", |rows| rows[1].latency_ms = None),
        (&untested.id, "samples.parquet", "index", |rows| rows[2].index = 7),
        (&untested.id, "samples.parquet", "index", |rows| (rows[0].index, rows[1].index) = (1, 0)),
        (&untested.id, "samples.parquet", "id", |rows| {
            rows.iter_mut().for_each(|row| row.id = "00000000deadbeef".to_owned());
        }),
    ];
    for journal in [&[][..], &records] {
        let dir = folder(&data, &records, journal);
        assert_eq!(Data::read(dir.path()).unwrap().rows, data.rows);
        let good = read_samples(dir.path()).unwrap();
        for (id, file, columns, change) in &changes {
            let mut samples = good.clone();
            change(&mut samples.iter_mut().filter(|sample| sample.id == *id).collect());
            write_samples(dir.path(), &samples).unwrap();
            let error = Data::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("was changed after it was measured"), "{columns}: {error}");
            if journal.is_empty() && *columns != "id" {
                let expected = format!("{file}: {id} was changed after it was measured: {columns}");
                assert!(error.contains(&expected), "{error} is not of {expected}");
            }
        }
    }
}
