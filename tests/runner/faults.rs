//! A worker that fails costs one configuration, whatever the way it fails.

use std::time::Instant;

use mixprec::record::{FailureKind, Outcome};
use rustix::process::Signal;

use crate::experiment::{CONFIGURATIONS, Experiment, children, eventually, is_gone, signal};

/// Runs with a fault in the two configurations of one shape (one per policy) and expects two rows of this failure.
fn costs_one_shape(fault: &str, kind: FailureKind, reason: &str) {
    let experiment = Experiment::new();
    let stderr = experiment.expect(1, &format!("{fault}@2x16"), &[]);
    assert_eq!(experiment.journal().records.len(), CONFIGURATIONS, "{stderr}");
    let failures = experiment.failures();
    assert_eq!(failures.len(), 2, "{failures:?}");
    for failure in failures {
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.reason.contains(reason), "{failure:?}");
        assert!(stderr.contains(&failure.reason), "{stderr}");
    }
}

#[test]
fn an_undisturbed_run_measures_everything_once() {
    let experiment = Experiment::new();
    let stderr = experiment.expect(0, "", &[]);
    assert!(stderr.contains("[1/12] mock tiny fp32 1x8 random: ") && stderr.contains(" ms (n=6, ±"), "{stderr}");
    let records = experiment.journal().records;
    assert_eq!(records.len(), CONFIGURATIONS);
    let mut loads = 0;
    for record in &records {
        let Outcome::Ok(measured) = &record.outcome else { panic!("{record:?}") };
        assert_eq!((measured.samples_ms.len(), measured.warmup), (6, 1));
        assert!(measured.samples_ms.iter().all(|&ms| ms > 0.0 && ms < 10_000.0));
        assert!(measured.numerics.output_elements > 0 && measured.numerics.nan_count == 0);
        loads += usize::from(measured.load_s > 0.0);
    }
    assert_eq!(loads, 2, "one load per group");
    assert!(experiment.dir().join("plan.json").exists());
    assert_eq!(std::fs::read_dir(experiment.dir().join("reference")).unwrap().count(), 3, "one per sequence length");
}

#[test]
fn running_twice_changes_nothing() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let before = experiment.journal_bytes();
    experiment.expect(0, "crash", &["--retry-failed"]);
    assert_eq!(experiment.journal_bytes(), before);
}

#[test]
fn a_crash_is_a_row() {
    costs_one_shape("crash", FailureKind::Crash, "killed by signal 6 (SIGABRT)");
}

#[test]
fn an_exit_is_a_row() {
    costs_one_shape("exit", FailureKind::Crash, "ended with exit code 3");
}

#[test]
fn a_panic_is_a_row_with_its_message() {
    costs_one_shape("panic", FailureKind::Crash, "asked to panic");
}

#[test]
fn a_failed_allocation_is_a_row() {
    costs_one_shape("oom", FailureKind::OutOfMemory, "out of memory: memory allocation of 1099511627776 bytes failed");
}

#[test]
fn a_device_out_of_memory_is_a_row() {
    costs_one_shape("oomerror", FailureKind::OutOfMemory, "mock ran out of memory");
}

#[test]
fn errors_are_rows() {
    costs_one_shape("error", FailureKind::Error, "mock failed: asked to fail");
    costs_one_shape("build", FailureKind::Error, "mock failed: no engine for this shape");
}

#[test]
fn a_hang_is_killed_at_the_timeout() {
    let experiment = Experiment::new();
    let short = |text: String| text.replace("time_cap_s: 30", "time_cap_s: 1");
    experiment.manifest(|text| short(text).replace("timeout_s: 30", "timeout_s: 2"));
    let start = Instant::now();
    experiment.expect(1, "hang@1x32", &[]);
    assert!(start.elapsed().as_secs_f64() >= 4.0, "two configurations ran into 2 s each");
    let failures = experiment.failures();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.kind == FailureKind::Timeout), "{failures:?}");
    assert_eq!(failures[0].reason, "took longer than measurement.timeout_s = 2 s");
    // A longer timeout is no other protocol: the failed rows can be tried again with it.
    experiment.manifest(short);
    experiment.expect(0, "", &["--retry-failed"]);
}

#[test]
fn a_worker_killed_from_outside_is_a_row() {
    let experiment = Experiment::new();
    let parent = experiment.start("hang@1x16");
    let rows = || experiment.dir().join("journal.jsonl").exists() && experiment.journal().records.len() == 2;
    eventually("the first two rows", rows);
    let worker = children(parent.id());
    assert_eq!(worker.len(), 1);
    signal(worker[0], Signal::KILL);
    eventually("the row of the killed worker", || experiment.journal().records.len() > 2);
    // The same shape hangs again in the other group.
    eventually("the other group's rows", || experiment.journal().records.len() == 8);
    children(parent.id()).into_iter().for_each(|worker| signal(worker, Signal::KILL));
    let output = parent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failures = experiment.failures();
    assert_eq!((experiment.journal().records.len(), failures.len()), (CONFIGURATIONS, 2));
    assert_eq!(failures[0].kind, FailureKind::Crash);
    assert_eq!(failures[0].reason, "the worker was killed by signal 9 (SIGKILL)");
}

#[test]
fn an_unavailable_backend_yields_a_row_for_every_configuration() {
    let experiment = Experiment::new();
    experiment.expect(1, "unavailable", &[]);
    let failures = experiment.failures();
    assert_eq!(failures.len(), CONFIGURATIONS);
    assert!(failures.iter().all(|failure| failure.kind == FailureKind::Unavailable), "{failures:?}");
    assert!(!experiment.dir().join("reference").exists(), "no reference is computed for rows that cannot be");
}

#[test]
fn failed_rows_are_kept_until_asked_for() {
    let experiment = Experiment::new();
    experiment.expect(1, "crash@1x8", &[]);
    let before = experiment.journal_bytes();
    experiment.expect(1, "", &[]);
    assert_eq!(experiment.journal_bytes(), before, "left alone, and still an exit code of 1");
    experiment.expect(0, "", &["--retry-failed"]);
    let contents = experiment.journal();
    assert_eq!(contents.records.len(), CONFIGURATIONS + 2);
    assert!(contents.latest().values().all(|record| matches!(record.outcome, Outcome::Ok(_))));
}

#[test]
fn nan_outputs_are_counted_in_the_row() {
    let experiment = Experiment::new();
    experiment.run("nan@1x8", &[]);
    let nan = |outcome: &Outcome| matches!(outcome, Outcome::Ok(measured) if measured.numerics.nan_count == 1);
    assert_eq!(experiment.journal().records.iter().filter(|record| nan(&record.outcome)).count(), 2);
}

#[test]
fn chatter_on_standard_output_disturbs_nothing() {
    let experiment = Experiment::new();
    experiment.expect(0, "chatter", &[]);
    assert_eq!(experiment.journal().records.len(), CONFIGURATIONS);
}

/// The bound is 50 ms per configuration for process, journal and statistics. The best of three keeps a busy
/// machine from failing it; the reference outputs are there already.
#[test]
fn the_runner_costs_under_50_ms_per_configuration() {
    let overhead_ms = (0..3).map(|_| {
        let experiment = Experiment::new();
        experiment.expect(0, "", &[]);
        let earlier = ["journal.jsonl", "results.parquet"].map(|name| experiment.dir().join(name));
        earlier.iter().for_each(|file| std::fs::remove_file(file).unwrap());
        let start = Instant::now();
        experiment.expect(0, "", &[]);
        start.elapsed().as_secs_f64() * 1e3 / CONFIGURATIONS as f64
    });
    let best = overhead_ms.fold(f64::INFINITY, f64::min);
    println!("runner overhead: {best:.2} ms per configuration");
    assert!(best < 50.0, "{best} ms");
}

/// A row of three processes, and of two samples each.
fn in_turns(text: String) -> String {
    text.replace("measurement:\n", "measurement:\n  cpu_processes: 3\n")
}

#[test]
fn processes_take_turns_at_the_samples_of_a_row() {
    let experiment = Experiment::new();
    experiment.manifest(in_turns);
    experiment.expect(0, "", &[]);
    let records = experiment.journal().records;
    assert_eq!(records.len(), CONFIGURATIONS);
    for record in &records {
        let Outcome::Ok(measured) = &record.outcome else { panic!("{record:?}") };
        assert_eq!((measured.samples_of_processes.as_slice(), measured.samples_ms.len()), (&[2, 2, 2][..], 6));
        assert!(measured.numerics.output_elements > 0, "compared once a row");
    }
    let rows = mixprec::store::parquet::read_results(experiment.dir()).unwrap();
    let samples = mixprec::store::parquet::read_samples(experiment.dir()).unwrap();
    for row in &rows {
        let of_row: Vec<_> = samples.iter().filter(|sample| sample.id == row.id).collect();
        assert_eq!(of_row.iter().filter_map(|sample| sample.process).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
        let mut medians: Vec<f64> =
            of_row.chunks(2).map(|two| two.iter().filter_map(|s| s.latency_ms).sum::<f64>() / 2.0).collect();
        medians.sort_by(f64::total_cmp);
        let near = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() <= 1e-9 * b.abs());
        assert!(near(row.latency_p50_ms, medians[1]) && row.processes == Some(3), "{row:?}");
        assert!(near(row.process_spread, (medians[2] - medians[0]) / medians[1]), "{row:?}");
        assert_eq!(row.latency_p50_low_ms, None, "three processes give no interval");
    }
}

#[test]
fn the_medians_of_six_processes_are_an_interval() {
    let experiment = Experiment::new();
    experiment.manifest(|text| in_turns(text).replace("cpu_processes: 3", "cpu_processes: 6"));
    experiment.expect(0, "", &[]);
    let rows = mixprec::store::parquet::read_results(experiment.dir()).unwrap();
    let samples = mixprec::store::parquet::read_samples(experiment.dir()).unwrap();
    for row in &rows {
        let mut of_row: Vec<f64> =
            samples.iter().filter(|sample| sample.id == row.id).filter_map(|sample| sample.latency_ms).collect();
        of_row.sort_by(f64::total_cmp);
        assert_eq!((row.processes, of_row.len()), (Some(6), 6), "one sample in each process");
        assert_eq!((row.latency_p50_low_ms, row.latency_p50_high_ms), (Some(of_row[0]), Some(of_row[5])));
    }
    let explained = experiment.explain(&rows[0].id);
    assert!(explained.contains("median of 6 samples by 6 processes, whose medians are "), "{explained}");
    assert!(
        explained.contains(", as in the row: ") && explained.contains("processes 6, process_spread "),
        "{explained}"
    );
}

/// A run that is stopped while a further process has its turn keeps the rows before it, and goes on with this row.
#[test]
fn a_run_that_is_killed_in_a_further_process_goes_on_with_its_row() {
    let experiment = Experiment::new();
    experiment.manifest(|text| {
        in_turns(text).replace("min_samples: 6", "min_samples: 60").replace("max_samples: 6\n", "max_samples: 60\n")
    });
    let mut parent = experiment.start("slow@1x16");
    let in_slow_row = || {
        experiment.dir().join("journal.jsonl").exists()
            && experiment.journal().records.len() == 2
            && children(parent.id()).len() == 3
    };
    eventually("the slow row", in_slow_row);
    // A process takes 0.4 s: after one and a half of them the second has its turn.
    std::thread::sleep(std::time::Duration::from_millis(600));
    let workers = children(parent.id());
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(experiment.journal().records.len(), 2, "the row is whole or absent");
    eventually("its workers are gone", || workers.iter().all(|&worker| is_gone(worker)));
    experiment.expect(0, "", &[]);
    let records = experiment.journal().records;
    assert_eq!(records.len(), CONFIGURATIONS);
    for record in &records {
        let Outcome::Ok(measured) = &record.outcome else { panic!("{record:?}") };
        assert_eq!(measured.samples_of_processes, [20, 20, 20]);
    }
}

/// A further process that dies costs its row alone, and the next row has fresh ones.
#[test]
fn a_process_that_is_killed_in_its_turn_is_a_row() {
    let experiment = Experiment::new();
    experiment.manifest(|text| {
        in_turns(text).replace("min_samples: 6", "min_samples: 60").replace("max_samples: 6\n", "max_samples: 60\n")
    });
    let parent = experiment.start("slow@1x16");
    let second = || {
        children(parent.id()).len() >= 2
            && experiment.dir().join("journal.jsonl").exists()
            && experiment.journal().records.len() == 2
    };
    eventually("the slow row", second);
    let newest = children(parent.id()).into_iter().max().unwrap();
    signal(newest, Signal::KILL);
    let output = parent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failures = experiment.failures();
    assert_eq!((experiment.journal().records.len(), failures.len()), (CONFIGURATIONS, 1), "{failures:?}");
    assert_eq!(failures[0].kind, FailureKind::Crash);
    let reason = "of 3: the worker was killed by signal 9 (SIGKILL)";
    assert!(
        failures[0].reason.starts_with("process ") && failures[0].reason.ends_with(reason),
        "{}",
        failures[0].reason
    );
    experiment.expect(0, "", &["--retry-failed"]);
}
