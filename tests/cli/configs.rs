//! config.json as transformers reads it: against the record that tests/golden/configs.py made with it, and a model whose keys are
//! left out against the same model written out.

use std::path::Path;

use mixprec::graph::{Activation, Gelu};
use mixprec::model::{Family, ModelConfig, ScoreScale, SharedLayers, TaskHead};
use serde_json::{Map, Value, json};

use crate::checkpoint::Checkpoint;
use crate::experiment::{Cells, Experiment, text};
use crate::fixtures::python;
use crate::{assert_says, expect};

const RECORD: &str = include_str!("../golden/configs.json");

fn read(folder: &Path, keys: &Map<String, Value>) -> ModelConfig {
    let path = folder.join("config.json");
    std::fs::write(&path, serde_json::to_string(keys).unwrap()).unwrap();
    ModelConfig::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// A name as it is printed.
fn plain(name: &Value) -> String {
    name.as_str().map_or_else(|| name.to_string(), str::to_owned)
}

#[test]
fn every_recorded_variant_is_read_as_transformers_reads_it() {
    let record: Value = serde_json::from_str(RECORD).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let cases = record["cases"].as_array().unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let mut keys = record["whole"][case["family"].as_str().unwrap()].as_object().unwrap().clone();
        case["remove"].as_array().unwrap().iter().for_each(|key| drop(keys.remove(key.as_str().unwrap())));
        keys.extend(case["set"].as_object().unwrap().clone());
        let (ours, theirs) = (read(scratch.path(), &keys), &case["read"]);
        let sizes = ours.dimensions;
        let SharedLayers { groups, layers_of_group } = ours.shared_layers;
        // RoBERTa's table has rows that belong to no position, OPT's has them beyond the number in the file.
        let unplaced = if ours.family == Family::Roberta { ours.first_position } else { 0 };
        let found = json!({
            "layers": sizes.layers / layers_of_group, "hidden": sizes.hidden, "heads": sizes.heads, "inner": sizes.inner,
            "vocabulary": sizes.vocabulary, "positions": sizes.positions + unplaced, "token_types": ours.token_types,
            "tied": ours.tied_head, "epsilon": ours.epsilon,
        });
        for (key, value) in found.as_object().unwrap() {
            assert_eq!(value, &theirs[key], "{key} of {case}");
        }
        let some =
            |value: usize, key: &str| assert_eq!(value, theirs[key].as_u64().unwrap() as usize, "{key} of {case}");
        match ours.family {
            Family::Electra => some(ours.embedding_width(), "embedding"),
            Family::Albert => {
                some(ours.embedding_width(), "embedding");
                some(groups, "groups");
                some(layers_of_group, "layers_of_group");
            }
            _ => assert_eq!(ours.embedding_width(), sizes.hidden, "{case}"),
        }
        // Padding is masked: any row pads where transformers names none.
        assert_eq!(u64::from(ours.pad_id), theirs["pad"].as_u64().unwrap_or(0), "{case}");
        let expected = match theirs["activation"].as_str().unwrap() {
            "gelu" | "gelu_python" => Activation::Gelu(Gelu::Erf),
            "relu" => Activation::Relu,
            "silu" => Activation::Silu,
            _ => Activation::Gelu(Gelu::Tanh),
        };
        assert_eq!(ours.activation, expected, "{case}");
        if let (Some(by_head_size), Some(by_layer)) = (theirs["scaled"].as_bool(), theirs["scaled_by_layer"].as_bool())
        {
            assert_eq!(ours.score_scale, ScoreScale { by_head_size, by_layer }, "{case}");
        }
        if let TaskHead::Classifier { labels } = ours.head {
            let names: Vec<String> = theirs["labels"].as_array().unwrap().iter().map(plain).collect();
            assert_eq!((labels, &ours.label_names), (names.len(), &names), "{case}");
        }
    }
}

#[test]
fn the_record_is_what_transformers_reads_now() {
    let Some(said) = python("golden/configs.py", &["--check"]) else { return };
    assert_eq!(said.trim(), "as recorded");
}

/// The keys that a checkpoint's config.json spells as transformers' defaults.
fn with_defaults(mut checkpoint: Checkpoint) -> Checkpoint {
    let defaults: &[(&str, Value)] = match checkpoint.config["model_type"].as_str() {
        Some("bert") => &[
            ("layer_norm_eps", json!(1e-12)),
            ("hidden_act", json!("gelu")),
            ("type_vocab_size", json!(2)),
            ("pad_token_id", json!(0)),
            ("model_type", json!("bert")),
            ("id2label", json!({"0": "LABEL_0", "1": "LABEL_1"})),
        ],
        _ => &[
            ("layer_norm_epsilon", json!(1e-5)),
            ("activation_function", json!("gelu_new")),
            ("architectures", json!(["GPT2LMHeadModel"])),
            ("model_type", json!("gpt2")),
            ("eos_token_id", json!(0)),
        ],
    };
    checkpoint
        .config
        .as_object_mut()
        .unwrap()
        .extend(defaults.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    checkpoint
}

/// What `infer` prints of a checkpoint.
fn inferred(checkpoint: &Checkpoint) -> Value {
    let scratch = tempfile::tempdir().unwrap();
    checkpoint.write(scratch.path());
    let arguments = ["infer", "--json", "--model", text(scratch.path()), "--text", "the film is good"];
    serde_json::from_str(&expect(0, &arguments).0).unwrap()
}

#[test]
fn a_model_whose_keys_are_left_out_answers_as_when_they_are_written_out() {
    for whole in [with_defaults(Checkpoint::bert()), with_defaults(Checkpoint::gpt2())] {
        let bert = whole.config["model_type"] == "bert";
        let expected = inferred(&whole);
        let variant = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut one = Checkpoint {
                config: whole.config.clone(),
                tensors: whole.tensors.clone(),
                tokenizer: whole.tokenizer.clone(),
            };
            change(one.config.as_object_mut().unwrap());
            assert_eq!(inferred(&one), expected, "{}", one.config);
        };
        let drop_all = |names: &[&str]| names.iter().for_each(|name| variant(&|keys| drop(keys.remove(*name))));
        let set = |key: &str, value: Value| variant(&|keys| drop(keys.insert(key.to_owned(), value.clone())));
        if bert {
            drop_all(&["layer_norm_eps", "hidden_act", "type_vocab_size", "pad_token_id", "model_type", "id2label"]);
            set("hidden_act", json!("gelu_python"));
            set("pad_token_id", json!(-1));
            set("hidden_size", json!(16.0));
            set("tie_word_embeddings", json!(false));
        } else {
            drop_all(&["layer_norm_epsilon", "activation_function", "architectures", "model_type", "eos_token_id"]);
            set("architectures", Value::Null);
            set("eos_token_id", json!([3, 0]));
            set("eos_token_id", Value::Null);
            set("eos_token_id", json!(50256));
            for (name, synonym) in [
                ("n_embd", "hidden_size"),
                ("n_layer", "num_hidden_layers"),
                ("n_head", "num_attention_heads"),
                ("n_positions", "max_position_embeddings"),
            ] {
                variant(&|keys| {
                    let value = keys.remove(name).unwrap();
                    keys.insert(synonym.to_owned(), value);
                });
            }
        }
    }
}

#[test]
fn numbers_of_pythons_json_are_refused_by_key_or_not_read() {
    let scratch = tempfile::tempdir().unwrap();
    Checkpoint::bert().write(scratch.path());
    let path = scratch.path().join("config.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let infer = |code, keys: &str| {
        std::fs::write(&path, whole.replacen('{', &format!("{{{keys},"), 1).replace("\"layer_norm_eps\":1e-12,", ""))
            .unwrap();
        expect(code, &["infer", "--model", text(scratch.path()), "--text", "good"]).1
    };
    assert_eq!(infer(0, "\"classifier_dropout\":NaN,\"scores\":[-Infinity,Infinity]"), "");
    let says = ["config.json: layer_norm_eps is `\"NaN\"`; write a number that is not negative", "default, 1e-12"];
    assert_says(&infer(2, "\"layer_norm_eps\":NaN"), &says);
}

#[test]
fn three_hundred_classes_are_read_and_shown_by_name() {
    let mut many = Checkpoint::bert();
    let hidden = many.tensors["classifier.weight"].0[1];
    many.tensors.insert("classifier.weight".to_owned(), (vec![300, hidden], vec![0.0; 300 * hidden]));
    let mut bias = vec![0.0; 300];
    bias[299] = 5.0;
    many.tensors.insert("classifier.bias".to_owned(), (vec![300], bias));
    many.config.as_object_mut().unwrap().remove("id2label");
    many.config["num_labels"] = json!(300);
    assert_eq!(inferred(&many)["likeliest"][0]["label"], "LABEL_299");
}

#[test]
fn tensors_that_nothing_reads_are_said_once_by_every_command() {
    let experiment = Experiment::new(&Cells {
        models: "{tiny: {checkpoint: bert}}",
        batch_sizes: "[1, 2]",
        count: 2,
        ..Cells::default()
    });
    let mut further = Checkpoint::bert();
    for name in ["a", "b", "c", "d"] {
        further.tensors.insert(format!("adapter.{name}"), (vec![1], vec![0.0]));
    }
    let folder = experiment.folder().join("bert");
    further.write(&folder);
    let notice = "no operation reads 4 tensors of the checkpoint: `adapter.a`, `adapter.b`, `adapter.c` and 1 more";
    let (_, planned) = expect(0, &["plan", text(&experiment.yaml())]);
    let (_, inferred) = expect(0, &["infer", "--model", text(&folder), "--text", "good"]);
    let model = folder.with_extension("onnx");
    let arguments = ["export", "--model", text(&folder), "--batch", "1", "--seq", "8", "-o", text(&model)];
    for said in [planned, inferred, experiment.run(0), expect(0, &arguments).0] {
        assert_eq!(said.matches(notice).count(), 1, "{said}");
    }
}

/// transformers 5.24 removes the prefix wherever the rest is a name of the model (`rename_source_key` in core_model_loading.py),
/// so that heads behind it are read.
#[test]
fn a_head_behind_the_familys_prefix_is_the_head_as_in_transformers() {
    for (mut whole, tensors, prefix) in [
        (Checkpoint::bert(), &["classifier.weight", "classifier.bias"][..], "bert."),
        (Checkpoint::gpt2(), &["lm_head.weight"], "transformer."),
    ] {
        if prefix == "transformer." {
            let table = whole.tensors["wte.weight"].clone();
            let head = (table.0, table.1.iter().map(|value| 2.0 * value).collect());
            whole.tensors.insert("lm_head.weight".to_owned(), head);
        }
        let expected = inferred(&whole);
        for name in tensors {
            let moved = whole.tensors.remove(*name).unwrap();
            whole.tensors.insert(format!("{prefix}{name}"), moved);
        }
        assert_eq!(inferred(&whole), expected, "{prefix}");
    }
}

#[test]
fn quantized_weights_are_refused_by_file_key_and_cure_and_a_method_without_meaning_is_noted() {
    let models = "{bert: {checkpoint: bert}}";
    let experiment = Experiment::new(&Cells { models, ..Cells::default() });
    let folder = experiment.folder().join("bert");
    let mut checkpoint = Checkpoint::bert();
    checkpoint.config["quantization_config"] = json!({"quant_method": "gptq", "bits": 4});
    checkpoint.write(&folder);
    let (_, refusal) = expect(2, &["infer", "--model", text(&folder), "--text", "film"]);
    let cure = "`model.dequantize().save_pretrained(folder)`";
    assert_says(&refusal, &["bert/config.json: quantization_config: quant_method `gptq`", cure, "remove the key"]);
    checkpoint.config["quantization_config"] = json!({"quant_method": "bitsandbytes", "load_in_8bit": false});
    checkpoint.write(&folder);
    let (_, plan) = expect(0, &["plan", text(&experiment.yaml())]);
    let said = "note: bert: quantization_config: quant_method `bitsandbytes` names no quantization";
    assert!(plan.contains(said), "{plan}");
    assert!(experiment.run(0).contains(said));
}
