//! Manifests and plans from the outside: every message, hostile files, the manifests of experiments/, exclusions.

mod messages;
mod shard;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mixprec::engine::{BackendKind, Target};
use mixprec::graph::{Format, OpClass, ReductionOrder, Rounding};
use mixprec::manifest::schema::Manifest;
use mixprec::manifest::{LoadedManifest, ManifestError, names_in};
use mixprec::model::ModelSource;
use mixprec::plan::{Configuration, Plan};
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
fn text_is_for_models_with_a_tokenizer() {
    let inputs = with("inputs", "inputs: {random: {random: 7}, excerpt: {text: x}}");
    let exclude = "exclude: [{models: [bert, gpt], inputs: [excerpt], reason: no tokenizer}]\n";
    assert_eq!(plan(&(inputs.clone() + exclude)).configurations.len(), 24);
    let message = errors(&(inputs.clone() + &exclude.replace("bert, gpt", "gpt")));
    assert!(message.contains("model `bert` cannot read") && !message.contains("`gpt`"), "{message}");
    let separated = inputs.replace("{text: x}", "{random: {seed: 7, separators: true}}");
    assert_eq!(plan(&(separated.clone() + exclude)).configurations.len(), 24);
    // Whether a hub model has its tokenizer or a stand-in's random weights is known when it runs.
    let (revision, sha256) = ("0".repeat(40), "0".repeat(64));
    let hub = format!("{{hub: a/b, revision: '{revision}', sha256: '{sha256}', fallback: gpt2}}");
    let text = with("models", &format!("models: {{bert: {{checkpoint: x}}, gpt: {hub}}}"));
    assert_eq!(plan(&text.replace("{random: {random: 7}}", "{excerpt: {text: x}}")).configurations.len(), 24);
}

#[test]
fn a_seed_in_a_mapping_is_the_seed_alone() {
    for mapping in ["{seed: 7}", "{separators: false, seed: 7}"] {
        let text = with("inputs", &format!("inputs: {{random: {{random: {mapping}}}}}"));
        assert_eq!(plan(&text).configurations, plan(SOUND).configurations);
    }
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
fn targets_are_an_axis_of_their_own() {
    let text = with("backends", "backends: [tensorrt]\ntargets: [sm89, current]");
    let both = plan(&text.replace("expect_configurations: 24", "expect_configurations: 48"));
    let targets: Vec<_> = both.configurations.iter().filter_map(|one| one.target).collect();
    assert_eq!(targets.len(), both.configurations.len());
    assert_eq!(targets.iter().filter(|target| **target == Target::Sm89).count(), targets.len() / 2);
    let without = plan(&with("backends", "backends: [tensorrt]"));
    assert!(without.configurations.iter().all(|one| one.target.is_none()));
    let ids = |plan: &Plan| plan.configurations.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&both).is_disjoint(&ids(&without)), "a named target is another configuration");
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

/// Few lines of YAML stand for many cells, and each of those has its own copy of what the lines say.
#[test]
fn what_would_fill_a_memory_when_repeated_in_every_cell_is_refused_quickly() {
    let sizes = (1..=180).map(|size| size.to_string()).collect::<Vec<_>>().join(", ");
    let axes =
        |text: String| text.replace("[1, 2]", &format!("[{sizes}]")).replace("[16, 32, 64]", &format!("[{sizes}]"));
    let models = |path: &str| format!("models: {{bert: {{checkpoint: {path}}}}}");
    let rounding = "{compute: fp16, accumulate: fp16, store: fp16}";
    let ops: String = (0..1500).map(|op| format!("op{op}{}: {rounding}, ", "x".repeat(200))).collect();
    let policy = format!("precisions: [fp32, {{name: mine, base: fp32, ops: {{{ops}}}}}]");
    let long = "x".repeat(100_000);
    let reason = format!("exclude: [{{precisions: [hybrid], reason: {long}}}]");
    let cases = [
        ("paths", with("models", &models(&long))),
        ("overrides", with("models", &models("short")).replace("precisions: [fp32, hybrid]", &policy)),
        ("reasons", with("models", &models("short")) + &reason),
    ];
    for (what, text) in cases {
        let start = Instant::now();
        let message = errors(&axes(text));
        assert!(start.elapsed() < Duration::from_secs(2), "{what} took {:?}", start.elapsed());
        assert!(
            message.contains("MiB in 64800 cells, expected at most 256"),
            "{what}: {}",
            &message[..message.len().min(500)]
        );
    }
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
    let mut names = Vec::new();
    for file in names_in(&experiments()).unwrap() {
        let loaded = Manifest::load(&experiments().join(&file)).unwrap_or_else(|errors| panic!("{errors}"));
        let plan = Plan::expand(&loaded);
        assert_eq!(plan.configurations.len(), loaded.manifest.expect_configurations, "{}", plan.name);
        assert_eq!(file, format!("{}.yaml", plan.name), "a manifest is named as its file");
        names.push(plan.name.clone());
    }
    for expected in ["quick", "paper", "minilm"] {
        assert!(names.contains(&expected.to_owned()), "{expected} not in {names:?}");
    }
}

#[test]
fn the_paper_grid_is_the_papers() {
    let plan = Plan::expand(&Manifest::load(&experiments().join("paper.yaml")).unwrap());
    assert!(plan.configurations.len() >= 360);
    let baseline = plan.configurations.iter().filter(|one| one.backend == BackendKind::OnnxRuntime);
    assert!(baseline.clone().all(|one| one.policy.name == "fp32"));
    assert_eq!(baseline.count(), 72);
    let real_first = |one: &Configuration| matches!(one.model_source.candidates(), [ModelSource::Hub { .. }, ..]);
    assert!(plan.configurations.iter().all(real_first));
    insta::assert_snapshot!(plan.to_text().lines().take(4).collect::<Vec<_>>().join("\n"));
    assert!(plan.to_text().lines().count() > 792);
}

/// What is published as the paper's grid can be measured again with real weights, under the same ids.
#[test]
fn ids_of_the_published_grid_are_those_of_today() {
    let published = std::fs::read(experiments().join("../artifacts/h200/plan.json")).unwrap();
    let published: Plan = serde_json::from_slice(&published).unwrap();
    let today = Plan::expand(&Manifest::load(&experiments().join("paper.yaml")).unwrap());
    let ids = |plan: &Plan| plan.configurations.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&published), ids(&today));
}

/// No table of numerics or of answers has a row of random weights, or of what stands in for a model, beside a real one.
#[test]
fn numerics_and_downstream_are_of_real_weights_alone() {
    for name in ["numerics.yaml", "downstream.yaml"] {
        for model in Manifest::load(&experiments().join(name)).unwrap().manifest.models {
            let pinned = |source: &ModelSource| match source {
                ModelSource::Checkpoint { sha256, .. } => sha256.is_some(),
                ModelSource::Hub { .. } => true,
                _ => false,
            };
            assert!(model.source.injection().is_none() && model.source.stand_in().is_none(), "{name}: {}", model.name);
            assert!(model.source.candidates().iter().all(pinned), "{name}: {}", model.name);
        }
    }
}

#[test]
fn a_plan_is_printed_for_people() {
    let exclude = "exclude: [{models: [gpt], precisions: [hybrid], reason: for the test}]\n";
    let plan = plan(&(with("expect_configurations", "expect_configurations: 18") + exclude));
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

/// The first manifest of a reader, and the reference of the format.
#[test]
fn the_documented_examples_are_valid_manifests() {
    let text = std::fs::read_to_string(experiments().join("README.md")).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let sizes = blocks.map(|block| {
        let manifest = Manifest::parse(block, "experiments/README.md").unwrap();
        (manifest.models.len(), manifest.precisions.len(), manifest.expect_configurations)
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [(1, 3, 3), (5, 2, 76)]);
}

#[test]
fn names_of_ops_are_checked_where_every_graph_is_known() {
    let policy = "precisions: [fp32, {name: mine, base: hybrid, ops: {layer.3/attention/sofmax: fp32}}]";
    let hub = |fallback: &str| {
        let pins = format!("revision: '{}', sha256: '{}'", "0".repeat(40), "0".repeat(64));
        format!("models: {{bert: {{random: 1, architecture: bert-base}}, gpt: {{hub: owner/name, {pins}{fallback}}}}}")
    };
    let text = |models: &str| with("precisions", policy).replace(SOUND.lines().nth(3).unwrap(), models);
    let found = errors(&text(&hub(", fallback: gpt2")));
    assert!(found.starts_with("m.yaml:6:53: precisions[1].ops.\"layer.3/attention/sofmax\": "), "{found}");
    assert!(found.contains("did you mean `layer.3/attention/softmax`?"), "{found}");
    for unknown in [hub(""), "models: {bert: {random: 1, architecture: bert-base}, gpt: {checkpoint: gpt}}".to_owned()]
    {
        assert_eq!(plan(&text(&unknown)).configurations.len(), 24, "building an engine tells");
    }
    // An op of one model is enough.
    plan(&with("precisions", "precisions: [fp32, {name: mine, base: hybrid, ops: {lm_head: fp32}}]"));
}
