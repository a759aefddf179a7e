//! Accuracy and likelihood in the results against the same computed from float64 outputs.

use std::collections::BTreeMap;

use mixprec::backend::reference::oracle_outputs;
use mixprec::graph::Shape;
use mixprec::input::InputSource;
use mixprec::model::Head;

use crate::checkpoint::{Checkpoint, WORDS};
use crate::experiment::{Cells, Experiment};

const SENTENCES: [(&str, u8); 7] = [
    ("the film is good", 1),
    ("bad plot", 0),
    ("it was not very good but the cast was fine", 1),
    ("dull dull dull", 0),
    ("a great story and a great cast", 1),
    ("weak", 0),
    ("very fine", 1),
];

fn argmax(logits: &[f64]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

#[test]
fn accuracy_is_that_of_float64_whatever_the_batch_size() {
    let experiment = Experiment::new(&Cells {
        models: "{bert: {checkpoint: bert}, gpt: {checkpoint: gpt2}}",
        precisions: "[fp32, hybrid]",
        batch_sizes: "[1, 3]",
        sequence_lengths: "[16]",
        inputs: "{sst2: {sst2: dev.tsv}}",
        count: 8,
        ..Cells::default()
    });
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    let lines = SENTENCES.map(|(sentence, label)| format!("{sentence}\t{label}\n"));
    let file = format!("sentence\tlabel\n{}", lines.concat());
    std::fs::write(experiment.folder().join("dev.tsv"), file).unwrap();

    let logits = || -> Vec<Vec<f64>> {
        let model = experiment.model("bert", Head::Natural);
        let input = experiment
            .input(&InputSource::Sst2 { path: "dev.tsv".into(), sha256: None, labels: BTreeMap::new() }, &model);
        let batches = (0..SENTENCES.len()).map(|row| input.batch(Shape { batch: 1, sequence: 16 }, row).unwrap());
        batches.map(|batch| oracle_outputs(&model, &batch, 1).unwrap()).collect()
    };
    // Drawn weights prefer one class throughout; a bias between the third and fourth sentence splits them.
    let mut margins: Vec<f64> = logits().iter().map(|logits| logits[0] - logits[1]).collect();
    margins.sort_by(f64::total_cmp);
    assert!(margins[3] - margins[2] > 0.01, "{margins:?}");
    let mut split = Checkpoint::bert();
    split.tensors.get_mut("classifier.bias").unwrap().1[1] += ((margins[2] + margins[3]) / 2.0) as f32;
    split.write(&experiment.folder().join("bert"));
    let predictions: Vec<usize> = logits().iter().map(|logits| argmax(logits)).collect();
    let right = predictions.iter().zip(SENTENCES).filter(|(found, (_, label))| **found == usize::from(*label)).count();
    assert_eq!(predictions.iter().filter(|class| **class == 1).count(), 3);
    let digits: String = predictions.iter().map(|class| class.to_string()).collect();

    experiment.run(0);
    for row in experiment.rows() {
        if row.model == "gpt" {
            assert_eq!((row.task_total, row.task_accuracy, row.task_predictions), (None, None, None), "no classifier");
            continue;
        }
        assert_eq!((row.task_correct, row.task_total), (Some(right as u64), Some(7)), "{row:?}");
        assert_eq!(row.task_predictions, Some(digits.clone()));
        assert!((row.task_accuracy.unwrap() - right as f64 / 7.0).abs() < 1e-12);
        assert_eq!((row.nll_mean, row.nll_tokens), (None, None));
    }
}

#[test]
fn likelihood_is_that_of_float64_whatever_the_batch_size() {
    const WINDOWS: usize = 5;
    let experiment = Experiment::new(&Cells {
        models: "{gpt: {checkpoint: gpt2}, bert: {checkpoint: bert}}",
        precisions: "[fp32, hybrid]",
        batch_sizes: "[1, 3]",
        inputs: "{text: {text: text.txt}}",
        more: "numerics: {score_windows: 5}",
        count: 8,
        ..Cells::default()
    });
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    let words: Vec<&str> = (0..100).map(|index| WORDS[4 + index * index % 20]).collect();
    std::fs::write(experiment.folder().join("text.txt"), words.join(" ")).unwrap();

    let model = experiment.model("gpt2", Head::Natural);
    let input = experiment.input(&InputSource::Text { path: "text.txt".into(), sha256: None }, &model);
    let batch = input.batch(Shape { batch: WINDOWS, sequence: 8 }, 0).unwrap();
    let logits = oracle_outputs(&model, &batch, 1).unwrap();
    let score = |(row, next): (&[f64], &u32)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[*next as usize];
    // The words that follow, taken from the text itself.
    let next: Vec<u32> =
        words[1..=8 * WINDOWS].iter().map(|w| WORDS.iter().position(|x| x == w).unwrap() as u32).collect();
    let exact = logits.chunks(WORDS.len()).zip(&next).map(score).sum::<f64>() / next.len() as f64;

    experiment.run(0);
    for row in experiment.rows() {
        if row.model == "bert" {
            assert_eq!((row.nll_mean, row.perplexity, row.task_total), (None, None, None), "no language model");
            continue;
        }
        assert_eq!((row.nll_tokens, row.task_total), (Some(8 * WINDOWS as u64), None));
        let limit = if row.precision == "fp32" { 1e-6 } else { 1e-2 };
        let (mean, perplexity) = (row.nll_mean.unwrap(), row.perplexity.unwrap());
        assert!((mean - exact).abs() < limit, "{} {}: {mean} is not {exact}", row.precision, row.batch_size);
        assert!((perplexity - mean.exp()).abs() < 1e-9 * perplexity);
    }
}
