//! Two runs of one experiment against each other.

use std::path::Path;
use std::process::Command;

use mixprec::analysis::agreement::{Agreement, AgreementError, Limits, agreement};
use mixprec::engine::DeviceKind;
use mixprec::model::WeightsOrigin;
use mixprec::record::Outcome;
use mixprec::record::Status;
use mixprec::results::data::Data;

use super::{fixture, machines};

/// The server's run with every median of these rows longer by that factor.
fn slower(factor: f64, rows: std::ops::Range<usize>) -> Data {
    let mut data = fixture::server();
    for row in &mut data.rows[rows] {
        for value in [&mut row.latency_p50_ms, &mut row.latency_p50_low_ms, &mut row.latency_p50_high_ms] {
            *value = value.map(|latency| latency * factor);
        }
    }
    data
}

fn compared(second: &Data) -> Result<Agreement, AgreementError> {
    agreement((Path::new("a"), &fixture::server()), (Path::new("b"), second), Limits::default())
}

#[test]
fn the_share_of_near_medians_decides() {
    // 300 rows: 15 apart are the 5 % that are allowed, 16 are not.
    let found = compared(&slower(1.04, 0..15)).unwrap();
    assert_eq!((found.rows(), found.within(), found.agrees()), (300, 285, true));
    let found = compared(&slower(1.04, 0..16)).unwrap();
    assert!(!found.agrees() && found.to_text().contains("which misses the required 95.0 %"), "{}", found.to_text());
    assert!(compared(&slower(0.98, 0..300)).unwrap().agrees(), "all within 3 %, either way");
    assert!(!compared(&slower(0.96, 0..300)).unwrap().agrees());
    let farthest = compared(&slower(1.5, 41..42)).unwrap().pairs.remove(0);
    let (ratio, interval) = farthest.ratio;
    let (low, high) = interval.unwrap();
    assert!((ratio - 1.5).abs() < 1e-9 && low < 1.5 && high > 1.5, "{ratio} {low} {high}");
    assert_eq!(farthest.first.id, fixture::server().rows[41].id);
}

#[test]
fn a_row_that_only_one_run_has_measured_is_apart_and_one_not_tried_is_left_out() {
    let mut second = fixture::server();
    for row in &mut second.rows[..20] {
        (row.status, row.latency_p50_ms, row.reason) = (Status::Failed, None, Some("out of memory".to_owned()));
    }
    let found = compared(&second).unwrap();
    assert_eq!((found.rows(), found.unlike.len(), found.agrees()), (300, 20, false));
    assert!(found.to_text().contains("measured in the first run only") && found.to_text().contains("out of memory"));
    second.rows[..20].iter_mut().for_each(|row| row.status = Status::Pending);
    let found = compared(&second).unwrap();
    assert_eq!((found.rows(), found.left_out, found.agrees()), (280, 20, true));
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let refused = |edit: fn(&mut Data)| {
        let mut second = fixture::server();
        edit(&mut second);
        compared(&second).unwrap_err().to_string()
    };
    let message = refused(|data| data.plan.name = "quick".to_owned());
    assert!(message.contains("b compared with a: results of the experiment `quick`, not of `paper`"), "{message}");
    let message = refused(|data| data.plan.measurement.warmup = 99);
    assert!(message.contains("measurement.warmup: 99, there 3"), "{message}");
    let message = refused(|data| data.rows[3].set_weights(&WeightsOrigin::Random { seed: 2 }.into()));
    assert!(message.contains("other weights (random weights, seed 2)"), "{message}");
    let message =
        refused(|data| data.rows.iter_mut().for_each(|row| (row.status, row.latency_p50_ms) = (Status::Pending, None)));
    assert!(message.contains("nothing to compare"), "{message}");
    let two = machines::two_gpus();
    let message = agreement((Path::new("a"), &two), (Path::new("b"), &two), Limits::default()).unwrap_err().to_string();
    assert!(message.contains("merged results with 2 rows of configuration"), "{message}");
}

#[test]
fn devices_disturbances_and_environments_are_named() {
    let mut second = fixture::server();
    let cpu: Vec<usize> = (0..second.rows.len()).filter(|&row| second.rows[row].device == DeviceKind::Cpu).collect();
    for &row in &cpu {
        second.rows[row].latency_p50_ms = second.rows[row].latency_p50_ms.map(|latency| latency * 1.5);
    }
    second.rows[cpu[2]].foreign_cpus = Some(3.0);
    // Of a GPU's row others' use of the CPUs is no disturbance.
    let gpu = (0..second.rows.len()).find(|row| !cpu.contains(row)).unwrap();
    second.rows[gpu].foreign_cpus = Some(3.0);
    second.environments.values_mut().for_each(|environment| environment.build.commit = Some("f00d".to_owned()));
    let found = compared(&second).unwrap();
    let expected = format!(
        "This holds for {0} of {0} rows (100 %) on the GPU and 0 of {1} rows (0 %) on the CPU.",
        300 - cpu.len(),
        cpu.len()
    );
    assert_eq!(found.device_sentence(), expected);
    assert_eq!(
        found.disturbed_sentence(),
        "Included, although other processes used the device or the clock ran wrong: 1 row of the second."
    );
    assert_eq!(found.environment_sentence(), "The environments differ in: build commit (0123456789ab, then f00d).");
    let text = found.to_text();
    assert!(text.contains(&expected) && text.contains("build.commit: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&found.to_json().unwrap()).unwrap();
    let counts = (json["spread_cpu"]["within"].as_u64(), json["spread_gpu"]["rows"].as_u64());
    assert_eq!(counts, (Some(0), Some(300 - cpu.len() as u64)));
    let disturbed = |pair: &&serde_json::Value| pair["disturbed_in_second"] == true && pair["device"] == "cpu";
    assert_eq!(json["pairs"].as_array().unwrap().iter().filter(disturbed).count(), 1);
    // A row that one run alone has counts as apart, on its device too.
    (second.rows[gpu].status, second.rows[gpu].latency_p50_ms) = (Status::Failed, None);
    let found = compared(&second).unwrap();
    let expected = format!("This holds for {} of {} rows", 299 - cpu.len(), 300 - cpu.len());
    assert!(found.device_sentence().starts_with(&expected), "{}", found.device_sentence());
    // What only rows without a ratio differ in is no difference of the ratios.
    let [mut one, mut other] = [fixture::server(), fixture::server()];
    for (data, commit) in [(&mut one, "f00d"), (&mut other, "beef")] {
        let mut environment = data.environments[fixture::ENVIRONMENT].clone();
        environment.build.commit = Some(commit.to_owned());
        data.environments.insert("builder".to_owned(), environment);
        let row = &mut data.rows[gpu];
        (row.status, row.latency_p50_ms, row.environment) = (Status::Built, None, Some("builder".to_owned()));
    }
    let built = agreement((Path::new("a"), &one), (Path::new("b"), &other), Limits::default()).unwrap();
    assert_eq!((built.left_out, built.environment_sentence()), (1, String::new()));
    let none = compared(&slower(1.0, 0..0)).unwrap();
    assert_eq!((none.disturbed_sentence(), none.environment_sentence()), (String::new(), String::new()));
}

#[test]
fn rows_are_counted_by_the_clocks_of_their_gpu() {
    let gpu = |data: &Data| (0..data.rows.len()).filter(|&row| data.rows[row].device == DeviceKind::Gpu).collect();
    let with = |mut data: Data, held_back: &[usize]| {
        let rows: Vec<usize> = gpu(&data);
        rows.iter().for_each(|&row| data.rows[row].throttled = Some(held_back.contains(&row)));
        data
    };
    let compared = |first: &Data, second: &Data| {
        agreement((Path::new("a"), first), (Path::new("b"), second), Limits::default()).unwrap()
    };
    let rows: Vec<usize> = gpu(&fixture::server());
    let mut second = fixture::server();
    second.rows[rows[1]].latency_p50_ms = second.rows[rows[1]].latency_p50_ms.map(|latency| latency * 0.9);
    let (first, second) = (with(fixture::server(), &rows[..2]), with(second, &rows[1..3]));
    let found = compared(&first, &second);
    let expected = format!(
        "Of the rows whose GPU was throttled in one run or in both, 2 of 3 (66.7 %) are within the tolerance; of those \
         throttled in neither, {0} of {0} (100 %).",
        rows.len() - 3
    );
    assert_eq!(found.clocks_sentence(), expected);
    let text = found.to_text();
    assert!(text.contains(&expected) && text.contains(", throttled in both runs)"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&found.to_json().unwrap()).unwrap();
    let counts = (json["spread_clocks_held_back"]["within"].as_u64(), json["spread_clocks_kept"]["rows"].as_u64());
    assert_eq!(
        (counts, &json["spread_clocks_unknown"]),
        ((Some(2), Some(rows.len() as u64 - 3)), &serde_json::Value::Null)
    );
    let farthest = &json["pairs"][0];
    assert_eq!((&farthest["throttled_in_first"], &farthest["throttled_in_second"]), (&true.into(), &true.into()));
    let table = &mixprec::report::tables::agreement::agreement(&[found], &first)[0];
    let row =
        |label: &str| table.rows.iter().find(|row| row.cells[0].text == label).map(|row| row.cells[1].text.clone());
    assert_eq!(row("on the GPU, throttled in one run or in both").as_deref(), Some("3"));
    assert_eq!(row("on the GPU, throttled in neither run"), Some((rows.len() - 3).to_string()));
    // A row that one run alone has measured counts as apart here, too.
    let mut failed = second.clone();
    (failed.rows[rows[1]].status, failed.rows[rows[1]].latency_p50_ms) = (Status::Failed, None);
    assert_eq!(compared(&first, &failed).by_clocks(Some(true)).map(|found| (found.within, found.rows)), Some((2, 3)));
    // Held back everywhere, nowhere, and not watched in one of the runs or in both.
    let all = compared(&with(fixture::server(), &rows), &second).clocks_sentence();
    assert!(
        all.contains(&format!("both, {} of {} (", rows.len() - 1, rows.len())) && !all.contains("neither"),
        "{all}"
    );
    assert_eq!(compared(&with(fixture::server(), &[]), &with(fixture::server(), &[])).clocks_sentence(), "");
    let mut blind = fixture::server();
    rows.iter().for_each(|&row| blind.rows[row].throttled = None);
    let half = compared(&blind, &second).clocks_sentence();
    assert!(
        half.contains("both, 1 of 2 (50.0 %) are within the tolerance; of those not watched in one run or in both, "),
        "{half}"
    );
    assert_eq!(compared(&blind, &blind).clocks_sentence(), "");
}

#[test]
fn environments_that_differ_are_told_with_short_values() {
    let mut second = fixture::server();
    for environment in second.environments.values_mut() {
        environment.build.commit = Some("beefbeefbeefbeefbeef".to_owned());
        environment.variables.insert("CUDA_VISIBLE_DEVICES".to_owned(), "1".to_owned());
    }
    let sentence = compared(&second).unwrap().environment_sentence();
    assert!(
        sentence.contains(", then beefbeefbeef)") && sentence.contains("variable CUDA_VISIBLE_DEVICES"),
        "{sentence}"
    );
}

#[test]
fn the_command_exits_with_what_came_out() {
    let dir = tempfile::tempdir().unwrap();
    // Folders whose medians follow from their samples: half of the second's are 4 % slower.
    let folder = |name: &str, factor: f64| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let server = fixture::server();
        let mut records = fixture::records(&server.plan, fixture::ENVIRONMENT);
        for record in &mut records[..150] {
            let Outcome::Ok(measured) = &mut record.outcome else { panic!("all of them are measured") };
            measured.samples_ms.iter_mut().for_each(|ms| *ms *= factor);
        }
        let rows = fixture::data(server.plan.clone(), &records, &[]).rows;
        fixture::write(&path, &Data { rows, ..server }, &records);
        path
    };
    let first = folder("first", 1.0);
    let second = folder("second", 1.04);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        let output = command.arg("compare").args([&first, &second]).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("150 of 300 rows (50.0 %)") && text.contains("The environments do not differ."), "{text}");
    assert_eq!(run(&["--tolerance", "0.05"]).0, Some(0));
    assert_eq!(run(&["--share", "0.5"]).0, Some(0));
    let (code, text) = run(&["--tolerance", "3"]);
    assert!(code == Some(2) && text.contains("no fraction from 0 to 1"), "{text}");
    let (_, text) = run(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (json["rows"].as_u64(), json["within"].as_u64(), json["agrees"].as_bool()),
        (Some(300), Some(150), Some(false))
    );
    assert_eq!(json["pairs"].as_array().unwrap().len(), 300);
}
