//! Runs that end by a time limit, and runs that are spread over GPUs: a pair of fakes, with the mock backend as theirs.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::experiment::{CONFIGURATIONS, Experiment, children, eventually, is_gone, signal};

const GPUS: (&str, &str) = ("MIXPREC_MOCK_GPUS", "GPU-first@0,GPU-second@0");

/// The run on both fakes; where the host has one processor, two cannot have their own.
fn on_both(experiment: &Experiment, fault: &str, arguments: &[&str]) -> Command {
    let mut command = experiment.command(fault, &["--gpus", "all"]);
    command.args(arguments).env(GPUS.0, GPUS.1);
    command
}

fn finish(child: Child, code: i32) -> String {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn rows(experiment: &Experiment) -> usize {
    mixprec::store::journal::read(experiment.dir()).map_or(0, |contents| contents.records.len())
}

/// The GPU of each row, in the order in which they finished.
fn gpus(experiment: &Experiment) -> Vec<Option<String>> {
    experiment.journal().records.into_iter().map(|record| record.gpu).collect()
}

fn has_two_processors() -> bool {
    let enough = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    if !enough {
        crate::fixtures::skip("two GPUs need two processors");
    }
    enough
}

/// A value of the environment that a process was started with.
fn variable(process: u32, name: &str) -> Option<String> {
    let all = std::fs::read(format!("/proc/{process}/environ")).ok()?;
    let entries = all.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    entries.filter_map(|entry| entry.strip_prefix(&format!("{name}=")).map(str::to_owned)).next()
}

fn processors(process: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(|list| list.trim().to_owned())
}

#[test]
fn rows_are_spread_over_both_gpus_and_each_worker_sees_its_own() {
    if !has_two_processors() {
        return;
    }
    let experiment = Experiment::new();
    let parent = on_both(&experiment, "slow", &[]).spawn().unwrap();
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    eventually("a worker on each GPU", || {
        let of = |worker| Some((variable(worker, "CUDA_VISIBLE_DEVICES")?, processors(worker)?));
        seen.extend(children(parent.id()).into_iter().filter_map(of).filter(|(_, cpus)| !cpus.contains(['-', ','])));
        let gpus: BTreeSet<&String> = seen.iter().map(|(gpu, _)| gpu).collect();
        gpus.len() == 2
    });
    finish(parent, 0);
    assert_eq!(rows(&experiment), CONFIGURATIONS);
    let gpus = gpus(&experiment);
    for name in ["GPU-first", "GPU-second"] {
        let rows = gpus.iter().filter(|gpu| gpu.as_deref() == Some(name)).count();
        assert!(rows >= CONFIGURATIONS / 4, "{name}: {rows} of {gpus:?}");
    }
    let undisturbed = Experiment::new();
    undisturbed.expect(0, "", &[]);
    let without_gpu = |experiment: &Experiment| -> Vec<_> {
        let rows = experiment.rows_without_times();
        rows.into_iter().map(|row| (row.id, format!("{:?}", row.outcome))).collect()
    };
    let of = |rows: Vec<(mixprec::plan::ConfigurationId, String)>| {
        rows.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>()
    };
    assert_eq!(of(without_gpu(&experiment)), of(without_gpu(&undisturbed)));
}

#[test]
fn the_cpu_baseline_runs_alone_when_the_gpus_are_done() {
    if !has_two_processors() {
        return;
    }
    let experiment = Experiment::new();
    experiment.manifest(|text| {
        text.replace("backends: [mock]", "backends: [reference, mock]")
            .replace("expect_configurations: 12", "expect_configurations: 24")
    });
    finish(on_both(&experiment, "", &[]).spawn().unwrap(), 0);
    let gpus = gpus(&experiment);
    assert_eq!(gpus.len(), 2 * CONFIGURATIONS);
    assert!(gpus[..CONFIGURATIONS].iter().all(Option::is_some) && gpus[CONFIGURATIONS..].iter().all(Option::is_none));
}

#[test]
fn killed_and_interrupted_it_goes_on_in_one_journal() {
    if !has_two_processors() {
        return;
    }
    let experiment = Experiment::new();
    for stop in [Signal::KILL, Signal::TERM, Signal::INT, Signal::KILL] {
        let before = rows(&experiment);
        let mut parent = on_both(&experiment, "slow", &[]).spawn().unwrap();
        eventually("the run has more rows", || rows(&experiment) > before);
        let workers = children(parent.id());
        signal(parent.id(), stop);
        parent.wait().unwrap();
        eventually("the workers are gone", || workers.iter().all(|&worker| is_gone(worker)));
        assert!(rows(&experiment) > before);
        if rows(&experiment) == CONFIGURATIONS {
            break;
        }
    }
    finish(on_both(&experiment, "", &[]).spawn().unwrap(), 0);
    let ids: BTreeSet<_> = experiment.journal().records.into_iter().map(|record| record.id).collect();
    assert_eq!((rows(&experiment), ids.len()), (CONFIGURATIONS, CONFIGURATIONS), "no row twice");
}

#[test]
fn one_gpus_crash_costs_one_row() {
    if !has_two_processors() {
        return;
    }
    let experiment = Experiment::new();
    finish(on_both(&experiment, "crash@1x16", &[]).spawn().unwrap(), 1);
    assert_eq!((rows(&experiment), experiment.failures().len()), (CONFIGURATIONS, 2));
}

#[test]
fn gpus_that_are_not_there_are_refused() {
    let experiment = Experiment::new();
    let output = experiment.command("", &["--gpus", "0,7"]).env(GPUS.0, GPUS.1).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("--gpus 7: there is no such GPU; this host has 2"), "{message}");
}

/// Twelve rows of which each takes a second.
fn slow() -> Experiment {
    let experiment = Experiment::new();
    experiment.manifest(|text| {
        text.replace("min_samples: 6", "min_samples: 50").replace("max_samples: 6", "max_samples: 50")
    });
    experiment
}

#[test]
fn a_budget_ends_in_time_and_the_next_call_goes_on() {
    let experiment = slow();
    let start = Instant::now();
    let said = experiment.expect(0, "slow", &["--budget", "6s"]);
    let took = start.elapsed();
    assert!(took < Duration::from_millis(6300), "{took:?}");
    let first = rows(&experiment);
    assert!((1..CONFIGURATIONS).contains(&first), "{said}");
    assert!(said.contains("left out: ") && said.contains("not reached"), "{said}");
    let said = experiment.expect(0, "", &["--budget", "10m"]);
    assert_eq!(rows(&experiment), CONFIGURATIONS, "{said}");
    assert!(!said.contains("left out: "), "{said}");
    assert!(said.contains(&format!("{first} measured earlier")), "{said}");
}

#[test]
fn a_row_that_does_not_end_is_stopped_with_the_budget_and_is_no_failure() {
    let experiment = Experiment::new();
    let start = Instant::now();
    let said = experiment.expect(0, "hang@1x16", &["--budget", "4s"]);
    assert!(start.elapsed() < Duration::from_millis(4200), "{:?}: {said}", start.elapsed());
    assert!(experiment.failures().is_empty());
    experiment.expect(0, "", &[]);
    assert_eq!(rows(&experiment), CONFIGURATIONS);
}

/// The third of three processes begins when more of the limit has passed than is left.
#[test]
fn further_processes_have_what_the_budget_has_left() {
    let experiment = Experiment::new();
    experiment.manifest(|text| {
        let text = text.replace("measurement:\n", "measurement:\n  cpu_processes: 3\n");
        text.replace("min_samples: 6", "min_samples: 150").replace("max_samples: 6", "max_samples: 150")
    });
    let said = experiment.expect(0, "slow@1x16", &["--budget", "5s"]);
    assert!(experiment.failures().is_empty(), "{said}");
}

#[test]
fn a_budget_holds_on_both_gpus() {
    if !has_two_processors() {
        return;
    }
    let experiment = slow();
    let start = Instant::now();
    finish(on_both(&experiment, "slow", &["--budget", "5s"]).spawn().unwrap(), 0);
    assert!(start.elapsed() < Duration::from_millis(5250), "{:?}", start.elapsed());
    assert!((1..CONFIGURATIONS).contains(&rows(&experiment)));
    assert!(gpus(&experiment).iter().all(Option::is_some));
}
