//! plan, run, report, verify, doctor: what they print and how they end.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Command, Stdio};

use mixprec::record::Status;
use serde_json::Value;

use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect, mixprec};

const BOTH: Cells<'_> = Cells {
    models: "{bert: {random: 1, architecture: bert-tiny}, gpt: {random: 2, architecture: gpt2-tiny}}",
    backends: "[reference]",
    precisions: "[fp32, fp16, hybrid]",
    batch_sizes: "[1, 2]",
    sequence_lengths: "[8, 16]",
    inputs: "{random: {random: 7}}",
    more: "exclude: [{models: [gpt], sequence_lengths: [16], reason: enough of it}]",
    count: 18,
};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let (stdout, _) = expect(0, &["--help"]);
    for word in [
        "plan",
        "fetch",
        "run",
        "report",
        "verify",
        "appendix",
        "infer",
        "doctor",
        "selftest",
        "cache",
        "Exit codes: 0 all well; 1 some",
        "2 bad input",
        "130 interrupted",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    assert!(!stdout.contains("worker"), "{stdout}");
    let headings = ["Reproduce the paper:", "Extend it to other", "Publish results:", "This machine:", "Options:"];
    let places = headings.map(|heading| stdout.find(&format!("\n\n{heading}")).expect(heading));
    assert!(places.is_sorted(), "{stdout}");
    // A command is named once, after the heading of its group.
    for (command, group) in [("plan", 0), ("export", 1), ("merge", 2), ("doctor", 3)] {
        let lines: Vec<usize> = stdout.match_indices(&format!("\n  {command} ")).map(|(place, _)| place).collect();
        assert!(lines.len() == 1 && (places[group]..places[group + 1]).contains(&lines[0]), "{command}: {stdout}");
    }
    for arguments in [&["-h"][..], &["help"]] {
        assert_eq!(expect(0, arguments).0, stdout, "{arguments:?}");
    }
    let (of_run, _) = expect(0, &["help", "run"]);
    assert!(of_run.contains("Usage: mixprec run [OPTIONS] <MANIFEST>") && of_run.contains("--shard <I/N>"), "{of_run}");
    assert_eq!(expect(0, &["run", "--help"]).0, of_run);
    assert!(expect(0, &["help", "cache", "gc"]).0.contains("Usage: mixprec cache gc [OPTIONS]"));
    assert!(expect(0, &["--version"]).0.starts_with("mixprec "));
    for command in ["plan", "run", "report", "verify", "appendix", "infer", "doctor", "selftest"] {
        expect(0, &[command, "--help"]);
    }
}

#[test]
fn what_cannot_be_understood_is_bad_input() {
    expect(2, &[]);
    let (_, stderr) = expect(2, &["paln", "x.yaml"]);
    assert!(stderr.contains("unrecognized subcommand 'paln'") && stderr.contains("'plan'"), "{stderr}");
    expect(2, &["run"]);
    for command in ["plan", "run"] {
        assert_says(&expect(2, &[command, "nowhere.yaml"]).1, &["error: nowhere.yaml"]);
    }
    let empty = tempfile::tempdir().unwrap();
    for command in ["report", "verify"] {
        let (_, stderr) = expect(2, &[command, text(empty.path())]);
        assert_says(&stderr, &[text(empty.path())]);
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "a refused folder is left as it was");
}

#[test]
fn a_plan_is_text_or_json() {
    let experiment = Experiment::new(&BOTH);
    let (stdout, _) = expect(0, &["plan", text(&experiment.yaml())]);
    let product = "2 models x 1 backend x 3 precisions x 2 sequence lengths x 2 batch sizes x 1 input = 24";
    assert!(stdout.contains(product) && stdout.contains("6 excluded: enough of it"), "{stdout}");
    assert!(stdout.contains("18 configurations, estimated "), "{stdout}");
    let (stdout, _) = expect(0, &["plan", "--json", text(&experiment.yaml())]);
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    let configurations = plan["plan"]["configurations"].as_array().unwrap();
    let ids: BTreeSet<&str> = configurations.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), plan["plan"]["excluded"].as_array().unwrap().len()), (18, 6));
    assert!(plan["estimated_total_s"].as_f64().unwrap() > 0.0);
    assert!(!experiment.dir().exists(), "a plan leaves nothing behind");
}

#[test]
fn a_run_from_manifest_to_verdicts_and_a_second_that_does_nothing() {
    let experiment = Experiment::new(&BOTH);
    let (dir, yaml) = (experiment.dir(), experiment.yaml());
    let stderr = experiment.run(0);
    assert!(stderr.contains("18 measured") && stderr.contains("next: mixprec report "), "{stderr}");
    let rows = experiment.rows();
    assert_eq!(rows.len(), 18);
    for row in &rows {
        assert_eq!((row.status, row.samples, row.nan_count), (Status::Ok, Some(3), Some(0)), "{row:?}");
        assert!(row.latency_p50_ms.unwrap() > 0.0 && row.latency_p90_ms.is_none(), "{row:?}");
        assert!(row.cosine_min.unwrap() > if row.precision == "fp32" { 0.999_999 } else { 0.99 }, "{row:?}");
        assert_eq!(row.emulated, Some(row.precision != "fp32"));
    }
    let files = ["journal.jsonl", "results.parquet", "samples.parquet", "plan.json"];
    let bytes = || files.map(|name| std::fs::read(dir.join(name)).unwrap());
    let before = bytes();
    assert!(experiment.run(0).contains("18 measured earlier"));
    assert_eq!(bytes(), before);
    assert_eq!(std::fs::read_dir(dir.join("environments")).unwrap().count(), 1);

    let (stdout, _) = expect(0, &["report", text(&dir)]);
    assert!(stdout.contains("report.html") && stdout.contains("claims: "), "{stdout}");
    let html = std::fs::read(dir.join("report/report.html")).unwrap();
    assert!(String::from_utf8_lossy(&html).contains("enough of it"), "the report says what was left out, and why");
    let elsewhere = dir.join("elsewhere");
    expect(0, &["report", text(&dir), "--out", text(&elsewhere)]);
    assert_eq!(std::fs::read(elsewhere.join("report.html")).unwrap(), html);
    assert_eq!(bytes(), before, "a report changes no result");

    let (stdout, _) = expect(0, &["verify", text(&dir), "--json"]);
    let verdicts: Value = serde_json::from_str(&stdout).unwrap();
    let ids: Vec<&str> = verdicts.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "F1", "F2", "F3", "F4", "F5", "F6"]);
    let (stdout, _) = expect(0, &["verify", text(&dir)]);
    assert!(ids.iter().chain(&["C5*", "C8*", "C9*"]).all(|id| stdout.contains(&format!("\n{id} "))), "{stdout}");
    assert!(stdout.contains("NOT RUN"), "{stdout}");
    // Another manifest's protocol does not belong in this folder.
    experiment.manifest(&Cells { more: "numerics: {compare_sequences: 1}", count: 24, ..BOTH });
    let (_, stderr) = expect(2, &["run", text(&yaml), "--out", text(&dir)]);
    assert_says(&stderr, &["journal.jsonl"]);
    assert_eq!(bytes(), before);
}

#[test]
fn the_doctor_examines_this_machine() {
    let (stdout, _) = expect(0, &["doctor"]);
    for title in ["Machine\n", "Backends\n", "What can run here now\n"] {
        assert!(stdout.contains(title), "{stdout}");
    }
    let (stdout, _) = expect(0, &["doctor", "--json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let reference = findings.iter().find(|finding| finding["name"] == "reference").unwrap();
    assert_eq!(reference["status"], "ok");
    for finding in findings.iter().filter(|finding| finding["status"] == "missing") {
        assert!(!finding["detail"].as_str().unwrap().is_empty(), "{finding}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error_and_a_full_disk_is() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/paper.yaml");
    let mut child = Command::new(env!("CARGO_BIN_EXE_mixprec"))
        .args(["plan", "--json", manifest])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // The notes tell which weights this machine has, and so differ from one to the next.
    assert!(stderr.lines().all(|line| line.starts_with("note: ")), "{stderr}");
    assert_eq!(output.status.code(), Some(0));

    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_mixprec")).args(["plan", manifest]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["standard output"]);
}

#[test]
fn standard_error_may_be_closed() {
    let experiment = Experiment::new(&Cells::default());
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let status = Command::new(env!("CARGO_BIN_EXE_mixprec"))
        .args(["run", text(&experiment.yaml()), "--out", text(&experiment.dir())])
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!((status.code(), experiment.rows().len()), (Some(0), 1));
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let refused = Command::new(env!("CARGO_BIN_EXE_mixprec")).args(["plan", "nowhere.yaml"]).stderr(full).status();
    assert_eq!(refused.unwrap().code(), Some(2));
    // The name of the run is its folder where none is given.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = mixprec(&["run", text(&experiment.yaml())]);
    assert!(command.current_dir(elsewhere.path()).output().unwrap().status.success());
    assert!(elsewhere.path().join("runs/test/results.parquet").exists());
}

#[test]
fn an_appendix_is_printed_or_written_and_knows_the_runs_time() {
    let experiment = Experiment::new(&BOTH);
    experiment.run(0);
    let manifests = experiment.folder().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::copy(experiment.yaml(), manifests.join("own.yaml")).unwrap();
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/appendix.yaml");
    std::fs::copy(shipped, manifests.join("appendix.yaml")).unwrap();
    let (dir, folder) = (text(&experiment.dir()).to_owned(), text(&manifests).to_owned());
    let (stdout, _) = expect(0, &["appendix", &dir, "--experiments", &folder]);
    assert!(
        stdout.contains("measured over 18 rows of ") && stdout.contains("18 measured of 18 configurations"),
        "{stdout}"
    );
    let out = manifests.join("out");
    let (stdout, stderr) = expect(0, &["appendix", &dir, "--experiments", &folder, "--out", text(&out)]);
    assert!(stdout.is_empty() && stderr.contains("appendix.tex") && stderr.contains("appendix.md"), "{stderr}");
    let tex = std::fs::read_to_string(out.join("appendix.tex")).unwrap();
    assert!(tex.contains("\\mixprecappendixend") && tex.contains("measured over 18 rows"), "{tex}");
    let file = out.join("own.tex");
    let (_, stderr) = expect(2, &["appendix", "--experiments", &folder, "--out", text(&file), "--format", "markdown"]);
    assert_says(&stderr, &["own.tex", "--format asks for another"]);
    expect(0, &["appendix", "--experiments", &folder, "--out", text(&file)]);
    assert!(file.exists() && !out.join("own.md").exists());

    std::fs::remove_file(manifests.join("own.yaml")).unwrap();
    assert_says(
        &expect(2, &["appendix", &dir, "--experiments", &folder]).1,
        &[&dir, "no manifest in", "--experiments"],
    );
    assert_says(&expect(2, &["appendix", "--experiments", "nowhere"]).1, &["nowhere", "--experiments"]);
}
