//! One text through one engine: every output and preset against float64, and every reason for no answer.

use std::path::{Path, PathBuf};

use mixprec::backend::reference::oracle_outputs;
use mixprec::engine::BackendKind;
use mixprec::input::Batch;
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use serde_json::Value;
use tempfile::TempDir;

use crate::checkpoint::{Checkpoint, HIDDEN, POSITIONS, WORDS};
use crate::experiment::text;
use crate::{assert_says, expect};

const TEXT: &str = "The film is not good but the cast was fine";
/// [CLS] the film is not good but the cast was fine [SEP]
const BERT_IDS: [u32; 12] = [2, 5, 6, 7, 12, 8, 15, 5, 18, 22, 19, 3];
/// Largest relative L2 error against float64, and the smallest that shows that rounding takes place.
const PRESETS: [(&str, f64, f64); 5] =
    [("fp32", 0.0, 1e-5), ("tf32", 1e-6, 1e-2), ("fp16", 1e-5, 3e-2), ("bf16", 1e-4, 1e-1), ("hybrid", 1e-6, 1e-2)];

struct Models {
    root: TempDir,
}

impl Models {
    fn new() -> Self {
        let models = Models { root: tempfile::tempdir().unwrap() };
        Checkpoint::bert().write(&models.folder("bert"));
        Checkpoint::gpt2().write(&models.folder("gpt2"));
        models
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs `infer` and reads its JSON.
    fn json(&self, name: &str, arguments: &[&str]) -> Value {
        let folder = self.folder(name);
        let (stdout, stderr) = expect(0, &[&["infer", "--json", "--model", text(&folder)], arguments].concat());
        assert_eq!(stderr, "");
        serde_json::from_str(&stdout).unwrap()
    }

    /// Runs `infer`, expects bad input and returns the message.
    fn refusal(&self, name: &str, arguments: &[&str]) -> String {
        expect(2, &[&["infer", "--model", text(&self.folder(name))], arguments].concat()).1
    }
}

/// Float64 outputs.
fn exact(folder: &Path, head: Head, ids: &[u32]) -> Vec<f64> {
    let source = ModelSource::Checkpoint { path: folder.to_owned(), sha256: None };
    let model = Model::open("exact", &source, Path::new("."), head).unwrap();
    oracle_outputs(&model, &Batch::single(ids.to_vec()), 1).unwrap()
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// The first number of a line for people.
fn first_number(line: &str) -> f64 {
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

fn relative_error(ours: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(ours.len(), exact.len());
    let error: f64 = ours.iter().zip(exact).map(|(a, b)| (a - b) * (a - b)).sum();
    (error / exact.iter().map(|x| x * x).sum::<f64>()).sqrt()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x.exp() / total).collect()
}

#[test]
fn logits_of_a_classifier_match_float64_in_every_preset() {
    let models = Models::new();
    let exact = exact(&models.folder("bert"), Head::Natural, &BERT_IDS);
    for (preset, least, most) in PRESETS {
        let answer = models.json("bert", &["--text", TEXT, "--precision", preset]);
        assert_eq!((&answer["wanted"], &answer["precision"]), (&"logits".into(), &preset.into()));
        assert_eq!(answer["ids"], serde_json::json!(BERT_IDS));
        assert_eq!((&answer["tokens"][0], &answer["tokens"][2]), (&"[CLS]".into(), &"film".into()));
        assert_eq!((&answer["width"], &answer["nonfinite"]), (&2.into(), &0.into()));
        assert_eq!(answer["engine"]["emulated"], preset != "fp32");
        let error = relative_error(&numbers(&answer["values"]), &exact);
        assert!((least..most).contains(&error), "{preset}: {error:e}");
    }
}

#[test]
fn classes_are_named_and_ranked() {
    let models = Models::new();
    let probabilities = softmax(&exact(&models.folder("bert"), Head::Natural, &BERT_IDS));
    let answer = models.json("bert", &["--text", TEXT]);
    let names = ["negative", "positive"];
    let best = usize::from(probabilities[1] > probabilities[0]);
    let likeliest = answer["likeliest"].as_array().unwrap();
    assert_eq!((likeliest.len(), &likeliest[0]["label"]), (2, &names[best].into()));
    assert!((likeliest[0]["probability"].as_f64().unwrap() - probabilities[best]).abs() < 1e-5);
    let folder = models.folder("bert");
    let (stdout, _) = expect(0, &["infer", "--model", text(&folder), "--text", TEXT, "--precision", "hybrid"]);
    assert!(stdout.starts_with("12 tokens, hybrid on reference ") && stdout.contains(", emulated\n"), "{stdout}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[1].ends_with(&format!(" %  {}", names[best])) && lines[2].ends_with(names[1 - best]), "{stdout}");
    assert!((first_number(lines[1]) - 100.0 * probabilities[best]).abs() < 0.5, "{stdout}");
}

#[test]
fn likelihoods_of_a_language_model_match_float64_in_every_preset() {
    let models = Models::new();
    let ids = &BERT_IDS[1..11];
    let logits = exact(&models.folder("gpt2"), Head::Natural, ids);
    let rows = logits.chunks(WORDS.len()).zip(&ids[1..]);
    let exact: Vec<f64> = rows.map(|(row, &next)| -softmax(row)[next as usize].ln()).collect();
    assert_eq!(exact.len(), 9);
    for (preset, _, most) in PRESETS {
        let answer = models.json("gpt2", &["--text", TEXT, "--output", "nll", "--precision", preset]);
        assert_eq!(answer["ids"], serde_json::json!(ids));
        let values = numbers(&answer["values"]);
        let error = relative_error(&values, &exact);
        assert!(error < most, "{preset}: {error:e}");
        let mean = answer["nll_mean"].as_f64().unwrap();
        assert!((mean - values.iter().sum::<f64>() / 9.0).abs() < 1e-6, "{mean}");
    }
    let folder = models.folder("gpt2");
    let (stdout, _) = expect(0, &["infer", "--model", text(&folder), "--text", TEXT, "--output", "nll"]);
    let mean = exact.iter().sum::<f64>() / 9.0;
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[1].ends_with("  film") && lines[10].contains(" nats per token, perplexity "), "{stdout}");
    assert!((first_number(lines[1]) - exact[0]).abs() < 1e-3, "{stdout}");
    assert!((first_number(lines[10]) - mean).abs() < 1e-3, "{stdout}");
    // The logits of the last token rank the words that may follow.
    let answer = models.json("gpt2", &["--text", TEXT]);
    let last = softmax(&logits[9 * WORDS.len()..]);
    let best = (0..WORDS.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
    assert_eq!((&answer["likeliest"][0]["label"], &answer["width"]), (&WORDS[best].into(), &WORDS.len().into()));
}

#[test]
fn hidden_states_of_both_families_match_float64_in_every_preset() {
    let models = Models::new();
    let file = models.folder("text.txt");
    std::fs::write(&file, TEXT).unwrap();
    for (name, ids) in [("bert", &BERT_IDS[..]), ("gpt2", &BERT_IDS[1..11])] {
        let exact = exact(&models.folder(name), Head::Hidden, ids);
        for (preset, least, most) in PRESETS {
            let answer = models.json(name, &["--file", text(&file), "--output", "hidden", "--precision", preset]);
            let error = relative_error(&numbers(&answer["values"]), &exact);
            assert!((least..most).contains(&error), "{name} {preset}: {error:e}");
            assert_eq!(answer["width"], HIDDEN);
        }
        let folder = models.folder(name);
        let arguments = ["infer", "--model", text(&folder), "--file", text(&file), "--output", "hidden"];
        let (stdout, _) = expect(0, &arguments);
        let norm = exact[..HIDDEN].iter().map(|x| x * x).sum::<f64>().sqrt();
        assert_eq!(stdout.lines().count(), 1 + ids.len());
        assert!((first_number(stdout.lines().nth(1).unwrap()) - norm).abs() < 1e-3, "{norm}: {stdout}");
    }
}

#[test]
fn an_overflow_is_said_and_is_null_in_json() {
    let models = Models::new();
    // Two layers add 40000 each to the residual stream, which FP16 cannot hold.
    let (first, second) = ("h.0.mlp.c_proj.bias", "h.1.mlp.c_proj.bias");
    Checkpoint::gpt2().with_value(first, 3, 4e4).with_value(second, 3, 4e4).write(&models.folder("gpt2"));
    let answer = models.json("gpt2", &["--text", TEXT, "--output", "nll", "--precision", "fp16"]);
    assert_eq!((&answer["nonfinite"], &answer["nll_mean"]), (&9.into(), &Value::Null));
    assert!(answer["values"].as_array().unwrap().iter().all(Value::is_null));
    let folder = models.folder("gpt2");
    let (stdout, _) = expect(0, &["infer", "--model", text(&folder), "--text", TEXT, "--precision", "fp16"]);
    assert!(stdout.contains("240 of 240 output values are NaN or infinite"), "{stdout}");
    let answer = models.json("gpt2", &["--text", TEXT, "--output", "nll", "--precision", "hybrid"]);
    assert_eq!(answer["nonfinite"], 0);
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_refused_in_one_line() {
    let models = Models::new();
    let refusal = |name: &str| models.refusal(name, &["--text", TEXT]);
    assert_says(&refusal("nowhere"), &["error: ", "nowhere: there is no such folder"]);
    let bert = models.folder("bert");
    std::fs::rename(bert.join("model.safetensors"), bert.join("pytorch_model.bin")).unwrap();
    assert_says(&refusal("bert"), &["bert/pytorch_model.bin: pickle", "runs code", "weights_only=True"]);
    std::fs::remove_file(bert.join("pytorch_model.bin")).unwrap();
    assert_says(&refusal("bert"), &["bert/model.safetensors"]);

    let mut other = Checkpoint::gpt2();
    other.tokenizer = None;
    other.write(&models.folder("mute"));
    assert_says(&refusal("mute"), &["mute/tokenizer.json", "does not exist"]);
    other.tensors.remove("h.1.ln_2.weight");
    other.write(&models.folder("mute"));
    assert_says(&refusal("mute"), &["`h.1.ln_2.weight` is missing"]);
    other.config["model_type"] = "llama".into();
    other.write(&models.folder("mute"));
    assert_says(&refusal("mute"), &["mute/config.json", "`llama` is not supported"]);
}

#[test]
fn an_output_the_model_does_not_have_is_refused() {
    let models = Models::new();
    assert_says(&models.refusal("bert", &["--text", TEXT, "--output", "nll"]), &["bert is not a language model"]);
    let mut headless = Checkpoint::bert();
    headless.config["architectures"] = serde_json::json!(["BertModel"]);
    headless.tensors.retain(|name, _| !name.starts_with("classifier"));
    headless.write(&models.folder("bert"));
    assert_says(&models.refusal("bert", &["--text", TEXT]), &["has no head", "--output hidden"]);
    assert_eq!(models.json("bert", &["--text", TEXT, "--output", "hidden"])["width"], HIDDEN);
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    let models = Models::new();
    let long = "film ".repeat(POSITIONS + 1);
    assert_says(&models.refusal("gpt2", &["--text", &long]), &["33 tokens", "at most 32", "shorter"]);
    assert_says(&models.refusal("bert", &["--text", &long]), &["35 tokens", "at most 32"]);
    for empty in ["", " \n"] {
        assert_says(&models.refusal("gpt2", &["--text", empty]), &["the text is empty", "--text"]);
        assert_says(&models.refusal("bert", &["--text", empty]), &["the text is empty"]);
    }
    assert_says(&models.refusal("gpt2", &["--text", "film", "--output", "nll"]), &["1 tokens", "at least 2"]);
    assert_says(&models.refusal("gpt2", &["--file", "nowhere.txt"]), &["--file nowhere.txt"]);
    let binary = models.folder("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    assert_says(&models.refusal("gpt2", &["--file", text(&binary)]), &["binary", "UTF-8"]);
}

#[test]
fn unknown_names_are_refused_with_those_that_exist() {
    let models = Models::new();
    let stderr = models.refusal("gpt2", &["--text", TEXT, "--backend", "abacus"]);
    assert!(stderr.contains("'abacus'") && stderr.contains("reference, onnxruntime, cuda, tensorrt"), "{stderr}");
    let stderr = models.refusal("gpt2", &["--text", TEXT, "--precision", "fp8"]);
    assert!(stderr.contains("'fp8'") && stderr.contains("fp32, tf32, fp16, bf16, hybrid"), "{stderr}");
    let stderr = models.refusal("gpt2", &["--text", TEXT, "--output", "labels"]);
    assert!(stderr.contains("logits, nll, hidden"), "{stderr}");
    assert!(models.refusal("gpt2", &[]).contains("--text"));
    assert!(models.refusal("gpt2", &["--text", "a", "--file", "b"]).contains("cannot be used with"));
}

#[test]
fn a_backend_that_is_not_available_says_why() {
    let models = Models::new();
    for kind in [BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt] {
        let available = mixprec::backend::backend(kind).and_then(|backend| backend.availability());
        let Err(reason) = available else { continue };
        let stderr = models.refusal("gpt2", &["--text", TEXT, "--backend", kind.name()]);
        assert_says(&stderr, &["error: ", &reason.to_string()]);
    }
}

#[test]
fn a_pair_is_embedded_with_its_types_and_ids_are_taken_as_they_are() {
    let models = Models::new();
    let folder = models.folder("bert");
    // Types that hardly differ would hide a mistake.
    let mut bert = Checkpoint::bert();
    bert.tensors.get_mut("bert.embeddings.token_type_embeddings.weight").unwrap().1.iter_mut().for_each(|x| *x *= 10.0);
    bert.write(&folder);
    // [CLS] the film is good [SEP] the cast was fine [SEP]
    let ids = [2, 5, 6, 7, 8, 3, 5, 18, 22, 19, 3];
    let types = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
    let source = ModelSource::Checkpoint { path: folder.clone(), sha256: None };
    let model = Model::open("exact", &source, Path::new("."), Head::Natural).unwrap();
    let batch = Batch::single(ids.to_vec());
    let of_types_0 = oracle_outputs(&model, &batch, 1).unwrap();
    let typed = oracle_outputs(&model, &batch.with_token_types(types.to_vec()), 1).unwrap();
    let pair = models.json("bert", &["--text", "The film is good", "--text-pair", "the cast was fine"]);
    assert_eq!((&pair["ids"], &pair["token_types"]), (&serde_json::json!(ids), &serde_json::json!(types)));
    assert!(relative_error(&numbers(&pair["values"]), &typed) < 1e-5);
    let list = ids.map(|id| id.to_string()).join(",");
    let plain = models.json("bert", &["--ids", &list]);
    assert_eq!(
        (&plain["ids"], &plain["token_types"], &plain["tokens"][2]),
        (&serde_json::json!(ids), &Value::Null, &"film".into())
    );
    assert!(relative_error(&numbers(&plain["values"]), &of_types_0) < 1e-5);
    assert!(relative_error(&of_types_0, &typed) > 1e-2);
    let two = models.json("gpt2", &["--text", "the film", "--text-pair", "was fine"]);
    assert_eq!((&two["ids"], &two["token_types"]), (&serde_json::json!([5, 6, 22, 19]), &Value::Null));
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    let mute = models.json("bert", &["--ids", "2,5,3"]);
    assert_eq!(mute["tokens"], serde_json::json!(["<2>", "<5>", "<3>"]), "ids need no tokenizer");
}

#[test]
fn pairs_and_ids_that_cannot_be_run_are_refused() {
    let models = Models::new();
    assert_says(
        &models.refusal("bert", &["--text", "a film", "--text-pair", " "]),
        &["the text is empty", "--text-pair"],
    );
    assert_says(&models.refusal("bert", &["--ids", "2,99,3"]), &["token id 99 is outside the vocabulary of 24"]);
    let clash = models.refusal("bert", &["--ids", "2,3", "--text", "a film"]);
    assert!(clash.contains("--ids") && clash.contains("cannot be used with"), "{clash}");
    let word = models.refusal("bert", &["--ids", "2,x"]);
    assert!(word.contains("--ids") && word.contains('x'), "{word}");
}
