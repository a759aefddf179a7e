//! Rows of other files in one journal, in tables and in reports.

use std::collections::BTreeMap;

use mixprec::record::{Materials, Outcome, Record, Status};
use mixprec::report::sentences::caveats::caveats;
use mixprec::results::data::Data;
use mixprec::store::derive;
use mixprec::store::derive_tables;
use mixprec::store::journal::{Header, Journal, OnDamage};
use mixprec::store::parquet::{read_results, write_results};
use mixprec::store::schema::ResultRow;

use super::fixture;

fn materials() -> Materials {
    Materials {
        config_sha256: Some("c".repeat(64)),
        tokenizer: BTreeMap::from([("tokenizer.json".to_owned(), "d".repeat(64))]),
        input_sha256: Some("e".repeat(64)),
        libraries: BTreeMap::new(),
        settings_sha256: "f".repeat(64),
        arithmetic_sha256: Some("a".repeat(64)),
    }
}

fn made_from(record: &Record, materials: Option<Materials>) -> Record {
    let mut record = record.clone();
    if let Outcome::Ok(measured) = &mut record.outcome {
        measured.materials = materials;
    }
    record
}

/// Which rows are pending after a second, interrupted run measured the first one from other materials.
fn pending_after(edit: impl Fn(&mut Materials)) -> Vec<ResultRow> {
    let plan = fixture::plan(&fixture::LAPTOP);
    let mut records: Vec<Record> = fixture::records(&plan, fixture::ENVIRONMENT);
    records = records.iter().map(|record| made_from(record, Some(materials()))).collect();
    let mut now = materials();
    edit(&mut now);
    records.push(made_from(&records[0], Some(now)));
    let rows = derive::derive(&plan, &records);
    assert_eq!(rows[0].status, Status::Ok);
    rows.into_iter().filter(|row| row.status == Status::Pending).collect()
}

#[test]
fn rows_made_from_other_files_are_pending_until_they_are_measured_again() {
    let plan = fixture::plan(&fixture::LAPTOP);
    let first = &plan.configurations[0];
    let count = |of: &dyn Fn(&mixprec::plan::Configuration) -> bool| {
        plan.configurations.iter().filter(|one| of(one)).count() - 1
    };
    let of_model = count(&|one| one.model == first.model);
    let of_input = count(&|one| one.input == first.input);
    let of_backend = count(&|one| one.backend == first.backend);
    assert!(of_model + 1 < plan.configurations.len());
    let other = || "0".repeat(64);
    assert_eq!(pending_after(|_| {}).len(), 0);
    let pending = pending_after(|now| now.config_sha256 = Some(other()));
    assert!(pending.len() == of_model && pending.iter().all(|row| row.model == first.model));
    let pending = pending_after(|now| drop(now.tokenizer.insert("added_tokens.json".to_owned(), other())));
    assert!(pending.len() == of_model && pending.iter().all(|row| row.model == first.model));
    let pending = pending_after(|now| now.input_sha256 = Some(other()));
    assert!(pending.len() == of_input && pending.iter().all(|row| row.input == first.input));
    let pending = pending_after(|now| now.arithmetic_sha256 = Some(other()));
    assert!(pending.len() == of_backend && pending.iter().all(|row| row.backend == first.backend));
    assert_eq!(pending_after(|now| now.settings_sha256 = other()).len(), plan.configurations.len() - 1);
}

#[test]
fn rows_that_do_not_say_what_they_were_made_from_stay() {
    let plan = fixture::plan(&fixture::LAPTOP);
    let mut records = fixture::records(&plan, fixture::ENVIRONMENT);
    records.push(made_from(&records[0], Some(materials())));
    let rows = derive::derive(&plan, &records);
    assert!(rows.iter().all(|row| row.status == Status::Ok));
    assert_eq!(rows.iter().filter(|row| row.config_sha256.is_some()).count(), 1);
}

#[test]
fn materials_survive_journal_and_tables_and_an_older_program_leaves_them_out() {
    let data = fixture::laptop();
    let records: Vec<Record> =
        fixture::laptop_records(&data.plan).iter().map(|record| made_from(record, Some(materials()))).collect();
    let dir = tempfile::tempdir().unwrap();
    fixture::write(dir.path(), &data, &records);
    let header = Header::of(&data.plan);
    let mut journal = Journal::open(dir.path(), &header, OnDamage::Refuse).unwrap().journal;
    records.iter().for_each(|record| journal.append(record).unwrap());
    derive_tables(dir.path(), &data.plan).unwrap();
    let rows = read_results(dir.path()).unwrap();
    let measured = rows.iter().find(|row| row.status == Status::Ok).unwrap();
    let digests = (&measured.config_sha256, &measured.input_sha256, &measured.tokenizer_sha256);
    assert_eq!(digests, (&materials().config_sha256, &materials().input_sha256, &materials().tokenizer_sha256()));
    assert_eq!(
        (measured.settings_sha256.as_ref(), &measured.arithmetic_sha256),
        (Some(&"f".repeat(64)), &materials().arithmetic_sha256)
    );
    assert_eq!(Data::read(dir.path()).unwrap().rows, rows);
    write_results(dir.path(), &data.rows).unwrap();
    assert_eq!(Data::read(dir.path()).unwrap().rows, rows, "a table of an older program follows from the journal");
    let mut changed = rows.clone();
    changed[0].input_sha256 = Some("0".repeat(64));
    write_results(dir.path(), &changed).unwrap();
    let error = Data::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("input_sha256 do(es) not follow from journal.jsonl"), "{error}");
}

#[test]
fn a_report_names_what_rows_do_not_share() {
    let mut data = fixture::laptop();
    let said = |data: &Data| caveats(data).into_iter().find(|text| text.contains("the same version of"));
    assert_eq!(said(&data), None);
    data.rows[0].input_sha256 = Some("1".repeat(64));
    assert_eq!(said(&data), None, "one row alone contradicts none");
    let input = data.rows[0].input.clone();
    let other = data.rows.iter_mut().skip(1).find(|row| row.input == input).unwrap();
    other.input_sha256 = Some("2".repeat(64));
    let text = said(&data).unwrap();
    assert!(
        text.starts_with(&format!("Not all rows were made from the same version of: input file of {input}. ")),
        "{text}"
    );
}

/// Rows of one environment alone: another machine may have another build of one version.
#[test]
fn a_report_names_libraries_of_which_one_environment_had_two_builds() {
    let mut data = fixture::laptop();
    let said = |data: &Data| caveats(data).into_iter().find(|text| text.contains("the same version of"));
    let backend = data.rows[0].backend;
    let (first, second) = {
        let mut of =
            (0..data.rows.len()).filter(|&at| data.rows[at].backend == backend && data.rows[at].environment.is_some());
        (of.next().unwrap(), of.next().unwrap())
    };
    data.rows[first].engine_library_digests = Some(format!("liba.so={}", "1".repeat(64)));
    data.rows[second].engine_library_digests = Some(format!("liba.so={}", "2".repeat(64)));
    let text = said(&data).unwrap();
    assert!(
        text.starts_with(&format!("Not all rows were made from the same version of: libraries of {backend}. ")),
        "{text}"
    );
    assert!(text.contains("`engine_library_digests`"), "{text}");
    assert!(data.rows[first].contradicts(&data.rows[second]).is_some(), "nor are they compared");
    data.rows[second].environment = Some("elsewhere".to_owned());
    assert_eq!(said(&data), None);
}

#[test]
fn a_report_names_what_an_older_merge_defines_twice() {
    let mut data = fixture::laptop();
    let said = |data: &Data| caveats(data).into_iter().find(|text| text.contains("several definitions"));
    assert_eq!(said(&data), None);
    let model = data.plan.configurations[0].model.clone();
    data.plan.configurations[0].head = mixprec::model::Head::Hidden;
    let text = said(&data).unwrap();
    let expected = format!(
        "One name has several definitions in plan.json: head of {model}. Rows of one name are then not of one thing"
    );
    assert!(text.starts_with(&expected), "{text}");
}
