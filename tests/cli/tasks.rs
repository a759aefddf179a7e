//! Tasks: labels by the names of a checkpoint's classes, heads whose outputs are no classes, heads that are not computed.
//! Expected values are computed from float64 outputs here.

use std::collections::BTreeMap;
use std::path::Path;

use mixprec::backend::reference::oracle_outputs;
use mixprec::engine::BackendKind;
use mixprec::graph::{OutputKind, Shape};
use mixprec::input::{Batch, InputSource, InputStream};
use mixprec::model::{Head, Model, ModelSource};
use mixprec::record::Status;
use mixprec::store::schema::ResultRow;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, HIDDEN, WORDS};
use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect};

/// Sentences of one to six words.
fn sentences() -> Vec<String> {
    let word = |index: usize| WORDS[4 + (index * index + 3 * index) % 20];
    (0..24).map(|row| (0..1 + row % 6).map(|place| word(7 * row + place)).collect::<Vec<_>>().join(" ")).collect()
}

/// A labelled file of these sentences.
fn file(label: impl Fn(usize) -> String) -> String {
    let lines = sentences().into_iter().enumerate().map(|(row, sentence)| format!("{sentence}\t{}\n", label(row)));
    format!("sentence\tlabel\n{}", lines.collect::<String>())
}

/// A classifier with so many classes of these names, whose rows are those of drawn weights from `first` on.
fn classifier(names: &[&str], rows: &[usize]) -> Checkpoint {
    let mut checkpoint = Checkpoint::bert();
    let (_, drawn) = checkpoint.tensors["bert.encoder.layer.0.intermediate.dense.weight"].clone();
    let row = |row: &usize| &drawn[row * HIDDEN..][..HIDDEN];
    let weight: Vec<f32> = rows.iter().flat_map(|of| row(of).iter().map(|x| 3.0 * x)).collect();
    let bias = rows.iter().map(|&row| 0.1 * row as f32).collect();
    checkpoint.tensors.insert("classifier.weight".to_owned(), (vec![rows.len(), HIDDEN], weight));
    checkpoint.tensors.insert("classifier.bias".to_owned(), (vec![rows.len()], bias));
    let names = names.iter().enumerate().map(|(class, name)| (class.to_string(), json!(name)));
    checkpoint.config["id2label"] = Value::Object(names.collect());
    checkpoint
}

/// Float64 logits of each sentence of `dev.tsv`.
fn logits(folder: &Path, name: &str) -> Vec<Vec<f64>> {
    let source = ModelSource::Checkpoint { path: name.into(), sha256: None };
    let model = Model::open(name, &source, folder, Head::Natural).unwrap();
    let source = InputSource::Sst2 { path: "dev.tsv".into(), sha256: None, labels: BTreeMap::new() };
    let input = InputStream::open(&source, folder, &model).unwrap();
    let batch = |row| input.batch(Shape { batch: 1, sequence: 16 }, row).unwrap();
    (0..sentences().len()).map(|row| oracle_outputs(&model, &batch(row), 1).unwrap()).collect()
}

/// The class of each sentence by float64.
fn predicted(experiment: &Experiment, name: &str) -> Vec<usize> {
    let argmax = |logits: Vec<f64>| (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    logits(&experiment.folder(), name).into_iter().map(argmax).collect()
}

/// Writes the checkpoint. Drawn weights prefer one class throughout; biases at the middle of each class's logits let each win
/// somewhere.
fn write_balanced(mut checkpoint: Checkpoint, folder: &Path, name: &str) {
    checkpoint.write(&folder.join(name));
    let found = logits(folder, name);
    let bias = &mut checkpoint.tensors.get_mut("classifier.bias").unwrap().1;
    for (class, bias) in bias.iter_mut().enumerate() {
        let mut of_class: Vec<f64> = found.iter().map(|logits| logits[class]).collect();
        of_class.sort_by(f64::total_cmp);
        *bias -= of_class[of_class.len() / 2] as f32;
    }
    checkpoint.write(&folder.join(name));
}

fn run(models: &str, input: &str, file: &str, count: usize, write: impl Fn(&Path)) -> Experiment {
    let inputs = format!("{{dev: {input}}}");
    let cells =
        Cells { models, inputs: &inputs, batch_sizes: "[4]", sequence_lengths: "[16]", count, ..Cells::default() };
    let experiment = Experiment::new(&cells);
    std::fs::write(experiment.folder().join("dev.tsv"), file).unwrap();
    write(&experiment.folder());
    experiment.run(0);
    experiment
}

fn row_of<'a>(rows: &'a [ResultRow], model: &str) -> &'a ResultRow {
    rows.iter().find(|row| row.model == model).unwrap()
}

/// A file of the report.
fn reported(experiment: &Experiment, name: &str) -> String {
    let dir = experiment.dir();
    expect(0, &["report", text(&dir)]);
    std::fs::read_to_string(dir.join("report").join(name)).unwrap()
}

/// The value of LaTeX without its line breaks and escapes.
fn plain(tex: &str) -> String {
    tex.replace(r"\_", "_").replace(r"\,", " ")
}

#[test]
fn answers_are_right_by_the_names_of_classes_in_either_order() {
    let models = "{plain: {checkpoint: plain}, turned: {checkpoint: turned}, unnamed: {checkpoint: unnamed}}";
    let positive = |row: usize| u8::from(row.is_multiple_of(3)).to_string();
    let experiment = run(models, "{sst2: dev.tsv}", &file(positive), 3, |folder| {
        write_balanced(classifier(&["negative", "positive"], &[0, 1]), folder, "plain");
        write_balanced(classifier(&["POSITIVE", "Neg"], &[1, 0]), folder, "turned");
        write_balanced(classifier(&["LABEL_0", "LABEL_1"], &[0, 1]), folder, "unnamed");
    });
    let classes = predicted(&experiment, "plain");
    let right =
        classes.iter().enumerate().filter(|(row, class)| (**class == 1) == row.is_multiple_of(3)).count() as u64;
    assert!((1..24).contains(&right) && classes.contains(&0) && classes.contains(&1), "{classes:?}");
    let (answered, found) = classes
        .iter()
        .enumerate()
        .filter(|(_, class)| **class == 1)
        .fold((0, 0), |(all, right), (row, _)| (all + 1, right + usize::from(row.is_multiple_of(3))));
    let f1 = 2.0 * found as f64 / (answered + 8) as f64;
    let rows = experiment.rows();
    let labels =
        [("plain", "0=negative;1=positive"), ("turned", "0=Neg;1=POSITIVE"), ("unnamed", "0=LABEL_0;1=LABEL_1")];
    for (model, labels) in labels {
        let row = row_of(&rows, model);
        assert_eq!((row.task_correct, row.task_total), (Some(right), Some(24)), "{model}");
        assert!(
            row.task_f1.is_some_and(|of_label_1| (of_label_1 - f1).abs() < 1e-12),
            "{model}: {:?}, not {f1}",
            row.task_f1
        );
        assert_eq!((row.labels.as_deref(), row.output), (Some(labels), Some(OutputKind::ClassLogits)));
    }
    let html = reported(&experiment, "report.html");
    let tex = reported(&experiment, "quality.tex");
    for page in [html.clone(), tex] {
        assert!(page.contains("Classes of turned by label of dev: 0 = Neg, 1 = POSITIVE."), "{page}");
    }
    assert!(html.contains("Labelled sentences: dev"), "the file is not SST-2's");
}

#[test]
fn labels_may_be_names_and_the_manifest_may_name_the_class_of_a_label() {
    let names = ["positive", "negative", "neutral"];
    let label = |row: usize| names[row % 3].to_uppercase();
    let experiment = run("{three: {checkpoint: three}}", "{sst2: dev.tsv}", &file(label), 1, |folder| {
        write_balanced(classifier(&names, &[0, 1, 2]), folder, "three");
    });
    let classes = predicted(&experiment, "three");
    let right = classes.iter().enumerate().filter(|(row, class)| **class == row % 3).count() as u64;
    let rows = experiment.rows();
    assert_eq!((rows[0].task_correct, rows[0].task_total), (Some(right), Some(24)));

    let input = "{sst2: dev.tsv, labels: {0: unacceptable, 1: 0}}";
    let binary = file(|row| (row % 2).to_string());
    let experiment = run("{cola: {checkpoint: cola}}", input, &binary, 1, |folder| {
        write_balanced(classifier(&["acceptable", "unacceptable"], &[0, 1]), folder, "cola");
    });
    let classes = predicted(&experiment, "cola");
    let right = classes.iter().enumerate().filter(|(row, class)| **class == 1 - row % 2).count() as u64;
    let rows = experiment.rows();
    assert_eq!(rows[0].task_correct, Some(right));
    assert_eq!(rows[0].labels.as_deref(), Some("0=unacceptable;1=acceptable"));
}

#[test]
fn classes_that_no_label_is_are_named_and_answers_of_them_are_wrong() {
    let input = "{sst2: dev.tsv, labels: {0: negative, 1: positive}}";
    let binary = file(|row| (row % 2).to_string());
    let experiment = run("{three: {checkpoint: three}}", input, &binary, 1, |folder| {
        write_balanced(classifier(&["positive", "so; so", "negative"], &[0, 1, 2]), folder, "three");
    });
    let classes = predicted(&experiment, "three");
    let right = classes.iter().enumerate().filter(|(row, class)| **class == [2, 0][row % 2]).count() as u64;
    assert!(classes.contains(&1), "the class that is left out is an answer: {classes:?}");
    let rows = experiment.rows();
    assert_eq!((rows[0].task_correct, rows[0].task_total), (Some(right), Some(24)));
    assert_eq!(rows[0].labels.as_deref(), Some(r"0=negative;1=positive;=so\; so"));
    let said = "no label is `so; so`, a class of the head: an answer of it counts as wrong";
    let (_, plan) = expect(0, &["plan", text(&experiment.yaml())]);
    assert!(plan.contains(&format!("note: three: dev: {said}")), "{plan}");
    let html = reported(&experiment, "report.html");
    let sentence = format!("Classes of three by label of dev: 0 = negative, 1 = positive; {said}.");
    assert!(html.contains(&sentence), "{html}");
    std::fs::remove_file(experiment.folder().join("dev.tsv")).unwrap();
    let (_, plan) = expect(0, &["plan", text(&experiment.yaml())]);
    assert!(plan.contains(said), "by the manifest alone: {plan}");
}

#[test]
fn a_head_of_more_classes_than_a_byte_counts_is_scored() {
    let names: Vec<String> = (0..300).map(|class| format!("LABEL_{class}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let labels = |row: usize| if row == 0 { 299 } else { 250 + row };
    let experiment =
        run("{many: {checkpoint: many}}", "{sst2: dev.tsv}", &file(|row| labels(row).to_string()), 1, |folder| {
            let rows: Vec<usize> = (0..300).map(|class| class % 20).collect();
            let mut many = classifier(&names, &rows);
            many.tensors.get_mut("classifier.bias").unwrap().1[255] += 1000.0;
            many.write(&folder.join("many"));
        });
    assert_eq!(predicted(&experiment, "many"), [255; 24]);
    let row = &experiment.rows()[0];
    assert_eq!((row.task_correct, row.task_total), (Some(1), Some(24)), "row 5 is of class 255");
    assert_eq!(row.task_predictions.as_deref(), Some("255 ".repeat(24).as_str()));
}

#[test]
fn a_head_that_config_json_does_not_name_is_named_by_its_tensors() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::bert();
    checkpoint.config["architectures"] = json!(["BertModel"]);
    checkpoint.write(scratch.path());
    let (_, refusal) = expect(2, &["infer", "--model", text(scratch.path()), "--text", "film"]);
    assert_says(
        &refusal,
        &["has no head, only hidden states", "`classifier.bias`, `classifier.weight`", "architectures"],
    );
}

#[test]
fn classes_that_are_not_those_of_the_file_are_measured_and_not_scored() {
    let models = "{three: {checkpoint: three}, one: {checkpoint: one}, cola: {checkpoint: cola}, several: {checkpoint: \
                  several}, gpt: {checkpoint: gpt}}";
    let binary = file(|row| (row % 2).to_string());
    let experiment = run(models, "{sst2: dev.tsv}", &binary, 5, |folder| {
        classifier(&["positive", "negative", "neutral"], &[0, 1, 2]).write(&folder.join("three"));
        classifier(&["LABEL_0"], &[0]).write(&folder.join("one"));
        classifier(&["unacceptable", "acceptable"], &[0, 1]).write(&folder.join("cola"));
        let mut several = classifier(&["negative", "positive"], &[0, 1]);
        several.config["problem_type"] = json!("multi_label_classification");
        several.write(&folder.join("several"));
        Checkpoint::gpt2().write(&folder.join("gpt"));
    });
    let reasons = [
        ("three", "not scored: the head has 3 classes (`positive`, `negative`, `neutral`)"),
        ("one", "not scored: the head has one output, which is no class"),
        ("cola", "not scored: the classes of the head are `unacceptable`, `acceptable`: which of them"),
        ("several", "not scored: several labels of the head may hold at once"),
        ("gpt", "not scored: the model's output has no classes"),
    ];
    let rows = experiment.rows();
    let caveats = plain(&reported(&experiment, "caveats.tex"));
    let html = reported(&experiment, "report.html");
    for (model, reason) in reasons {
        let row = row_of(&rows, model);
        assert_eq!((row.status, row.task_total, row.task_accuracy), (Status::Ok, None, None), "{model}");
        assert_eq!((row.labels.as_deref(), row.task_predictions.as_deref()), (None, None));
        let remark = row.numerics_remark.as_deref().unwrap();
        assert!(remark.contains(reason), "{remark}");
        assert!(caveats.contains(&format!("{model} was not scored on dev: ")), "{caveats}");
        assert!(!html.contains("accuracy needs a labelled input"), "it has one");
    }
}

#[test]
fn a_head_with_one_output_is_a_probability_or_a_number_and_has_no_cosine() {
    let manifest = |relative| {
        let tolerances =
            format!("tolerances: {{fp32: {{cosine_min: 0.99{relative}}}}}\nnumerics: {{compare_sequences: 4}}");
        let experiment = Experiment::new(&Cells {
            models: "{one: {checkpoint: one}}",
            precisions: "[fp32, fp16]",
            batch_sizes: "[4]",
            more: &tolerances,
            count: 2,
            ..Cells::default()
        });
        classifier(&["LABEL_0"], &[0]).write(&experiment.folder().join("one"));
        experiment.run(0);
        experiment
    };
    let experiment = manifest("");
    let rows = experiment.rows();
    for row in &rows {
        assert_eq!((row.cosine_min, row.cosine_mean, row.argmax_agreement), (None, None, None), "{row:?}");
        assert!(row.relative_l2_error.is_some() && row.rank_correlation.is_some_and(|rank| rank > 0.99), "{row:?}");
        assert_eq!((row.compared_rows, row.broken_rows), (Some(4), Some(0)));
    }
    assert_eq!(rows[0].within_tolerance, None, "its only limit is on a cosine");
    assert!(rows[0].numerics_remark.as_deref().unwrap().contains("the limit on minimum cosine"), "{rows:?}");
    assert_eq!(manifest(", relative_l2: 0.01").rows()[0].within_tolerance, Some(true), "this one is checked");
    let html = reported(&experiment, "report.html");
    assert!(html.contains("one number per sequence, which has no cosine and no argmax"), "{html}");
    assert!(html.contains("not checked") && !html.contains(">kept<"), "{html}");
    let (verdicts, _) = expect(0, &["verify", text(&experiment.dir())]);
    assert!(!verdicts.contains("C4  PASS") && !verdicts.contains("C4 PASS"), "{verdicts}");

    let folder = experiment.folder().join("one");
    let infer = |arguments: &[&str]| {
        let (stdout, _) =
            expect(0, &[&["infer", "--model", text(&folder), "--text", "the good film"], arguments].concat());
        stdout
    };
    let answer: Value = serde_json::from_str(&infer(&["--json"])).unwrap();
    let model = experiment.model("one", Head::Natural);
    let logit = oracle_outputs(&model, &Batch::single(vec![2, 5, 8, 6, 3]), 1).unwrap()[0];
    let probability = answer["likeliest"][0]["probability"].as_f64().unwrap();
    assert!((probability - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-5, "{answer}");
    assert_eq!(answer["score_function"], "sigmoid");
    let mut regression = classifier(&["score"], &[0]);
    regression.config["problem_type"] = json!("regression");
    regression.write(&folder);
    let stdout = infer(&[]);
    let line = stdout.lines().nth(1).unwrap();
    assert!(line.ends_with("  score") && !line.contains('%'), "{stdout}");
    assert!((line.split_whitespace().next().unwrap().parse::<f64>().unwrap() - logit).abs() < 1e-3, "{stdout} {logit}");
}

#[test]
fn labels_that_hold_together_have_a_sigmoid_each() {
    let experiment = Experiment::new(&Cells::default());
    let folder = experiment.folder().join("several");
    let mut several = classifier(&["dull", "fine", "great"], &[0, 1, 2]);
    several.config["problem_type"] = json!("multi_label_classification");
    several.write(&folder);
    let (stdout, _) = expect(0, &["infer", "--model", text(&folder), "--text", "the good film", "--json"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let model = experiment.model("several", Head::Natural);
    let logits = oracle_outputs(&model, &Batch::single(vec![2, 5, 8, 6, 3]), 1).unwrap();
    for one in answer["likeliest"].as_array().unwrap() {
        let class = ["dull", "fine", "great"].iter().position(|name| *name == one["label"]).unwrap();
        let expected = 1.0 / (1.0 + (-logits[class]).exp());
        assert!((one["probability"].as_f64().unwrap() - expected).abs() < 1e-5, "{answer}");
    }
    assert_eq!(answer["likeliest"].as_array().unwrap().len(), 3);
}

/// A folder's code may be named after a class of transformers, whose head is then computed in its place.
#[test]
fn code_of_a_folder_that_is_not_run_is_said_with_the_head_that_is_computed() {
    let cells = Cells { models: "{coded: {checkpoint: coded}}", ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let mut checkpoint = Checkpoint::bert();
    let class = "own.BertForSequenceClassification";
    checkpoint.config["auto_map"] = json!({"AutoModelForSequenceClassification": class});
    checkpoint.write(&experiment.folder().join("coded"));
    let said = format!("coded: {class}: its own code is not run; the output is class logits");
    for notices in [expect(0, &["plan", text(&experiment.yaml())]).1, experiment.run(0)] {
        assert!(notices.contains(&said) && !notices.contains("its head is not computed"), "{notices}");
    }
    let row = experiment.rows().remove(0);
    assert_eq!((row.output, row.dropped_head.as_deref()), (Some(OutputKind::ClassLogits), Some(class)));
    assert!(plain(&reported(&experiment, "caveats.tex")).contains(&said));
}

/// NaN outputs answer nothing: the run, the row and the table say so in place of a score. Half of a file that is answered counts.
#[test]
fn outputs_that_are_no_numbers_are_not_scored() {
    let models = "{whole: {checkpoint: whole}, nan: {checkpoint: nan}, half: {checkpoint: half}}";
    let experiment = run(models, "{sst2: dev.tsv}", &file(|row| (row % 2).to_string()), 3, |folder| {
        Checkpoint::bert().write(&folder.join("whole"));
        Checkpoint::bert().with_value("classifier.bias", 0, f32::NAN).write(&folder.join("nan"));
        let word = WORDS.iter().position(|word| *word == "cast").unwrap();
        let half = Checkpoint::bert().with_value("bert.embeddings.word_embeddings.weight", word * HIDDEN, f32::NAN);
        half.write(&folder.join("half"));
    });
    let rows = experiment.rows();
    let [whole, nan, half] = ["whole", "nan", "half"].map(|model| row_of(&rows, model));
    assert!(whole.numerics_remark.is_none() && whole.task_total == Some(24));
    assert_eq!((nan.status, nan.task_correct, nan.task_total), (Status::Ok, None, None));
    assert_eq!((nan.task_accuracy, nan.task_f1, &nan.task_answers, &nan.task_predictions), (None, None, &None, &None));
    let reason = "not scored: the outputs for 24 of 24 examples are not finite";
    assert!(nan.numerics_remark.as_ref().unwrap().contains(reason), "{nan:?}");
    let with_cast = sentences().iter().filter(|sentence| sentence.split(' ').any(|word| word == "cast")).count();
    assert!((1..24).contains(&with_cast));
    let remark = format!("the outputs for {with_cast} of 24 examples are not finite, so they count as wrong");
    assert!(half.numerics_remark.as_ref().unwrap().contains(&remark) && half.task_total == Some(24), "{half:?}");
    let table = plain(&reported(&experiment, "quality.tex"));
    assert!(table.contains("Not scored: the outputs for 24 of 24 examples are not finite."), "{table}");
    let again = experiment.dir().with_file_name("again");
    let (_, stderr) = expect(0, &["run", text(&experiment.yaml()), "--out", text(&again)]);
    assert!(stderr.contains(reason) && stderr.contains(&remark), "{stderr}");
}

#[test]
fn a_head_that_is_not_computed_is_said_everywhere_until_hidden_states_are_asked_for() {
    let models = "{masked: {checkpoint: masked}, silent: {checkpoint: masked, head: hidden}, own: {checkpoint: own}}";
    let cells = Cells { models, count: 3, ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let mut checkpoint = Checkpoint::bert();
    checkpoint.config["architectures"] = json!(["BertForPreTraining"]);
    let masked = experiment.folder().join("masked");
    checkpoint.write(&masked);
    checkpoint.config["architectures"] = json!(["OwnModel"]);
    checkpoint.config["auto_map"] = json!({"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"});
    checkpoint.write(&experiment.folder().join("own"));

    let said = "masked: BertForPreTraining: its head is not computed; the output is hidden states";
    let (_, plan) = expect(0, &["plan", text(&experiment.yaml())]);
    let run = experiment.run(0);
    for notices in [&plan, &run] {
        assert!(notices.contains(said) && notices.contains("own: own.OwnModel: its head"), "{notices}");
        assert!(!notices.contains("silent: BertForPreTraining"), "{notices}");
    }
    let rows = experiment.rows();
    let of = |model| row_of(&rows, model);
    assert_eq!(of("masked").dropped_head.as_deref(), Some("BertForPreTraining"));
    assert_eq!(of("own").dropped_head.as_deref(), Some("own.OwnModel"));
    assert_eq!(of("silent").dropped_head, None);
    assert!(rows.iter().all(|row| row.output == Some(OutputKind::Hidden)));
    for name in ["caveats.tex", "numerics.tex", "latency-1-masked-random-reference.tex"] {
        assert!(plain(&reported(&experiment, name)).contains(said), "{name}");
    }

    let (_, refusal) = expect(2, &["infer", "--model", text(&masked), "--text", "film"]);
    assert_says(&refusal, &["is a BertForPreTraining, whose head is not computed", "--output hidden"]);
    let out = experiment.folder().join("masked.onnx");
    let export = |head: &[&str]| {
        let arguments = ["export", "--model", text(&masked), "--batch", "1", "--seq", "8", "--out", text(&out)];
        expect(0, &[&arguments, head].concat()).0
    };
    assert!(export(&[]).contains("BertForPreTraining: its head is not computed"));
    assert!(!export(&["--head", "hidden"]).contains("BertForPreTraining"));
    assert_eq!(rows[0].backend, BackendKind::Reference);
}
