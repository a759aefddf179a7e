//! What runs, files and folders of other people's machines look like: closed terminals, authors' paths, hostile names, Windows'
//! text files.

use std::path::{Path, PathBuf};

use mixprec::provenance::Environment;
use mixprec::store::parquet::read_results;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::checkpoint::{Checkpoint, WORDS};
use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect, mixprec, texts};

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Every text of a file that is published, joined.
fn published_text(path: &Path) -> String {
    let raw = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let dir = path.parent().unwrap();
    let rows = if path.ends_with("results.parquet") { read_results(dir).unwrap() } else { Vec::new() };
    rows.into_iter()
        .flat_map(|mut row| row.texts().map(|text| text.clone()).collect::<Vec<_>>())
        .fold(raw, |all, one| all + "\n" + &one)
}

#[test]
fn nothing_that_is_published_names_the_author() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home/alice");
    std::fs::create_dir_all(home.join("data")).unwrap();
    Checkpoint::gpt2().write(&home.join("gpt2"));
    let absolute = home.join("elsewhere");
    let manifest = format!(
        "schema: 1\nname: test\nquestion: What of {}?\nmodels: {{tiny: {{checkpoint: gpt2}}, gone: {{checkpoint: missing}}, \
         far: {{checkpoint: {0}}}}}\nbackends: [reference]\nprecisions: [fp32]\nbatch_sizes: [1]\nsequence_lengths: [8]\n\
         inputs: {{random: {{random: 7}}, lost: {{text: data/lost.txt}}}}\nexpect_configurations: 6\n\
         measurement: {{warmup: 0, min_samples: 3, max_samples: 3, time_cap_s: 20, threads: 1}}\n",
        absolute.display()
    );
    let yaml = home.join("test.yaml");
    std::fs::write(&yaml, manifest).unwrap();
    let (run, out) = (root.path().join("run"), root.path().join("artifact"));
    let output = mixprec(&["run", text(&yaml), "--out", text(&run)]).env("USER", "alice").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{:?}", texts(&output));
    let reasons: Vec<String> = read_results(&run).unwrap().into_iter().filter_map(|row| row.reason).collect();
    assert!(reasons.iter().any(|reason| reason.starts_with("missing: there is no such folder")), "{reasons:?}");
    let publish = ["artifact", text(&run), "--out", text(&out), "--allow-dirty"];
    let output = mixprec(&publish).env("USER", "alice").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", texts(&output));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let published = files(&out);
    assert!(published.len() > 5, "{published:?}");
    for file in published {
        let found = published_text(&file);
        for secret in [text(root.path()), "home/alice", "/alice", host.as_str()] {
            // A container's host may be called like a word of the texts.
            if secret.len() > 3 {
                assert!(!found.contains(secret), "{} names {secret}", file.display());
            }
        }
        assert!(!found.contains("alice/"), "{} names the user", file.display());
    }
    expect(0, &["report", text(&out), "--out", text(&root.path().join("report"))]);
    assert!(!Environment::read_all(&out).unwrap().is_empty());
}

/// Names of folders that no rule for words of a sentence would find whole.
const ODD: [&str; 6] = [
    "Ada Lovelace, PhD (lab)",
    "[Ada]; {Ada} = <Ada> | 'Ada'",
    "\"Ada\" `Ada`",
    "\u{dc}ber  Ada\u{a0}\u{1f600} Ada",
    r"C:\Users\Ada Lovelace\x",
    "Ada: Ada. Ada",
];

/// Every file of an artifact, with a folder of each odd name for a damaged checkpoint and an absent data set, whose errors
/// name them, and for the manifest itself.
#[test]
fn no_odd_path_that_a_plan_names_is_published() {
    let root = tempfile::tempdir().unwrap();
    let quoted = |path: &Path| serde_json::to_string(text(path)).unwrap();
    Checkpoint::bert().write(&root.path().join("bert"));
    let whole = format!("bert: {{checkpoint: {}}}", quoted(&root.path().join("bert")));
    let (mut models, mut inputs) = (vec![whole], Vec::new());
    for (index, odd) in ODD.iter().enumerate() {
        let folder = root.path().join(odd).join("Ada, too");
        Checkpoint::bert().write(&folder.join("bert"));
        std::fs::write(folder.join("bert/model.safetensors"), "{}").unwrap();
        models.push(format!("m{index}: {{checkpoint: {}}}", quoted(&folder.join("bert"))));
        inputs.push(format!("i{index}: {{sst2: {}}}", quoted(&folder.join("dev.tsv"))));
    }
    let home = root.path().join(ODD[0]);
    let yaml = home.join("test.yaml");
    let manifest = format!(
        "schema: 1\nname: test\nquestion: {}\nmodels: {{{}}}\nbackends: [reference]\n\
         precisions: [fp32]\nbatch_sizes: [1]\nsequence_lengths: [8]\ninputs: {{random: {{random: 7}}, {}}}\n\
         expect_configurations: {}\nmeasurement: {{warmup: 0, min_samples: 3, max_samples: 3, time_cap_s: 20, threads: 1}}\n",
        quoted(&home.join("x y")),
        models.join(", "),
        inputs.join(", "),
        (ODD.len() + 1) * (ODD.len() + 1)
    );
    std::fs::write(&yaml, manifest).unwrap();
    let (run, out) = (root.path().join(ODD[1]).join("run"), root.path().join("artifact"));
    let command = |arguments: &[&str]| {
        let output = mixprec(arguments).env("HOME", &home).env("USER", "alice").current_dir(&home).output().unwrap();
        (output.status.code(), texts(&output))
    };
    let (code, said) = command(&["run", text(&yaml), "--out", text(&run)]);
    assert_eq!(code, Some(1), "{said:?}");
    let reasons: Vec<String> = read_results(&run).unwrap().into_iter().filter_map(|row| row.reason).collect();
    for fragment in ["Ada, too", "model.safetensors", "dev.tsv"] {
        assert!(reasons.iter().any(|reason| reason.contains(fragment)), "{fragment}: {reasons:?}");
    }
    let (code, said) = command(&["artifact", text(&run), "--out", text(&out), "--allow-dirty"]);
    assert_eq!(code, Some(0), "{said:?}");
    for file in files(&out) {
        let found = published_text(&file);
        let at = found.find("Ada").or(found.find("Lovelace")).or(found.find("PhD"));
        assert_eq!(at.map(|at| &found[at.saturating_sub(80)..]), None, "{}", file.display());
    }
}

/// Somebody else's home, which the manifest reaches from its own folder; and folders in root's home, as in containers.
#[test]
fn users_of_homes_that_relative_paths_lead_to_are_not_published() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("home/alice/proj");
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = "schema: 1\nname: test\nquestion: Do quorra and zuse of /root/zuse/data see it?\nmodels: {tiny: {random: 1, \
                    architecture: bert-tiny}, far: {checkpoint: ../../quorra/none}, up: {checkpoint: ../../../../root/zuse/x}}\n\
                    backends: [reference]\nprecisions: [fp32]\nbatch_sizes: [1]\nsequence_lengths: [8]\n\
                    inputs: {random: {random: 7}}\nexpect_configurations: 3\n\
                    measurement: {warmup: 0, min_samples: 3, max_samples: 3, time_cap_s: 20, threads: 1}\n";
    std::fs::write(folder.join("test.yaml"), manifest).unwrap();
    let (run, out) = (root.path().join("run"), root.path().join("artifact"));
    expect(1, &["run", text(&folder.join("test.yaml")), "--out", text(&run)]);
    expect(0, &["artifact", text(&run), "--out", text(&out), "--allow-dirty"]);
    let plan = std::fs::read_to_string(out.join("plan.json")).unwrap();
    assert!(plan.contains("Do [user] and [user] of data see it?"), "{plan}");
    for file in files(&out) {
        let found = published_text(&file);
        assert!(!found.contains("quorra") && !found.contains("zuse"), "{}: {found}", file.display());
    }
}

#[test]
fn results_that_cannot_be_written_are_refused_with_the_cure() {
    let experiment = Experiment::new(&Cells::default());
    experiment.run(0);
    let dir = experiment.dir();
    // Nobody may make a folder there, root neither.
    let out = "/proc/mixprec/results";
    for command in [&["report"][..], &["merge"], &["artifact", "--allow-dirty"]] {
        let (_, stderr) = expect(2, &[command, &[text(&dir), "--out", out]].concat());
        assert_says(&stderr, &["/proc/mixprec", "choose a writable folder with --out, or make room"]);
        assert!(!stderr.contains(".merge."), "{stderr}");
    }
}

/// A folder with a BERT whose files say what a terminal would obey.
fn hostile() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut labelled = Checkpoint::bert();
    labelled.config["id2label"] = json!({"0": "good\u{1b}]0;mine\u{7}\n 99.9 %  bad", "1": "\u{9b}31m\u{202e}evil"});
    labelled.write(&root.path().join("label"));
    let mut token = Checkpoint::bert();
    let vocabulary = token.tokenizer.as_mut().unwrap()["model"]["vocab"].as_object_mut().unwrap();
    let id = vocabulary.remove("film").unwrap();
    vocabulary.insert("fi\u{1b}[2Jlm".to_owned(), id);
    token.write(&root.path().join("token"));
    let mut tensor = Checkpoint::bert();
    tensor.tensors = tensor.tensors.into_iter().map(|(name, values)| (format!("\u{1b}[2J{name}"), values)).collect();
    tensor.write(&root.path().join("tensor"));
    let mut family = Checkpoint::bert();
    family.config["model_type"] = "\u{1b}[31mllama\r".into();
    family.write(&root.path().join("family"));
    Checkpoint::bert().write(&root.path().join("fol\u{1b}[1mder"));
    std::fs::remove_file(root.path().join("fol\u{1b}[1mder/model.safetensors")).unwrap();
    root
}

#[test]
fn a_file_cannot_write_to_the_terminal() {
    let root = hostile();
    let hidden = |c: &char| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c);
    for name in ["label", "token", "tensor", "family", "fol\u{1b}[1mder"] {
        for (output, json) in [("logits", false), ("hidden", false), ("logits", true)] {
            let folder = root.path().join(name);
            let more = if json { &["--json"][..] } else { &[] };
            let asked = ["infer", "--model", text(&folder), "--text", "the fi\u{1b}[2Jlm is good", "--output", output];
            let (stdout, stderr) = texts(&mixprec(&[&asked[..], more].concat()).output().unwrap());
            let all = stdout.clone() + &stderr;
            assert_eq!(all.chars().find(hidden), None, "{name}: {all:?}");
            if name == "label" && output == "logits" && !json {
                assert_eq!(stdout.lines().count(), 3, "a label is one line: {stdout}");
                assert!(stdout.contains(r"good\u{1b}]0;mine\u{7}\n 99.9 %  bad"), "{stdout}");
            }
            if name == "label" && json {
                let labels: Value = serde_json::from_str(&stdout).unwrap();
                assert!(labels["likeliest"].to_string().contains("mine"), "{stdout}");
            }
        }
    }
}

#[test]
fn windows_text_files_are_read() {
    let cells = Cells { models: "{tiny: {checkpoint: bert}}", inputs: "{sst2: {sst2: data.tsv}}", ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let folder = experiment.folder();
    Checkpoint::bert().write(&folder.join("bert"));
    std::fs::write(folder.join("data.tsv"), "\u{feff}sentence\tlabel\r\nthe film is good\t1\r\na bad film\t0\r\n")
        .unwrap();
    for file in ["test.yaml", "bert/config.json", "bert/tokenizer.json", "bert/tokenizer_config.json"] {
        let path = folder.join(file);
        let content = std::fs::read_to_string(&path).unwrap().replace('\n', "\r\n");
        std::fs::write(path, format!("\u{feff}{content}")).unwrap();
    }
    experiment.run(0);
    assert_eq!(experiment.rows()[0].task_total, Some(2));
    let bytes = [b"{\n \"model_type\": \"b", &[0xe9][..], b"rt\"}"].concat();
    std::fs::write(folder.join("bert/config.json"), bytes).unwrap();
    let refused = expect(2, &["infer", "--model", text(&folder.join("bert")), "--text", "a"]).1;
    assert_says(&refused, &["bert/config.json:2: byte 0xe9 is not UTF-8 text"]);
}

#[test]
fn an_architecture_and_a_folder_of_its_name_are_not_mistaken_for_each_other() {
    let root = tempfile::tempdir().unwrap();
    Checkpoint::gpt2().write(&root.path().join("gpt2-tiny"));
    let export = |model: &str| {
        let arguments = ["export", "--model", model, "--batch", "1", "--seq", "8", "-o", "x.onnx"];
        let output = mixprec(&arguments).current_dir(root.path()).output().unwrap();
        (output.status.code(), texts(&output))
    };
    let (code, (_, refused)) = export("gpt2-tiny");
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("ambiguous") && refused.contains("./gpt2-tiny"), "{refused}");
    for model in ["./gpt2-tiny", "gpt2-tiny:1"] {
        assert_eq!(export(model).0, Some(0), "{model}");
    }
}

/// The ids of a text, or the refusal.
fn ids(folder: &Path, words: &str) -> Result<Value, String> {
    let output =
        mixprec(&["infer", "--json", "--output", "hidden", "--model", text(folder), "--text", words]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    if output.status.success() {
        Ok(serde_json::from_str::<Value>(&stdout).unwrap()["ids"].clone())
    } else {
        Err(stderr)
    }
}

/// transformers warns of a text that is longer, computes it, and says nothing of ids.
#[test]
fn texts_beyond_the_tokenizers_limit_are_noted_before_a_run_and_computed_and_ids_have_none() {
    let inputs = "{ids: {random: 7}, separated: {random: {seed: 7, separators: true}}, text: {text: t.txt}, dev: {sst2: \
                  dev.tsv}}";
    let experiment = |inputs, count, limit| {
        let cells = Cells { models: "{bert: {checkpoint: ./bert}}", inputs, count, ..Cells::default() };
        let experiment = Experiment::new(&cells);
        let folder = experiment.folder();
        Checkpoint::bert().write(&folder.join("bert"));
        let config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": limit});
        std::fs::write(folder.join("bert/tokenizer_config.json"), config.to_string()).unwrap();
        std::fs::write(folder.join("t.txt"), "the film is good ".repeat(20)).unwrap();
        std::fs::write(folder.join("dev.tsv"), "sentence\tlabel\nthe film is very good but dull\t0\n").unwrap();
        experiment
    };
    let said = "bert/tokenizer_config.json: model_max_length is 4, fewer than the 8 tokens of a sequence";
    let noted = experiment(inputs, 4, 4);
    let (_, plan) = expect(0, &["plan", text(&noted.yaml())]);
    for notices in [plan, noted.run(0)] {
        assert_eq!(notices.matches(said).count(), 1, "{notices}");
    }
    assert!(noted.rows().iter().all(|row| row.samples == Some(3)));
    let ids = "{ids: {random: 7}, separated: {random: {seed: 7, separators: true}}}";
    for quiet in [experiment(ids, 2, 4), experiment(inputs, 4, 8)] {
        let (_, plan) = expect(0, &["plan", text(&quiet.yaml())]);
        assert!(!plan.contains("model_max_length"), "{plan}");
    }
}

/// `./bert` of a manifest in the current folder was shown as `././bert`.
#[test]
fn a_path_is_shown_as_it_can_be_typed() {
    let cells = Cells { models: "{bert: {checkpoint: ./bert}}", inputs: "{text: {text: ./t.txt}}", ..Cells::default() };
    let experiment = Experiment::new(&cells);
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    let said = |arguments: &[&str]| {
        let output = mixprec(arguments).current_dir(experiment.folder()).output().unwrap();
        texts(&output).1
    };
    for (yaml, out) in [("test.yaml", "r"), ("./test.yaml", "s")] {
        let run = said(&["run", yaml, "--out", out]);
        assert!(run.contains(" t.txt: ") && !run.contains("./t.txt"), "{run}");
    }
    std::fs::write(experiment.folder().join("bert/config.json"), "{}").unwrap();
    let infer = said(&["infer", "--model", "./bert", "--text", "film"]);
    assert!(infer.starts_with("error: bert/config.json: "), "{infer}");
}

#[test]
fn settings_of_the_tokenizer_are_obeyed_and_added_tokens_cost_nothing_until_they_are_used() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("gpt2");
    let mut padded = Checkpoint::gpt2();
    padded.tokenizer.as_mut().unwrap()["added_tokens"] = json!([{"id": WORDS.len(), "content": "[NEW]",
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}]);
    padded.write(&folder);
    assert_eq!(ids(&folder, "the film"), Ok(json!([5, 6])));
    assert_says(
        &ids(&folder, "the [NEW] film").unwrap_err(),
        &["gpt2/tokenizer.json", "`[NEW]`, id 24", "24 embeddings"],
    );
    let configured = |config: Value| std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    configured(json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 3}));
    assert_eq!(ids(&folder, "the film is"), Ok(json!([5, 6, 7])));
    let (stdout, stderr) = expect(0, &["infer", "--json", "--model", text(&folder), "--text", "the film is good"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["ids"], json!([5, 6, 7, 8]));
    assert_says(&stderr, &["note: ", "gpt2/tokenizer_config.json: model_max_length is 3, fewer than the 4 tokens"]);
    configured(json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1e30}));
    assert_eq!(ids(&folder, "the film is good"), Ok(json!([5, 6, 7, 8])));
    configured(json!({"tokenizer_class": "LlamaTokenizer"}));
    assert_says(&ids(&folder, "the").unwrap_err(), &["tokenizer_config.json: tokenizer_class", "LlamaTokenizer"]);
}
