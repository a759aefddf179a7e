//! Tables derived from records.

use std::collections::BTreeSet;

use mixprec::store::derive;
use mixprec::store::parquet::{read_results, read_samples, write_results};
use mixprec::store::record::{Failure, FailureKind, Outcome, Record};
use mixprec::store::schema::Status;

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
    let failed = Outcome::Failed(Failure { kind: FailureKind::Timeout, reason: "late".to_owned() });
    records.insert(0, Record { outcome: failed.clone(), ..records[0].clone() });
    let stranger =
        Record { id: mixprec::plan::ConfigurationId("ffff".to_owned()), outcome: failed, ..records[0].clone() };
    records.push(stranger);
    let rows = derive::derive(&plan, &records);
    assert_eq!(rows.len(), plan.configurations.len());
    assert!(rows.iter().all(|row| row.status == Status::Ok));
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
    assert!(rows[..2].iter().all(|row| row.model_provenance.as_deref() == Some("checkpoint sha256 1234")));
    let sampled = derive::samples(&plan, &records).into_iter().map(|sample| sample.id).collect::<BTreeSet<_>>();
    assert_eq!(sampled.len(), rows.iter().filter(|row| row.status == Status::Ok).count());
}

fn replaced(mut record: Record) -> Record {
    if let Outcome::Ok(measured) = &mut record.outcome {
        measured.model_provenance = "checkpoint sha256 1234".to_owned();
    }
    record
}
