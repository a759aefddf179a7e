//! Manifests and plans from the outside: every message, hostile files, the manifests of experiments/, exclusions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mixprec::backend::BackendKind;
use mixprec::graph::{Format, OpClass, ReductionOrder, Rounding};
use mixprec::manifest::schema::{Manifest, ModelSource};
use mixprec::manifest::{LoadedManifest, ManifestError};
use mixprec::plan::Plan;
use sha2::{Digest, Sha256};

/// A sound manifest: a line per section, so that a test replaces one line.
const SOUND: &str = "\
schema: 1
name: test
question: What is asked?
models: {bert: {random: 1, architecture: bert-base}, gpt: {random: 1, architecture: gpt2}}
backends: [reference]
precisions: [fp32, hybrid]
batch_sizes: [1, 2]
sequence_lengths: [16, 32, 64]
inputs: {random: {random: 7}}
expect_configurations: 24
";

fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments")
}

/// `SOUND` with the line of `key` replaced by `line`, which may be empty, or with `line` added.
fn with(key: &str, line: &str) -> String {
    let mut replaced = false;
    let mut text = String::new();
    for old in SOUND.lines() {
        let new = if old.starts_with(&format!("{key}:")) {
            replaced = true;
            line
        } else {
            old
        };
        let _ = writeln!(text, "{new}");
    }
    if !replaced {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn errors(text: &str) -> String {
    Manifest::parse(text, "m.yaml").expect_err("must be refused").to_string()
}

fn plan(text: &str) -> Plan {
    let manifest = Manifest::parse(text, "m.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    Plan::expand(&LoadedManifest { manifest, sha256: String::new(), base_dir: PathBuf::new() })
}

/// Key to replace, line to put there: one mistake each.
const MISTAKES: &[(&str, &str)] = &[
    ("schema", ""),
    ("schema", "schema: 2"),
    ("name", "name: ../elsewhere"),
    ("name", "name: 2024"),
    ("question", "question: ''"),
    ("colour", "colour: red"),
    ("colour", "bathc_sizes: [1]"),
    ("colour", "batch_sizes: [4]"),
    ("batch_sizes", "batch_sizes: []"),
    ("batch_sizes", "batch_sizes: 8"),
    ("batch_sizes", "batch_sizes: [0, 2]"),
    ("batch_sizes", "batch_sizes: [1, 1]"),
    ("batch_sizes", "batch_sizes: [-1, 2]"),
    ("batch_sizes", "batch_sizes: [1.5, 2]"),
    ("batch_sizes", "batch_sizes: ['1', 2]"),
    ("batch_sizes", "batch_sizes: [010, 2]"),
    ("batch_sizes", "batch_sizes: [99999999999999999999999, 2]"),
    ("sequence_lengths", "sequence_lengths: [16, 32, 1000]"),
    ("sequence_lengths", "sequence_lengths: [16, [32], 64]"),
    ("models", "models: []"),
    ("models", "models: {}"),
    ("models", "models: {bert: bert-base}"),
    ("models", "models: {bert: {random: 1}}"),
    ("models", "models: {bert: {random: -1, architecture: bert-base}}"),
    ("models", "models: {bert: {random: 1, architecture: bert-bse}}"),
    ("models", "models: {bert: {architecture: bert-base}}"),
    ("models", "models: {bert: {random: 1, checkpoint: x, architecture: bert-base}}"),
    ("models", "models: {bert: {random: 1, architecture: bert-base, sha256: x}}"),
    ("models", "models: {'a/b': {random: 1, architecture: bert-base}}"),
    ("models", "models: {a: {random: 1, architecture: gpt2}, a: {random: 2, architecture: gpt2}}"),
    ("models", "models: {a: {checkpoint: x, sha256: 12ab}}"),
    ("models", "models: {a: {checkpoint: }}"),
    ("models", "models: {a: {hub: https://example.org/a/b, revision: main, sha256: 0}}"),
    ("models", "models: {a: {hub: a/b}}"),
    ("backends", "backends: [cuda, refernce]"),
    ("backends", "backends: [onnxruntime]"),
    ("precisions", "precisions: [fp32, fp8]"),
    ("precisions", "precisions: [fp32, fp32]"),
    ("precisions", "precisions: [fp32, 16]"),
    ("precisions", "precisions: [fp32, {base: hybrid}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: hybrid}]"),
    ("precisions", "precisions: [fp32, {name: hybrid, base: fp32, accumulate: fp16}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp23, classes: {sofmax: fp16}}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, classes: {softmax: tf32}}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, classes: {linear: fp64}}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, classes: {linear: {compute: fp16}}}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, ops: {layer.0/fc1: fp16}}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, accumulate: tf32}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, layer_norm_reduction: divide}]"),
    (
        "precisions",
        "precisions: [fp16, {name: mine, base: fp32, accumulate: fp16, classes: {softmax: fp16}}, \
                    {name: other, base: fp32, accumulate: fp16, classes: {softmax: fp16}}]",
    ),
    ("inputs", "inputs: {random: {seed: 7}}"),
    ("inputs", "inputs: {random: {random: 7, text: x}}"),
    ("inputs", "inputs: {text: {text: [x]}}"),
    ("measurement", "measurement: {warmup: -1, min_samples: 0, max_samples: many}"),
    ("measurement", "measurement: {min_samples: 20, max_samples: 10}"),
    ("measurement", "measurement: {target_precision: .nan, time_cap_s: .inf, timeout_s: -5}"),
    ("measurement", "measurement: {target_precision: 1, time_cap_s: 0, threads: 0}"),
    ("measurement", "measurement: {time_cap_s: 100, timeout_s: 10}"),
    ("measurement", "measurement: [1]"),
    ("numerics", "numerics: {compare_sequences: 0}"),
    ("numerics", "numerics: {score_windows: 8}"),
    ("tolerances", "tolerances: {hybird: {cosine_min: 0.9998}}"),
    ("tolerances", "tolerances: {hybrid: {}}"),
    ("tolerances", "tolerances: {hybrid: {cosine_min: 1.5, max_abs: -1, allow_nonfinite: 'no'}}"),
    ("exclude", "exclude: [{models: [bert]}]"),
    ("exclude", "exclude: [{reason: because}]"),
    ("exclude", "exclude: [{models: [brt], batch_sizes: [3], backends: [cuda], reason: because}]"),
    ("exclude", "exclude: [{models: [], reason: because}]"),
    ("exclude", "exclude: [{models: [bert, bert], reason: because}]"),
    ("exclude", "exclude: [{models: [bert], reason: a}, {models: [bert], batch_sizes: [1], reason: b}]"),
    ("exclude", "exclude: [{models: [bert, gpt], reason: because}]"),
    ("exclude", "exclude: [{models: [bert], reason: because}]"),
    ("expect_configurations", "expect_configurations: 23"),
    ("expect_configurations", "expect_configurations: 0"),
    ("expect_configurations", "<<: {expect_configurations: 24}"),
];

#[test]
fn every_mistake_has_its_message() {
    let mut table = String::new();
    for (key, line) in MISTAKES {
        let line_shown = if line.is_empty() { format!("(no {key})") } else { (*line).to_owned() };
        let _ = writeln!(table, "{line_shown}\n{}\n", errors(&with(key, line)));
    }
    insta::assert_snapshot!(table);
}

/// Texts that are no manifest at all.
const UNREADABLE: &[(&str, &str)] = &[
    ("empty", ""),
    ("only a comment", "# nothing\n"),
    ("a list", "- 1\n- 2\n"),
    ("a scalar", "hello\n"),
    ("an open bracket", "schema: 1\nbatch_sizes: [1, 2\nname: x\n"),
    ("a tab", "schema: 1\nmodels:\n\tbert: 1\n"),
    ("two documents", "schema: 1\n---\nschema: 1\n"),
    ("an unknown alias", "schema: *one\n"),
    ("a list as a key", "schema: 1\n? [a, b]\n: 2\n"),
    ("an unknown tag", "schema: !include other.yaml\n"),
    ("a key of control characters", "schema: 1\n\"\\e[31mred\": 1\n"),
];

#[test]
fn unreadable_documents_have_a_place() {
    let mut table = String::new();
    for (what, text) in UNREADABLE {
        let message = errors(text);
        assert!(!message.contains('\u{1b}'), "{what}: {message}");
        let _ = writeln!(table, "{what}\n{message}\n");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn many_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = "\
schema: 1
name: test
models:
  bert: {random: x, architecture: bert-base}
backends: [refernce]
precisions:
  - fp32
  - name: mine
    base: hybrid
    classes:
      sofmax: fp16
batch_sizes: [1, 0]
sequence_lengths: [16, 1024]
inputs:
  random: {random: 7}
  random: {random: 8}
measurement:
  time_cap_s: .nan
colour: red
expect_configurations: 4
";
    insta::assert_snapshot!(errors(text));
}

#[test]
fn a_cell_of_impossible_combinations_may_be_excluded() {
    let text = with("sequence_lengths", "sequence_lengths: [16, 1024]").replace(": 24", ": 12");
    let text = text + "exclude: [{models: [bert], sequence_lengths: [1024], reason: BERT has 512 positions}]\n";
    let plan = plan(&text);
    assert_eq!((plan.configurations.len(), plan.excluded.len()), (12, 4));
    assert!(plan.excluded.iter().all(|cell| cell.reason == "BERT has 512 positions"));
    assert!(plan.excluded.iter().all(|cell| cell.configuration.model == "bert"));
    assert!(!plan.configurations.iter().any(|one| one.model == "bert" && one.shape.sequence == 1024));
}

#[test]
fn a_cell_takes_the_reason_of_the_first_exclusion_that_names_it() {
    let exclude = "exclude: [{batch_sizes: [2], reason: first}, {models: [gpt], reason: second}]\n";
    let plan = plan(&(with("expect_configurations", "expect_configurations: 6") + exclude));
    let count = |reason: &str| plan.excluded.iter().filter(|cell| cell.reason == reason).count();
    assert_eq!((count("first"), count("second"), plan.configurations.len()), (12, 6, 6));
}

#[test]
fn the_plan_is_in_product_order_and_its_ids_are_unique() {
    let plan = plan(SOUND);
    let key = |i: usize| {
        let one = &plan.configurations[i];
        (one.model.as_str(), one.policy.name.as_str(), one.shape.sequence, one.shape.batch)
    };
    assert_eq!([key(0), key(1), key(2)], [("bert", "fp32", 16, 1), ("bert", "fp32", 16, 2), ("bert", "fp32", 32, 1)]);
    assert_eq!([key(6), key(12)], [("bert", "hybrid", 16, 1), ("gpt", "fp32", 16, 1)]);
    let mut ids: Vec<_> = plan.configurations.iter().map(|one| one.id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 24);
}

#[test]
fn limits_change_the_protocol_and_not_the_ids() {
    let (plan, slower) = (plan(SOUND), plan(&with("measurement", "measurement: {warmup: 9}")));
    assert_ne!(plan.protocol_sha256(), slower.protocol_sha256());
    assert_eq!(plan.configurations, slower.configurations);
    let renamed = with("name", "name: other");
    let renamed = self::plan(&renamed);
    assert_eq!(plan.protocol_sha256(), renamed.protocol_sha256());
    assert_eq!(plan.configurations, renamed.configurations);
}

#[test]
fn a_custom_policy_changes_what_it_says_and_nothing_else() {
    let text = with(
        "precisions",
        "precisions: [fp32, {name: mine, base: hybrid, accumulate: fp16, layer_norm_reduction: divide_first, \
         classes: {softmax: fp16, linear: fp16, gelu: {compute: fp32, accumulate: fp32, store: bf16}}, \
         ops: {layer.3/attention/softmax: fp32}}]",
    );
    let plan = plan(&text);
    let mine = &plan.configurations[6].policy;
    assert_eq!(mine.name, "mine");
    assert_eq!(mine.layer_norm_reduction, ReductionOrder::DivideFirst);
    assert_eq!(mine.rounding("", OpClass::Softmax), Rounding::uniform(Format::Fp16));
    assert_eq!(mine.rounding("layer.3/attention/softmax", OpClass::Softmax), Rounding::uniform(Format::Fp32));
    // The class entry wins over the policy-wide accumulator, which reaches the other products.
    assert_eq!(mine.rounding("", OpClass::Linear), Rounding::fp32_accumulated(Format::Fp16));
    assert_eq!(mine.rounding("", OpClass::AttentionContext), Rounding::uniform(Format::Fp16));
    assert_eq!(mine.rounding("", OpClass::Gelu).store, Format::Bf16);
    assert_eq!(mine.rounding("", OpClass::Residual), Rounding::uniform(Format::Fp32));
}

#[test]
fn anchors_are_read_and_point_at_their_use() {
    let text =
        with("batch_sizes", "batch_sizes: &sizes [1, 2]").replace("[16, 32, 64]", "*sizes").replace(": 24", ": 16");
    assert_eq!(plan(&text).configurations.len(), 16);
    let text = with("batch_sizes", "batch_sizes: [&zero 0, 2]").replace("[16, 32, 64]", "[16, *zero]");
    let message = errors(&text);
    assert!(message.contains("m.yaml:8:24: sequence_lengths[1]: found `0`"), "{message}");
}

#[test]
fn alias_bombs_are_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{aliases}]");
    }
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let blocks: String = (0..1200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let long = format!("a: [{}]", "1, ".repeat(300_000));
    let doubling = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        text + &format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1)
    });
    for (what, text) in
        [("aliases", bomb), ("flow depth", deep), ("block depth", blocks), ("events", long), ("doubling", doubling)]
    {
        let start = Instant::now();
        let message = errors(&text);
        assert!(start.elapsed() < Duration::from_secs(1), "{what} took {:?}", start.elapsed());
        assert!(message.len() < 500, "{what}: {message}");
        assert!(message.contains("not a readable YAML document"), "{what}: {message}");
        assert!(
            message.contains("beyond what a manifest may") || message.contains("recursion limit"),
            "{what}: {message}"
        );
    }
}

#[test]
fn a_product_of_astronomic_size_is_refused_quickly() {
    let sizes = (1..=1000).map(|size| size.to_string()).collect::<Vec<_>>().join(", ");
    let text = with("batch_sizes", &format!("batch_sizes: [{sizes}]")).replace("[16, 32, 64]", &format!("[{sizes}]"));
    let start = Instant::now();
    let message = errors(&text);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(message.contains("expected at most 100000 cells; split the manifest"), "{message}");
}

#[test]
fn files_that_are_no_manifest_are_refused_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large.yaml");
    File::create(&large).unwrap().set_len(100_000_000).unwrap();
    let start = Instant::now();
    let message = Manifest::load(&large).unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(message.contains("large.yaml:1:1: found 100000000 bytes, expected at most 1048576"), "{message}");

    let latin1 = dir.path().join("latin1.yaml");
    std::fs::write(&latin1, b"schema: 1\nname: caf\xe9\n").unwrap();
    let message = Manifest::load(&latin1).unwrap_err().to_string();
    assert!(message.contains("latin1.yaml:2:10: found the byte 0xe9, expected UTF-8 text"), "{message}");

    assert!(matches!(Manifest::load(dir.path()).unwrap_err(), ManifestError::NotAFile { .. }));
    let message = Manifest::load(&dir.path().join("absent.yaml")).unwrap_err().to_string();
    assert!(message.contains("absent.yaml: cannot read the manifest: "), "{message}");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read() {
    assert_eq!(plan(&format!("\u{feff}{SOUND}")).configurations.len(), 24);
    assert_eq!(plan(&SOUND.replace('\n', "\r\n")).configurations.len(), 24);
}

#[test]
fn loading_keeps_the_digest_and_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.yaml");
    std::fs::write(&path, SOUND).unwrap();
    let loaded = Manifest::load(&path).unwrap();
    assert_eq!(loaded.base_dir, dir.path());
    let digest: String = Sha256::digest(SOUND).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(loaded.sha256, digest);
}

#[test]
fn the_manifests_of_this_repository_are_sound() {
    let mut counts = Vec::new();
    for entry in std::fs::read_dir(experiments()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("claims.yaml") {
            let loaded = Manifest::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            let plan = Plan::expand(&loaded);
            assert_eq!(plan.configurations.len(), loaded.manifest.expect_configurations, "{}", plan.name);
            assert_eq!(path.file_stem().unwrap().to_str(), Some(plan.name.as_str()), "a manifest is named as its file");
            counts.push((plan.name.clone(), plan.configurations.len()));
        }
    }
    for expected in [("quick", 36), ("paper", 792), ("minilm", 24)] {
        assert!(counts.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} not in {counts:?}");
    }
}

#[test]
fn the_paper_grid_is_the_papers() {
    let plan = Plan::expand(&Manifest::load(&experiments().join("paper.yaml")).unwrap());
    assert!(plan.configurations.len() >= 360);
    let baseline = plan.configurations.iter().filter(|one| one.backend == BackendKind::OnnxRuntime);
    assert!(baseline.clone().all(|one| one.policy.name == "fp32"));
    assert_eq!(baseline.count(), 72);
    assert!(plan.configurations.iter().all(|one| matches!(one.model_source, ModelSource::Hub { .. })));
    insta::assert_snapshot!(plan.to_text().lines().take(12).collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_quick_plan_is_printed_for_people() {
    let plan = Plan::expand(&Manifest::load(&experiments().join("quick.yaml")).unwrap());
    insta::assert_snapshot!(plan.to_text());
}

#[test]
fn the_json_plan_holds_the_plan_and_its_estimates() {
    let plan = Plan::expand(&Manifest::load(&experiments().join("minilm.yaml")).unwrap());
    let json: serde_json::Value = serde_json::from_str(&plan.to_json().unwrap()).unwrap();
    assert_eq!(json["estimates"].as_array().unwrap().len(), 24);
    assert_eq!(json["estimates"][0]["size"], "assumed_bert_base");
    assert_eq!(json["protocol_sha256"], plan.protocol_sha256());
    let back: Plan = serde_json::from_value(json["plan"].clone()).unwrap();
    assert_eq!(back, plan);
}

#[test]
fn pinned_data_files_have_the_pinned_digest() {
    let text = std::fs::read_to_string(experiments().join("minilm.yaml")).unwrap();
    let bytes = std::fs::read(experiments().join("data/excerpt.txt")).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&digest), "experiments/minilm.yaml must pin {digest}");
}
