//! The text of every message about a manifest.

use std::fmt::Write as _;

use super::{errors, with};

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
    ("models", "models: {a: {random: 1, architecture: gpt2, inject: {layer: 2, channel: 447, magnitude: 3000}}}"),
    ("models", "models: {a-injected: {random: 1, architecture: gpt2, inject: {layer: -1, magnitude: 0}}}"),
    ("models", "models: {a: {first_of: x}}"),
    ("models", "models: {a: {first_of: [], sha256: x}}"),
    ("models", "models: {a: {first_of: [{checkpoint: x}]}}"),
    ("models", "models: {a: {first_of: [{checkpoint: x}, {checkpoint: y}], checkpoint: x}}"),
    (
        "models",
        "models: {a: {first_of: [{random: 1, architecture: gpt2}, {checkpoint: x}, {checkpoint: x, sha256: 0}]}}",
    ),
    (
        "models",
        "models: {a: {first_of: [{checkpoint: x, head: hidden}, {checkpoint: y, fallback: gpt2}, {first_of: []}]}}",
    ),
    ("models", "models: {a: {first_of: [{checkpoint: x}, {checkpoint: ./x}, {checkpoint: x}]}}"),
    ("backends", "backends: [cuda, refernce]"),
    ("backends", "backends: [tensorrt, cuda]\ntargets: [sm80]"),
    ("backends", "backends: [tensorrt]\ntargets: [sm80, sm90, sm80]"),
    ("backends", "backends: [tensorrt]\ntargets: []"),
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
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, ops: {layer.0/mlp/fc1: fp16}}]"),
    (
        "precisions",
        "precisions: [fp32, {name: mine, base: hybrid, ops: {layer.3/atention/softmax: fp32, nothing: fp32, \
                    layer.12/mlp/fc1: fp32, lm_head: fp32}}]",
    ),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, accumulate: tf32}]"),
    ("precisions", "precisions: [fp32, {name: mine, base: fp16, layer_norm_reduction: divide}]"),
    (
        "precisions",
        "precisions: [fp16, {name: mine, base: fp32, accumulate: fp16, classes: {softmax: fp16}}, \
                    {name: other, base: fp32, accumulate: fp16, classes: {softmax: fp16}}]",
    ),
    ("inputs", "inputs: {random: {seed: 7}}"),
    ("inputs", "inputs: {random: {random: 7, text: x}}"),
    ("inputs", "inputs: {random: {random: {separators: true}}}"),
    ("inputs", "inputs: {random: {random: {seed: -7, separators: 1, seperators: true}}}"),
    ("inputs", "inputs: {random: {random: {seed: 7, separators: true}}}"),
    ("inputs", "inputs: {text: {text: [x]}}"),
    ("inputs", "inputs: {excerpt: {text: data/excerpt.txt}}"),
    ("inputs", "inputs: {random: {random: 7}, sst2: {sst2: dev.tsv}}"),
    ("measurement", "measurement: {warmup: -1, min_samples: 0, max_samples: many}"),
    ("measurement", "measurement: {min_samples: 20, max_samples: 10}"),
    ("measurement", "measurement: {target_precision: .nan, time_cap_s: .inf, timeout_s: -5}"),
    ("measurement", "measurement: {target_precision: 1, time_cap_s: 0, threads: 0}"),
    ("measurement", "measurement: {time_cap_s: 100, timeout_s: 10}"),
    ("measurement", "measurement: {energy_window_s: 0.2}"),
    ("measurement", "measurement: {energy_window_s: 20, timeout_s: 15}"),
    ("measurement", "measurement: {cpu_processes: 0, pin_threads: 6}"),
    ("measurement", "measurement: {energy_window: 2}"),
    ("measurement", "measurement: [1]"),
    ("noise_floor", "noise_floor: {batch_sizes: [1]}"),
    ("noise_floor", "noise_floor: {batch_sizes: [3], sequence_lengths: [], precisions: [fp16]}"),
    ("noise_floor", "noise_floor: {batch_sizes: [1], sequence_lengths: [16], rounds: 5, samples: 0, time_cap_s: 0}"),
    ("numerics", "numerics: {compare_sequences: 0}"),
    ("numerics", "numerics: {score_windows: 8}"),
    ("numerics", "numerics: {forwards: 0}"),
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
fn a_policy_that_a_backend_cannot_execute_is_named_with_the_reason() {
    let text = with("backends", "backends: [onnxruntime]").replace("[fp32, hybrid]", "[fp32, bf16]");
    let message = errors(&text);
    let expected = "m.yaml:6:20: precisions[1]: found `bf16`, which backend `onnxruntime` cannot execute: onnxruntime has \
                    no BF16 arithmetic on the CPU; add to exclude: {backends: [onnxruntime], precisions: [bf16], reason: ...}";
    assert!(message.contains(expected), "{message}");
}

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
