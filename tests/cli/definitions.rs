//! One name of a table stands for one thing: results whose manifests define a model, an input or a policy in two ways are not
//! put side by side.

use crate::checkpoint::Checkpoint;
use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect};

const SENTENCES: &str = "sentence\tlabel\nthe film is good\t1\nbad plot\t0\n";
const RANDOM: &str = "{m: {random: 1, architecture: bert-tiny}}";
const FOLDER: &str = "{m: {checkpoint: bert}}";
const SST2: &str = "{i: {sst2: dev.tsv}}";

/// Models, precisions and inputs of a manifest.
type Parts<'a> = [&'a str; 3];

fn measured([models, precisions, inputs]: Parts<'_>, name: &str) -> Experiment {
    let count = precisions.matches("fp32").count().min(1) + usize::from(precisions.contains("mine"));
    let experiment = Experiment::new(&Cells { models, precisions, inputs, count, ..Cells::default() });
    let folder = experiment.folder();
    Checkpoint::bert().write(&folder.join("bert"));
    Checkpoint::bert().write(&folder.join("copy"));
    std::fs::write(folder.join("dev.tsv"), SENTENCES).unwrap();
    std::fs::write(folder.join("same.tsv"), SENTENCES).unwrap();
    let manifest = std::fs::read_to_string(experiment.yaml()).unwrap();
    std::fs::write(experiment.yaml(), manifest.replace("name: test", &format!("name: {name}"))).unwrap();
    experiment.run(0);
    experiment
}

/// Joins, publishes and compares two folders; returns what each says, where it is refused or not with this code.
fn side_by_side(first: &Experiment, second: &Experiment, code: i32) -> [String; 3] {
    let out = |name: &str| first.dir().with_file_name(name);
    let (one, other) = (first.dir(), second.dir());
    let (merged, artifact) = (out("merged"), out("artifact"));
    [
        expect(code, &["merge", text(&one), text(&other), "--out", text(&merged)]).1,
        expect(code, &["artifact", text(&one), text(&other), "--out", text(&artifact), "--allow-dirty"]).1,
        expect(2, &["compare", text(&one), text(&other)]).1,
    ]
}

#[test]
fn a_name_with_two_definitions_is_refused_by_name() {
    const POLICY: &str = "[fp32, {name: mine, base: hybrid, classes: {layer_norm: fp16}}]";
    let cases: [(Parts, Parts, &str); 8] = [
        ([RANDOM, "[fp32]", "{i: {random: 7}}"], [RANDOM, "[fp32]", "{i: {random: 8}}"], "(source of i)"),
        (
            [FOLDER, "[fp32]", "{i: {random: 7}}"],
            [FOLDER, "[fp32]", "{i: {random: {seed: 7, separators: true}}}"],
            "(source of i)",
        ),
        ([FOLDER, "[fp32]", SST2], [FOLDER, "[fp32]", "{i: {text: dev.tsv}}"], "(source of i)"),
        ([FOLDER, "[fp32]", SST2], [FOLDER, "[fp32]", "{i: {sst2: dev.tsv, labels: {0: 1, 1: 0}}}"], "(labels of i)"),
        ([FOLDER, "[fp32]", SST2], ["{m: {checkpoint: bert, head: hidden}}", "[fp32]", SST2], "(head of m)"),
        (
            [RANDOM, "[fp32]", "{i: {random: 7}}"],
            ["{m: {random: 1, architecture: gpt2-tiny}}", "[fp32]", "{i: {random: 7}}"],
            "(source of m)",
        ),
        ([RANDOM, "[fp32]", "{i: {random: 7}}"], [FOLDER, "[fp32]", "{i: {random: 7}}"], "(source of m)"),
        (
            [RANDOM, POLICY, "{i: {random: 7}}"],
            [RANDOM, "[fp32, {name: mine, base: fp16, classes: {softmax: fp32}}]", "{i: {random: 7}}"],
            "(policy mine)",
        ),
    ];
    for (one, other, word) in cases {
        let (first, second) = (measured(one, "test"), measured(other, "test"));
        for said in side_by_side(&first, &second, 2) {
            assert_says(&said, &[word, text(&first.dir()), text(&second.dir())]);
        }
        let other = measured(other, "beside");
        let (main, beside, out) = (first.dir(), other.dir(), first.dir().with_file_name("both"));
        let with = ["artifact", text(&main), "--with", text(&beside), "--out", text(&out), "--allow-dirty"];
        assert_says(&expect(2, &with).1, &[word, text(&main), text(&beside)]);
    }
}

#[test]
fn the_same_files_may_lie_elsewhere() {
    let first = measured([FOLDER, "[fp32]", SST2], "test");
    let second = measured(["{m: {checkpoint: copy}}", "[fp32]", "{i: {sst2: same.tsv}}"], "test");
    let [merged, _, compared] = side_by_side(&first, &second, 0);
    assert!(merged.contains("2 folder(s) joined"), "{merged}");
    assert!(compared.contains("no measured configuration in common"), "{compared}");
}
