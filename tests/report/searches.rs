//! Certificates of searches: their table and figure, and their place in an artifact.

use std::path::Path;
use std::process::Command;

use mixprec::manifest::schema::SearchTolerance;
use mixprec::record::certificate::Certificate;
use mixprec::results::searches::certificates;
use mixprec::results::study::Study;
use serde_json::{Value, json};

use super::artifact::Runs;
use super::fixture;
use super::render::{rendered_with, text};

/// A certificate of these operations, with two of eight held-out forwards breaking.
fn certificate(model: &str, limits: SearchTolerance, ops: &[&str]) -> Value {
    let policy = serde_json::to_value(mixprec::graph::PrecisionPolicy::preset(mixprec::graph::Preset::Fp16)).unwrap();
    let breakage = json!({"forward": 3, "quantity": "broken_rows", "value": 4.0, "limit": 0.0});
    let totals = |first: usize, forwards: usize| {
        json!({"first": first, "forwards": forwards, "compared_rows": 128, "nonfinite": 0, "cosine_min": 0.99998,
               "broken_rows": 0, "flips": null})
    };
    let operations = ops.iter().map(|op| {
        let layer: Option<u64> = op.strip_prefix("layer.").and_then(|rest| rest.split('/').next()?.parse().ok());
        json!({"op": op, "class": "layer_norm", "layer": layer, "headroom_bits": -3.5, "without": breakage})
    });
    json!({
        "schema": 1,
        "subject": {"model": model, "weights": "random 1", "graph_sha256": "0", "input": "wiki", "input_sha256": null,
                    "ids_sha256": "0", "backend": "reference", "library": "reference 1",
                    "shape": {"batch": 1, "sequence": 128}, "candidates": 146, "layers": 12},
        "start": policy, "policy": policy, "tolerance": limits, "broken_cosine": 0.99, "broken_relative_l2": 0.1,
        "start_breaks": breakage, "operations": operations.collect::<Vec<_>>(), "searched": totals(0, 24),
        "refuting_forwards": [3],
        "held_out": {"totals": totals(24, 8), "breaking": [breakage, breakage],
                     "breaking_share": {"low": 0.031_854, "high": 0.650_856}, "within_tolerance": false},
        "monotonicity": {"supersets": 8, "seed": 0, "violations": []},
        "evaluations": {"sets": 17, "forwards": 117, "wall_s": 61.3},
        "confirmation": null,
        "timing": {"not_timed": "reference has no device of its own"},
        "build": {"version": "0.1.0", "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": false, "rustc": null,
                  "target": null, "target_features": []},
    })
}

/// Three searches as `mixprec search` leaves them.
fn write(dir: &Path) {
    let rows = SearchTolerance { max_broken_rows: Some(0), ..Default::default() };
    let cosine = SearchTolerance { cosine_min: Some(0.9999), ..Default::default() };
    let norms = ["layer.10/mlp/layer_norm", "layer.9/mlp/layer_norm", "layer.2/mlp/layer_norm", "final/layer_norm"];
    for (model, limits, ops) in [("bert", cosine, &norms[..]), ("bert", rows, &norms[..2]), ("a&b", rows, &[])] {
        let folder = dir.join(format!("{model}-{limits}"));
        std::fs::create_dir_all(&folder).unwrap();
        let found = certificate(model, limits, ops);
        std::fs::write(folder.join("certificate.json"), found.to_string()).unwrap();
        for name in ["certificate.md", "policy.yaml", "forwards.json"] {
            std::fs::write(folder.join(name), name).unwrap();
        }
    }
    std::fs::write(dir.join("search.jsonl"), "stays behind").unwrap();
}

fn read(dir: &Path) -> Vec<Certificate> {
    certificates(&[dir.to_owned()]).unwrap()
}

#[test]
fn minimal_sets_have_a_table_and_a_figure_and_other_reports_have_neither() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let study = Study::of(fixture::laptop());
    let without = rendered_with(&study);
    assert!(without.keys().all(|name| !name.contains("searches")), "{:?}", without.keys());
    let files = rendered_with(&Study { searches: read(dir.path()), ..study });
    let table = text(&files, "searches.tex");
    for row in [
        r"a\&b, wiki 1\ensuremath{\times}128 & no broken row & 0 & 146 & \textendash{} & 2 of 8",
        r"bert, wiki 1\ensuremath{\times}128 & no broken row & 2 & 146 & mlp/layer\_norm of layers 9 and 10",
        r"cosine at least 0.9999 & 4 & 146 & mlp/layer\_norm of layers 2, 9 and 10; final/layer\_norm",
        "0.9999800 & 17 & 117 & 61.3",
        "Searched with reference 1, by mixprec 0.1.0, commit 0123456789ab",
    ] {
        assert!(table.contains(row), "`{row}` is not in {table}");
    }
    let [section, appendix] = ["section", "appendix"].map(|part| text(&files, &format!("{part}-searches.tex")));
    assert!(section.contains("MixprecFigure{figure-searches}") && !section.contains("MixprecTable"), "{section}");
    assert!(appendix.contains("MixprecTable{searches}"), "{appendix}");
    let figure = text(&files, "figure-searches.svg");
    for label in
        ["bert, wiki", "0 of 146", "2 of 146", "4 of 146", "mlp/layer_norm", "final/layer_norm", "no broken row"]
    {
        assert!(figure.contains(label), "`{label}` is not in {figure}");
    }
    assert!(files.contains_key("figure-searches.pdf"));
    let html = text(&files, "report.html");
    assert!(html.contains("What must stay in FP32") && html.contains("layers 2, 9 and 10"));
}

/// The same policy at two shapes, the second of which did not fit.
fn timing() -> Value {
    let policy = |name: &str, median: f64, single: usize| {
        json!({"policy": name, "rounds_ms": [median], "median_ms": median, "ratio": median / 0.4,
               "median_interval_ms": {"low": median - 0.001, "high": median + 0.001}, "ratio_interval": null,
               "memory": {"weights_bytes": 220_200_960, "activations_bytes": null, "workspace_bytes": null},
               "energy_j": 0.125, "energy_remark": null, "launches": {"kernels": 86, "single_operations": single}})
    };
    let of = |batch: usize, policies: Vec<Value>, failure: Option<&str>| {
        json!({"shape": {"batch": batch, "sequence": 128}, "backend": "cuda", "library": "cuda 1", "device": "H200",
               "policies": policies, "failure": failure})
    };
    let policies = vec![policy("fp16", 0.4, 1), policy("hybrid", 0.46, 0), policy("fp16-searched", 0.404, 1)];
    json!({"timed": [of(1, policies, None), of(4096, vec![], Some("out of memory"))]})
}

#[test]
fn a_policy_that_was_timed_has_its_time_in_both_tables_and_the_others_a_dash() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let mut searches = read(dir.path());
    let study = Study::of(fixture::laptop());
    let untimed = rendered_with(&Study { searches: searches.clone(), ..Study::of(fixture::laptop()) });
    assert!(!untimed.contains_key("search-times.tex") && !text(&untimed, "searches.tex").contains("of fp16"));
    let timed = searches.iter_mut().find(|one| one.operations.len() == 4).unwrap();
    timed.timing = serde_json::from_value(timing()).unwrap();
    timed.policy.name = "fp16-searched".to_owned();
    let files = rendered_with(&Study { searches, ..study });
    let sets = text(&files, "searches.tex");
    assert!(sets.contains("of fp16") && sets.contains("1.010") && sets.contains("& 86"), "{sets}");
    let times = text(&files, "search-times.tex");
    for cell in [
        "fp16-searched & 0.4040",
        "[0.4030, 0.4050]",
        "& 210.0 &",
        "& 0.125 & 86 & 1",
        "hybrid & 0.4600",
        "H200 with cuda 1",
    ] {
        assert!(times.contains(cell), "`{cell}` is not in {times}");
    }
    assert!(!times.contains("4096"), "{times}");
}

/// Certificates from before policies were timed.
#[test]
fn a_certificate_without_times_is_read() {
    let mut old = certificate("bert", SearchTolerance::default(), &[]);
    old.as_object_mut().unwrap().remove("timing");
    assert_eq!(serde_json::from_value::<Certificate>(old).unwrap().timing, None);
}

#[test]
fn an_artifact_has_the_certificates_and_renders_them() {
    let runs = Runs::new();
    write(&runs.path("searches"));
    let searches = runs.path("searches");
    let (code, said) = runs.publish("h200", &["--search", searches.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let artifact = runs.path("h200");
    let published = read(&artifact.join("search"));
    assert_eq!(published, read(&searches));
    assert_eq!(Study::read(&artifact).unwrap().searches, published);
    assert!(artifact.join("search/bert-max_broken_rows=0/forwards.json").is_file());
    assert!(!artifact.join("search/search.jsonl").exists());
    let readme = std::fs::read_to_string(artifact.join("README.md")).unwrap();
    assert!(readme.contains("`search` has the certificates"), "{readme}");
    let sums = std::fs::read_to_string(artifact.join("SHA256SUMS")).unwrap();
    assert!(sums.contains("  search/bert-cosine_min=0.9999/certificate.json"), "{sums}");
    let report = Command::new(env!("CARGO_BIN_EXE_mixprec")).arg("report").arg(&artifact).output().unwrap();
    assert!(report.status.success());
    assert!(artifact.join("report/searches.tex").is_file());

    let path = searches.join("bert-max_broken_rows=0/certificate.json");
    let modified = std::fs::read_to_string(&path).unwrap().replace(r#""dirty":false"#, r#""dirty":true"#);
    std::fs::write(&path, modified).unwrap();
    let (code, said) = runs.publish("other", &["--search", searches.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("bert-max_broken_rows=0: searched by mixprec 0.1.0"), "{said}");
    assert!(said.contains("--allow-dirty") && !runs.path("other").exists(), "{said}");
}
