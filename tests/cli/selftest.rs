//! The program's own test of its detectors.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::expect;

#[test]
fn every_injected_fault_is_caught_and_named() {
    let (stdout, _) = expect(0, &["selftest"]);
    let lines: Vec<&str> = stdout.lines().collect();
    let (last, faults) = lines.split_last().unwrap();
    assert_eq!(*last, format!("{0} of {0} injected faults caught", faults.len()));
    assert!(faults.iter().all(|line| line.starts_with("caught: ")), "{stdout}");
    for injected in [
        "a NaN in one weight",
        "an activation of 100000 under FP16",
        "one label swapped",
        "one weight tensor times 1.01",
        "a clock that counts 9 seconds in 10",
        "a changed byte in a pinned library",
        "a median halved, results.parquet written anew",
    ] {
        assert!(stdout.contains(injected), "{injected}: {stdout}");
    }
    assert!(!stdout.contains(std::env::temp_dir().to_str().unwrap()), "no path of this machine: {stdout}");
}

#[test]
fn the_verdicts_are_json_too() {
    let (stdout, _) = expect(0, &["selftest", "--json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let mutations = report["mutations"].as_array().unwrap();
    assert_eq!(report["total"], mutations.len());
    assert_eq!(report["caught"], report["total"]);
    assert!(mutations.iter().all(|one| one["outcome"] == "caught" && one["said"].is_string()), "{stdout}");
    let injected: BTreeSet<_> = mutations.iter().filter_map(|one| one["injected"].as_str()).collect();
    assert_eq!(injected.len(), mutations.len(), "two mutations inject the same: {stdout}");
}
