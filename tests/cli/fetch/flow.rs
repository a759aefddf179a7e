//! From a manifest to a report, before and after fetching.

use mixprec::digest::sha256;

use crate::expect;
use crate::experiment::text;
use crate::fetch::{Fetch, WEIGHTS};

const STANDS_IN: &str =
    "gpt: random weights stand in for owner/name, which has not been fetched (`mixprec fetch` on this";

/// The page and the table of configurations of the run.
fn report(fetch: &Fetch) -> (String, String) {
    expect(0, &["report", text(&fetch.experiment.dir())]);
    let read = |name: &str| std::fs::read_to_string(fetch.experiment.dir().join("report").join(name)).unwrap();
    (read("report.html"), read("configurations.tex"))
}

#[test]
fn the_real_weights_take_the_place_of_the_stand_in() {
    let fetch = Fetch::with(", fallback: gpt2-tiny");
    let yaml = fetch.experiment.yaml();
    let before = expect(0, &["plan", text(&yaml)]);
    assert!(before.1.contains(STANDS_IN), "{}", before.1);
    assert!(fetch.experiment.run(0).contains(STANDS_IN));
    let (page, table) = report(&fetch);
    assert!(table.contains("random weights, seed 0, standing in for owner/name"), "{table}");
    let caveat = "Not the published checkpoints: gpt has random weights in place of owner/name";
    assert!(page.contains(caveat), "{page}");

    fetch.expect(0, &[]);
    fetch.assert_fetched();

    let after = expect(0, &["plan", text(&yaml)]);
    assert_eq!((after.0, after.1.as_str()), (before.0, ""), "the same configurations, and nothing to note");
    let stderr = fetch.experiment.run(0);
    assert!(stderr.contains("1 row(s) of this folder were measured with other weights"), "{stderr}");
    assert!(stderr.contains("1 measured") && !stderr.contains("stand in"), "{stderr}");
    let (page, table) = report(&fetch);
    let weights = format!("checkpoint sha256 {}", &sha256(fetch.content(WEIGHTS))[..16]);
    assert!(table.contains(&weights) && !table.contains("standing in"), "{table}");
    assert!(page.contains(&weights) && !page.contains("Not the published checkpoints"), "{page}");
}

#[test]
fn without_a_fallback_the_rows_fail_until_it_is_fetched() {
    let fetch = Fetch::new();
    let (_, stderr) = expect(0, &["plan", text(&fetch.experiment.yaml())]);
    assert!(stderr.contains("gpt: owner/name has not been fetched, and its rows fail without it"), "{stderr}");
    let stderr = fetch.experiment.run(1);
    assert!(stderr.contains("run `mixprec fetch` on the manifest"), "{stderr}");
    fetch.expect(0, &[]);
    expect(0, &["run", text(&fetch.experiment.yaml()), "--out", text(&fetch.experiment.dir()), "--retry-failed"]);
    assert_eq!(fetch.experiment.rows()[0].samples, Some(3));
}

/// A merge of rows with the stand-in and rows with the real weights would compare two models as if they were one.
#[test]
fn a_stand_in_is_not_merged_with_the_real_weights() {
    let fetch = Fetch::with(", fallback: gpt2-tiny");
    fetch.experiment.run(0);
    fetch.expect(0, &[]);
    let (real, out) = (fetch.experiment.folder().join("real"), fetch.experiment.folder().join("out"));
    expect(0, &["run", text(&fetch.experiment.yaml()), "--out", text(&real)]);
    let dir = fetch.experiment.dir();
    let (_, stderr) = expect(2, &["merge", text(&dir), text(&real), "--out", text(&out)]);
    assert!(stderr.contains("standing in for owner/name") && stderr.contains("checkpoint sha256"), "{stderr}");
    assert!(!out.exists());
}
