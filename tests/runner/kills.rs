//! Runs killed, interrupted or started twice.

use std::time::Duration;

use mixprec::store::journal::{JournalError, read};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::process::Signal;

use crate::experiment::{CONFIGURATIONS, Experiment, children, eventually, is_gone, signal};

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
