//! Examples files: pairs, ids and token types, labels by name and number, numbers, several labels; bad lines at `plan`. Expected
//! values are computed from float64 outputs here, with ids and types put together by hand.

use std::collections::BTreeMap;
use std::path::Path;

use mixprec::backend::reference::oracle_outputs;
use mixprec::graph::Shape;
use mixprec::input::Batch;
use mixprec::model::{Head, Model, ModelSource};
use mixprec::stats::scores::Answers;
use mixprec::store::schema::{InputKind, ResultRow};
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, HIDDEN, WORDS, tokenizer_config};
use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect};

const COUNT: usize = 24;
const SEQUENCE: usize = 14;
const CLS: u32 = 2;
const SEP: u32 = 3;

/// Words of text `which` of a row, as ids.
fn words(row: usize, which: usize) -> Vec<u32> {
    (0..1 + (row + 2 * which) % 5)
        .map(|place| 4 + ((7 * row + 5 * place + 11 * which + place * place) % 20) as u32)
        .collect()
}

fn spelled(ids: &[u32]) -> String {
    ids.iter().map(|&id| WORDS[id as usize]).collect::<Vec<_>>().join(" ")
}

/// `[CLS] first [SEP] second [SEP]`, whose second text and last marker are of type 1.
fn pair(row: usize) -> (Vec<u32>, Vec<u32>) {
    let (first, second) = (words(row, 0), words(row, 1));
    let types = [vec![0; first.len() + 2], vec![1; second.len() + 1]].concat();
    ([&[CLS][..], &first, &[SEP], &second, &[SEP]].concat(), types)
}

/// Lines of pairs with these further keys.
fn pairs(right: impl Fn(usize) -> Value) -> String {
    let line = |row: usize| {
        let mut line = json!({"text": spelled(&words(row, 0)), "text_pair": spelled(&words(row, 1))});
        line.as_object_mut().unwrap().extend(right(row).as_object().unwrap().clone());
        line
    };
    (0..COUNT).map(|row| format!("{}\n", line(row))).collect()
}

/// Float64 logits of each pair.
fn logits(folder: &Path, model: &str) -> Vec<Vec<f64>> {
    let source = ModelSource::Checkpoint { path: model.into(), sha256: None };
    let model = Model::open(model, &source, folder, Head::Natural).unwrap();
    let of = |row| {
        let (ids, types) = pair(row);
        oracle_outputs(&model, &Batch::single(ids).with_token_types(types), 1).unwrap()
    };
    (0..COUNT).map(of).collect()
}

fn argmax(logits: &[f64]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

/// A BERT with a head of so many outputs, shifted so that outputs differ from row to row; further keys of config.json.
fn checkpoint(outputs: usize, keys: Value) -> Checkpoint {
    let mut checkpoint = Checkpoint::bert();
    let (shape, drawn) = checkpoint.tensors["bert.encoder.layer.0.intermediate.dense.weight"].clone();
    let weight = drawn[..outputs * shape[1]].iter().map(|x| 4.0 * x).collect();
    checkpoint.tensors.insert("classifier.weight".to_owned(), (vec![outputs, shape[1]], weight));
    checkpoint.tensors.insert("classifier.bias".to_owned(), (vec![outputs], vec![0.0; outputs]));
    let types = &mut checkpoint.tensors.get_mut("bert.embeddings.token_type_embeddings.weight").unwrap().1;
    types.iter_mut().for_each(|x| *x *= 2.0);
    let names = (0..outputs).map(|class| (class.to_string(), json!(["entailment", "neutral", "contradiction"][class])));
    checkpoint.config["id2label"] = Value::Object(names.collect());
    checkpoint.config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    checkpoint
}

/// Centres each output's bias on its median, so that every class wins somewhere.
fn write(mut checkpoint: Checkpoint, folder: &Path) {
    checkpoint.write(&folder.join("model"));
    let found = logits(folder, "model");
    for (class, bias) in checkpoint.tensors.get_mut("classifier.bias").unwrap().1.iter_mut().enumerate() {
        let mut of_class: Vec<f64> = found.iter().map(|logits| logits[class]).collect();
        of_class.sort_by(f64::total_cmp);
        *bias -= of_class[COUNT / 2] as f32;
    }
    checkpoint.write(&folder.join("model"));
}

fn run(file: &str, input: &str, checkpoint: Checkpoint) -> (Experiment, Vec<ResultRow>) {
    let inputs = format!("{{pairs: {input}}}");
    let sequence = format!("[{SEQUENCE}]");
    let experiment = Experiment::new(&Cells {
        models: "{m: {checkpoint: model}}",
        inputs: &inputs,
        precisions: "[fp32, fp16]",
        batch_sizes: "[5]",
        sequence_lengths: &sequence,
        count: 2,
        ..Cells::default()
    });
    std::fs::write(experiment.folder().join("pairs.jsonl"), file).unwrap();
    write(checkpoint, &experiment.folder());
    experiment.run(0);
    let rows = experiment.rows();
    assert!(rows.iter().all(|row| row.input_kind == InputKind::Examples));
    (experiment, rows)
}

fn fp32(rows: &[ResultRow]) -> &ResultRow {
    rows.iter().find(|row| row.precision == "fp32").unwrap()
}

fn answers(row: &ResultRow) -> Answers {
    serde_json::from_str(row.task_answers.as_ref().unwrap()).unwrap()
}

/// A page of the report.
fn reported(experiment: &Experiment, name: &str) -> String {
    let dir = experiment.dir();
    expect(0, &["report", text(&dir)]);
    std::fs::read_to_string(dir.join("report").join(name)).unwrap()
}

#[test]
fn pairs_are_answered_as_by_float64_and_scored_by_the_names_of_classes() {
    let names = ["entailment", "neutral", "contradiction"];
    let file = pairs(|row| json!({"label": names[row % 3]}));
    let (experiment, rows) = run(&file, "{examples: pairs.jsonl}", checkpoint(3, json!({})));
    let expected: Vec<(Option<u32>, u32)> = logits(&experiment.folder(), "model")
        .iter()
        .zip(0..)
        .map(|(logits, row)| (Some(argmax(logits)), row % 3))
        .collect();
    assert!((0..3).all(|class| expected.iter().any(|(answer, _)| *answer == Some(class))), "{expected:?}");
    let row = fp32(&rows);
    assert_eq!(answers(row), Answers::Classes { of: 3, positive: 1, rows: expected.clone() });
    let right = expected.iter().filter(|(answer, right)| *answer == Some(*right)).count() as u64;
    assert_eq!((row.task_correct, row.task_total), (Some(right), Some(COUNT as u64)));
    let labels = "contradiction=contradiction;entailment=entailment;neutral=neutral";
    assert_eq!(row.labels.as_deref(), Some(labels));
    assert!(row.task_f1_macro_low < row.task_f1_macro && row.task_f1_macro < row.task_f1_macro_high, "{row:?}");
    assert!(row.task_matthews.is_some() && row.task_f1.is_none(), "three classes have no F1 of one");
    let page = reported(&experiment, "scores-classes.tex");
    assert!(page.contains("Classes of m by label of pairs: contradiction = contradiction"), "{page}");
    assert!(page.contains("macro F1") && page.contains("Matthews"), "{page}");
}

#[test]
fn numbers_are_classes_and_the_manifest_may_say_which() {
    let file = pairs(|row| json!({"label": row % 2}));
    let (experiment, rows) = run(&file, "{examples: pairs.jsonl}", checkpoint(3, json!({})));
    let predicted: Vec<u32> = logits(&experiment.folder(), "model").iter().map(|logits| argmax(logits)).collect();
    let right =
        |class: [u32; 2]| predicted.iter().zip(0..).filter(|(answer, row)| **answer == class[row % 2]).count() as u64;
    assert_eq!(fp32(&rows).task_correct, Some(right([0, 1])));
    assert_eq!(fp32(&rows).labels.as_deref(), Some("0=entailment;1=neutral;=contradiction"));
    let input = "{examples: pairs.jsonl, labels: {0: contradiction, 1: 0}}";
    let (_, rows) = run(&file, input, checkpoint(3, json!({})));
    assert_eq!(fp32(&rows).task_correct, Some(right([2, 0])));
    assert_eq!(fp32(&rows).labels.as_deref(), Some("0=contradiction;1=entailment;=neutral"));
}

#[test]
fn a_regression_is_scored_by_its_correlation_with_the_right_numbers() {
    let file = pairs(|row| json!({"label": (row as f64 * 0.37).sin()}));
    let (experiment, rows) =
        run(&file, "{examples: pairs.jsonl}", checkpoint(1, json!({"problem_type": "regression"})));
    let ours: Vec<f64> = logits(&experiment.folder(), "model").iter().map(|logits| logits[0]).collect();
    let right: Vec<f64> = (0..COUNT).map(|row| (row as f64 * 0.37).sin()).collect();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / COUNT as f64;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - mean(a)) * (y - mean(b))).sum::<f64>();
    let pearson = product(&ours, &right) / (product(&ours, &ours) * product(&right, &right)).sqrt();
    let row = fp32(&rows);
    assert!((row.task_pearson.unwrap() - pearson).abs() < 1e-5, "{:?} {pearson}", row.task_pearson);
    assert!(row.task_spearman.is_some() && row.task_total.is_none());
    assert!(reported(&experiment, "scores-numbers.tex").contains("Spearman"));
}

#[test]
fn several_labels_hold_where_their_logits_are_above_0() {
    let names = ["entailment", "neutral", "contradiction"];
    let right = |row: usize| -> Vec<u32> { (0..3).filter(|class| (row + 1) >> class & 1 == 1).collect() };
    let file =
        pairs(|row| json!({"labels": right(row).iter().map(|&class| names[class as usize]).collect::<Vec<_>>()}));
    let keys = json!({"problem_type": "multi_label_classification"});
    let (experiment, rows) = run(&file, "{examples: pairs.jsonl}", checkpoint(3, keys));
    let holding = |logits: &Vec<f64>| (0..3).filter(|&class| logits[class as usize] > 0.0).collect::<Vec<u32>>();
    let expected: Vec<_> = logits(&experiment.folder(), "model")
        .iter()
        .enumerate()
        .map(|(row, l)| (Some(holding(l)), right(row)))
        .collect();
    assert_eq!(answers(fp32(&rows)), Answers::ClassSets(expected.clone()));
    let exact = expected.iter().filter(|(answer, right)| answer.as_ref() == Some(right)).count();
    assert_eq!(fp32(&rows).task_subset_accuracy, Some(exact as f64 / COUNT as f64));
}

/// The same pairs as ids need no tokenizer, and types make the difference.
#[test]
fn ids_with_types_give_the_answers_of_their_texts() {
    let line = |row: usize, typed: bool| {
        let (ids, types) = pair(row);
        let types = if typed { json!(types) } else { json!(vec![0; ids.len()]) };
        format!("{}\n", json!({"ids": ids, "token_types": types, "label": row % 3}))
    };
    let file = |typed: bool| (0..COUNT).map(|row| line(row, typed)).collect::<String>();
    let without_tokenizer = || Checkpoint { tokenizer: None, ..checkpoint(3, json!({})) };
    let (experiment, rows) = run(&file(true), "{examples: pairs.jsonl}", without_tokenizer());
    let expected: Vec<(Option<u32>, u32)> = logits(&experiment.folder(), "model")
        .iter()
        .zip(0..)
        .map(|(logits, row)| (Some(argmax(logits)), row % 3))
        .collect();
    assert_eq!(answers(fp32(&rows)), Answers::Classes { of: 3, positive: 1, rows: expected.clone() });
    assert_eq!(fp32(&rows).tokenizer_sha256, None);
    let (_, rows) = run(&file(false), "{examples: pairs.jsonl}", without_tokenizer());
    assert_ne!(answers(fp32(&rows)), Answers::Classes { of: 3, positive: 1, rows: expected }, "all of type 0");
}

/// A pair that is too long loses tokens of its longer text.
#[test]
fn a_long_pair_is_cut_as_longest_first_cuts_it() {
    use mixprec::input::{InputSource, InputStream};
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::bert().write(&folder.path().join("model"));
    let (first, second) = ("a film is", "the plot and the cast was good and fine");
    std::fs::write(folder.path().join("one.jsonl"), json!({"text": first, "text_pair": second}).to_string()).unwrap();
    let source = ModelSource::Checkpoint { path: "model".into(), sha256: None };
    let model = Model::open("m", &source, folder.path(), Head::Natural).unwrap();
    let examples = InputSource::Examples { path: "one.jsonl".into(), sha256: None, labels: BTreeMap::new() };
    let stream = InputStream::open(&examples, folder.path(), &model).unwrap();
    assert!(stream.has_token_types);
    let id = |word: &str| WORDS.iter().position(|known| *known == word).unwrap() as u32;
    let ids = |text: &str| text.split(' ').map(id).collect::<Vec<_>>();
    let row = |sequence| stream.batch(Shape { batch: 1, sequence }, 0).unwrap();
    let cut = |first: &str, second: &str| [&[CLS][..], &ids(first), &[SEP], &ids(second), &[SEP]].concat();
    assert_eq!(row(10).ids, cut("a film is", "the plot and the"));
    assert_eq!(row(8).ids, cut("a film", "the plot and"));
    assert_eq!(row(16).ids, [cut(first, second), vec![0]].concat());
    assert_eq!(row(10).token_types.unwrap(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    let error = stream.batch(Shape { batch: 1, sequence: 4 }, 0).unwrap_err().to_string();
    assert!(error.contains("a sequence of 4 has no room for 2 texts"), "{error}");
}

/// A BERT with another head, whose tensors have these names and shapes.
fn with_head(class: &str, tensors: &[(&str, Vec<usize>)]) -> Checkpoint {
    let mut checkpoint = checkpoint(3, json!({"architectures": [class]}));
    for name in ["classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"] {
        checkpoint.tensors.remove(name);
    }
    let drawn = checkpoint.tensors["bert.encoder.layer.1.intermediate.dense.weight"].1.clone();
    for (name, shape) in tensors {
        let count = shape.iter().product();
        let values = if name.ends_with("LayerNorm.weight") {
            vec![1.0; count]
        } else {
            drawn.iter().cycle().skip(name.len()).take(count).map(|x| 3.0 * x).collect()
        };
        checkpoint.tensors.insert((*name).to_owned(), (shape.clone(), values));
    }
    checkpoint
}

/// Runs one model of this head; its row under FP32 and float64 outputs of ids and types.
fn run_head(file: &str, checkpoint: &Checkpoint) -> (Experiment, ResultRow) {
    let sequence = format!("[{SEQUENCE}]");
    let experiment = Experiment::new(&Cells {
        models: "{m: {checkpoint: model}}",
        inputs: "{lines: {examples: lines.jsonl}}",
        batch_sizes: "[5]",
        sequence_lengths: &sequence,
        ..Cells::default()
    });
    std::fs::write(experiment.folder().join("lines.jsonl"), file).unwrap();
    checkpoint.write(&experiment.folder().join("model"));
    // `one` stands for a masked token.
    let mut config = tokenizer_config();
    config["mask_token"] = json!("one");
    std::fs::write(experiment.folder().join("model/tokenizer_config.json"), config.to_string()).unwrap();
    experiment.run(0);
    let row = fp32(&experiment.rows()).clone();
    (experiment, row)
}

fn exact(experiment: &Experiment, batch: &Batch) -> Vec<f64> {
    let source = ModelSource::Checkpoint { path: "model".into(), sha256: None };
    let model = Model::open("m", &source, &experiment.folder(), Head::Natural).unwrap();
    oracle_outputs(&model, batch, 1).unwrap()
}

#[test]
fn tokens_are_scored_by_the_class_of_each_word() {
    let names = ["entailment", "neutral", "contradiction"];
    let right = |row: usize, place: usize| -> Option<u32> { (place != 1).then_some(((row + place) % 3) as u32) };
    let line = |row: usize| {
        let ids = words(row, 0);
        let labels: Vec<Value> = (0..ids.len())
            .map(|place| right(row, place).map_or(Value::Null, |class| json!(names[class as usize])))
            .collect();
        format!("{}\n", json!({"text": spelled(&ids), "labels": labels}))
    };
    let file: String = (0..COUNT).map(line).collect();
    let tensors = [("classifier.weight", vec![3, HIDDEN]), ("classifier.bias", vec![3])];
    let (experiment, row) = run_head(&file, &with_head("BertForTokenClassification", &tensors));
    let expected: Vec<Vec<(Option<u32>, u32)>> = (0..COUNT)
        .map(|row| {
            let ids = words(row, 0);
            let logits = exact(&experiment, &Batch::single([&[CLS][..], &ids, &[SEP]].concat()));
            let answer = |place: usize| Some(argmax(&logits[3 * (place + 1)..][..3]));
            (0..ids.len()).filter_map(|place| Some((answer(place), right(row, place)?))).collect()
        })
        .collect();
    assert_eq!(answers(&row), Answers::TokenClasses(expected.clone()));
    let all = expected.concat();
    let correct = all.iter().filter(|(answer, right)| *answer == Some(*right)).count() as u64;
    assert_eq!((row.task_correct, row.task_total), (Some(correct), Some(all.len() as u64)));
    assert!(
        row.task_f1_macro.is_some() && row.task_accuracy_low < row.task_accuracy_high && row.task_predictions.is_none()
    );
    assert!(reported(&experiment, "scores-tokens.tex").contains("macro F1"));
}

#[test]
fn questions_are_scored_by_the_words_of_the_likeliest_span() {
    let answer = |row: usize| -> usize { row % words(row, 1).len() };
    let line = |row: usize| {
        let (first, second) = (spelled(&words(row, 0)), spelled(&words(row, 1)));
        let start = second.split(' ').take(answer(row)).map(|word| word.len() + 1).sum::<usize>();
        let end = start + second.split(' ').nth(answer(row)).unwrap().len();
        format!("{}\n", json!({"text": first, "text_pair": second, "spans": [[start, end]]}))
    };
    let file: String = (0..COUNT).map(line).collect();
    let tensors = [("qa_outputs.weight", vec![2, HIDDEN]), ("qa_outputs.bias", vec![2])];
    let (experiment, row) = run_head(&file, &with_head("BertForQuestionAnswering", &tensors));
    let is_article = |id: &&u32| ["a", "the"].contains(&WORDS[**id as usize]);
    let exact_matches = (0..COUNT).filter(|&row| {
        let (ids, types) = pair(row);
        let first = types.iter().position(|of| *of == 1).unwrap();
        let behind = ids.len() - 1;
        let logits = exact(&experiment, &Batch::single(ids.clone()).with_token_types(types));
        let spans = (first..behind).flat_map(|start| (start..behind).map(move |end| (start, end)));
        let sum = |&(start, end): &(usize, usize)| logits[2 * start] + logits[2 * end + 1];
        let (start, end) = spans.max_by(|a, b| sum(a).total_cmp(&sum(b))).unwrap();
        let found: Vec<&u32> = ids[start..=end].iter().filter(|id| !is_article(id)).collect();
        let right: Vec<&u32> = ids[first + answer(row)..][..1].iter().filter(|id| !is_article(id)).collect();
        found == right
    });
    let count = exact_matches.count();
    assert_eq!(row.task_exact_match, Some(count as f64 / COUNT as f64));
    assert!(row.task_span_f1 >= row.task_exact_match && row.task_predictions.is_none(), "{row:?}");
    assert!(reported(&experiment, "scores-spans.tex").contains("exact match"));
}

#[test]
fn masked_tokens_are_filled_in_from_what_stands_around_them() {
    let file: String = (0..COUNT).map(|row| format!("{}\n", json!({"text": spelled(&words(row, 1))}))).collect();
    let (width, all) = (HIDDEN, WORDS.len());
    let head = "cls.predictions.transform";
    let names =
        ["dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias"].map(|part| format!("{head}.{part}"));
    let shapes = [vec![width, width], vec![width], vec![width], vec![width]];
    let mut tensors: Vec<(&str, Vec<usize>)> = names.iter().map(String::as_str).zip(shapes).collect();
    tensors.push(("cls.predictions.bias", vec![all]));
    let (experiment, row) = run_head(&file, &with_head("BertForMaskedLM", &tensors));
    let Answers::Likelihoods { masked: true, rows } = answers(&row) else { panic!("{:?}", row.task_answers) };
    let mask = WORDS.iter().position(|word| *word == "one").unwrap() as u32;
    let mut sum = (0.0, 0);
    for (index, (nats, tokens)) in rows.iter().enumerate() {
        let ids = [&[CLS][..], &words(index, 1), &[SEP]].concat();
        assert_eq!(*tokens, 1, "15 % of up to five words, and at least one");
        // Whichever word was masked, its likelihood is that of float64.
        let candidates = (1..ids.len() - 1).map(|place| {
            let mut masked = ids.clone();
            masked[place] = mask;
            let logits = exact(&experiment, &Batch::single(masked));
            let row = &logits[place * all..][..all];
            row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[ids[place] as usize]
        });
        let nearest = candidates.map(|nll| (nll - nats.unwrap()).abs()).fold(f64::INFINITY, f64::min);
        assert!(nearest < 1e-4, "{index}: {nearest}");
        sum = (sum.0 + nats.unwrap(), sum.1 + tokens);
    }
    let perplexity = (sum.0 / sum.1 as f64).exp();
    assert!((row.pseudo_perplexity.unwrap() / perplexity - 1.0).abs() < 1e-9);
    assert_eq!((row.perplexity, row.nll_mean), (None, None), "no next-token likelihood");
    assert!(reported(&experiment, "scores-masked.tex").contains("pseudo{-}perplexity"));
}

#[test]
fn plan_names_the_first_bad_line_and_its_cure() {
    let refused = |file: &str, input: &str| {
        let inputs = format!("{{dev: {input}}}");
        let experiment =
            Experiment::new(&Cells { inputs: &inputs, models: "{m: {checkpoint: model}}", ..Cells::default() });
        std::fs::write(experiment.folder().join("dev.jsonl"), file).unwrap();
        expect(2, &["plan", text(&experiment.yaml())]).1
    };
    let examples = "{examples: dev.jsonl}";
    let good = "{\"text\": \"a film\", \"label\": 1}\n";
    for (line, said) in [
        (
            "{\"text\": \"a film\"}",
            "dev.jsonl:3: it has `text` and no label, line 1 has `text` and a number as `label`",
        ),
        ("{\"text\": \"a film\", \"label\": \"good\"}", "a name as `label`"),
        ("{\"ids\": [1], \"label\": 1}", "it has `ids`"),
        ("{\"text\": \"a film\", \"lable\": 1}", "dev.jsonl:3: `lable` is no key; keys are `text`"),
        ("a film\t1", "dev.jsonl:3: "),
    ] {
        assert_says(&refused(&format!("{good}\n{line}\n"), examples), &[said, "dev.jsonl:3: "]);
    }
    let span = "{\"text\": \"who\", \"text_pair\": \"he\", \"spans\": [[0, 3]]}";
    assert_says(&refused(span, examples), &["dev.jsonl:1: span [0, 3] ends behind the 2 characters"]);
    assert_says(&refused("", examples), &["dev.jsonl:1: the file holds no example"]);
    let pinned = format!("{{examples: dev.jsonl, sha256: \"{}\"}}", "0".repeat(64));
    assert_says(&refused(good, &pinned), &["dev.jsonl: sha256 is ", "the manifest pins 0000"]);
    assert_says(
        &refused("sentence\tlabel\nbad\n", "{sst2: dev.jsonl}"),
        &["dev.jsonl:2: expected `sentence<TAB>label`"],
    );
}

#[test]
fn what_does_not_fit_the_model_is_a_row_with_its_reason() {
    let lines = |right: Value| pairs(move |_| right.clone());
    let remark = |file: &str, keys: Value, outputs: usize| {
        let (_, rows) = run(file, "{examples: pairs.jsonl}", checkpoint(outputs, keys));
        fp32(&rows).numerics_remark.clone().unwrap_or_default()
    };
    let unknown = remark(&lines(json!({"label": "joy"})), json!({}), 3);
    assert!(unknown.contains("not scored: label `joy` of line 1 is no class of the head"), "{unknown}");
    let several = remark(&lines(json!({"labels": ["neutral"]})), json!({}), 3);
    assert!(several.contains("one class of the head is right, and the lines have `labels`"), "{several}");
    let spans = remark(&lines(json!({"spans": ["film"]})), json!({}), 3);
    assert!(spans.contains("the lines have `spans`"), "{spans}");
    let name = remark(&lines(json!({"label": "good"})), json!({"problem_type": "regression"}), 1);
    assert!(name.contains("the head's output is a number, and `label` is a name"), "{name}");
}
