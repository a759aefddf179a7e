//! Runs killed, interrupted or started twice.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mixprec::store::journal::{JournalError, read};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::process::Signal;

use crate::experiment::{CONFIGURATIONS, Experiment, children, eventually, is_gone, signal};
use crate::fixtures::skip;

/// Kills per test; each at another instant.
const KILLS: u64 = 30;

#[test]
fn killed_at_any_instant_it_resumes_to_the_same_rows() {
    let undisturbed = Experiment::new();
    undisturbed.expect(0, "", &[]);
    let expected = undisturbed.rows_without_times();
    let mut random = ChaCha8Rng::seed_from_u64(20);
    let mut experiment = Experiment::new();
    let mut finished = 0;
    for kill in 0..KILLS {
        let mut parent = experiment.start("slow@2x32");
        // Start-up lies in the first milliseconds, a slow configuration takes 140 ms: both get their share of kills.
        let latest_us = if kill % 2 == 0 { 20_000 } else { 300_000 };
        std::thread::sleep(Duration::from_micros(u64::from(random.next_u32()) % latest_us));
        let rows_before_kill = rows(&experiment);
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(rows(&experiment) >= rows_before_kill, "kill {kill} lost a row");
        if rows(&experiment) == CONFIGURATIONS {
            assert_eq!(experiment.rows_without_times(), expected);
            finished += 1;
            experiment = Experiment::new();
        }
    }
    experiment.expect(0, "", &[]);
    assert_eq!(experiment.rows_without_times(), expected);
    println!("{KILLS} kills, {finished} experiments finished between them");
}

/// Rows in the journal; none while there is no journal. A damaged one fails the test.
fn rows(experiment: &Experiment) -> usize {
    match read(experiment.dir()) {
        Ok(contents) => contents.records.len(),
        Err(JournalError::Absent { .. }) => 0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_worker_does_not_outlive_a_killed_parent() {
    let experiment = Experiment::new();
    let mut parent = experiment.start("hang@1x16");
    eventually("the worker hangs in a pass", || rows(&experiment) == 2 && children(parent.id()).len() == 1);
    let worker = children(parent.id())[0];
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the worker is gone", || is_gone(worker));
    experiment.expect(0, "", &[]);
    assert_eq!(rows(&experiment), CONFIGURATIONS);
}

#[test]
fn the_second_run_in_a_folder_is_refused() {
    let experiment = Experiment::new();
    let mut first = experiment.start("hang@1x16");
    eventually("the first run has rows", || rows(&experiment) == 2);
    let refused = experiment.expect(2, "", &[]);
    assert!(refused.contains(&format!("the run with process id {} is using this folder", first.id())), "{refused}");
    first.kill().unwrap();
    first.wait().unwrap();
    experiment.expect(0, "", &[]);
}

fn stops_cleanly_on(stop: Signal) {
    let experiment = Experiment::new();
    let parent = experiment.start("hang@1x16");
    eventually("the worker hangs in a pass", || rows(&experiment) == 2 && children(parent.id()).len() == 1);
    let worker = children(parent.id())[0];
    signal(parent.id(), stop);
    let output = parent.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("2 of 12 rows are on disk; run the same command again to go on"), "{stderr}");
    assert!(is_gone(worker));
    assert_eq!(rows(&experiment), 2);
    experiment.expect(0, "", &[]);
    assert_eq!(rows(&experiment), CONFIGURATIONS);
}

#[test]
fn ctrl_c_stops_cleanly() {
    stops_cleanly_on(Signal::INT);
}

#[test]
fn termination_stops_cleanly() {
    stops_cleanly_on(Signal::TERM);
}

/// Starts a run that a shell told to ignore a signal, as `nohup` does.
fn started_ignoring(experiment: &Experiment, name: &str, fault: &str) -> Child {
    let run = experiment.command(fault, &[]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("trap '' {name}; exec \"$@\"")).arg("sh").arg(run.get_program()).args(run.get_args());
    shell.env("MIXPREC_MOCK_FAULT", fault).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.spawn().unwrap()
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (name, ignored) in [("HUP", Signal::HUP), ("INT", Signal::INT), ("TERM", Signal::TERM)] {
        let experiment = Experiment::new();
        let parent = started_ignoring(&experiment, name, "slow@2x32");
        eventually("the run has rows", || rows(&experiment) > 2);
        signal(parent.id(), ignored);
        for worker in children(parent.id()) {
            signal(worker, ignored);
        }
        let output = parent.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(rows(&experiment), CONFIGURATIONS);
    }
    let experiment = Experiment::new();
    let parent = started_ignoring(&experiment, "HUP", "hang@1x16");
    eventually("the worker hangs in a pass", || rows(&experiment) == 2 && children(parent.id()).len() == 1);
    signal(parent.id(), Signal::TERM);
    assert_eq!(parent.wait_with_output().unwrap().status.code(), Some(130), "others still stop it");
}

#[test]
fn hang_up_stops_cleanly() {
    stops_cleanly_on(Signal::HUP);
}

#[test]
fn a_file_system_without_locks_is_locked_all_the_same() {
    let Some(library) = without_flock() else { return };
    let experiment = Experiment::new();
    let mut first = experiment.command("hang@1x16", &[]).env("LD_PRELOAD", &library.1).spawn().unwrap();
    eventually("the first run has rows", || rows(&experiment) == 2);
    let refused = experiment.command("", &[]).env("LD_PRELOAD", &library.1).output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains(&format!("the run with process id {} is using this folder", first.id())), "{message}");
    first.kill().unwrap();
    first.wait().unwrap();
    let second = experiment.command("", &[]).env("LD_PRELOAD", &library.1).output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(rows(&experiment), CONFIGURATIONS);
}

/// A library whose `flock` fails as on Lustre; `None` where there is no C compiler.
fn without_flock() -> Option<(tempfile::TempDir, PathBuf)> {
    let root = tempfile::tempdir().unwrap();
    let (source, library) = (root.path().join("flock.c"), root.path().join("flock.so"));
    std::fs::write(
        &source,
        "#include <errno.h>\nint flock(int f, int o) { (void)f; (void)o; errno = ENOSYS; return -1; }\n",
    )
    .unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if compiled.is_ok_and(|status| status.success()) {
        return Some((root, library));
    }
    skip("no C compiler");
    None
}
