//! Folders without `tokenizer.json`: a vocabulary of earlier years is read in its place, and counts among the files of a row.

use std::path::Path;

use mixprec::digest::sha256;

use crate::checkpoint::{Checkpoint, WORDS};
use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect};

const BERT: &str = r#"{"tokenizer_class": "BertTokenizer"}"#;

/// A BERT whose tokenizer is of transformers' class, with `tokenizer.json`.
fn write(folder: &Path) {
    Checkpoint::bert().write(folder);
    std::fs::write(folder.join("tokenizer_config.json"), BERT).unwrap();
    let document = folder.join("tokenizer.json");
    let file = std::fs::read_to_string(&document).unwrap().replace("\"WordLevel\"", "\"WordPiece\"");
    std::fs::write(document, file).unwrap();
}

fn words() -> String {
    WORDS.map(|word| format!("{word}\n")).concat()
}

#[test]
fn a_vocabulary_gives_what_tokenizer_json_gives_and_is_not_read_beside_it() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("bert");
    write(&folder);
    let infer = || expect(0, &["infer", "--json", "--model", text(&folder), "--text", "The film is very good"]).0;
    let expected = infer();
    std::fs::write(folder.join("vocab.txt"), "[CLS]\nthe\n").unwrap();
    assert_eq!(infer(), expected, "tokenizer.json comes first");
    std::fs::write(folder.join("vocab.txt"), words()).unwrap();
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert_eq!(infer(), expected);
}

#[test]
fn the_vocabulary_that_was_read_is_a_file_of_the_row() {
    let cells = Cells {
        models: "{bert: {checkpoint: bert}}",
        inputs: "{story: {text: story.txt}}",
        count: 1,
        ..Cells::default()
    };
    let experiment = Experiment::new(&cells);
    let folder = experiment.folder();
    write(&folder.join("bert"));
    std::fs::write(folder.join("story.txt"), "the film is good and the plot is weak but the cast was fine ".repeat(3))
        .unwrap();
    std::fs::write(folder.join("bert/vocab.txt"), words()).unwrap();
    let digest = |names: &[&str]| {
        let of = |name: &&str| sha256(&std::fs::read(folder.join("bert").join(name)).unwrap());
        let lines: String = names.iter().map(|name| format!("{}  {name}\n", of(name))).collect();
        Some(sha256(lines.as_bytes()))
    };
    experiment.run(0);
    assert_eq!(experiment.rows()[0].tokenizer_sha256, digest(&["tokenizer.json", "tokenizer_config.json"]));
    std::fs::remove_file(folder.join("bert/tokenizer.json")).unwrap();
    experiment.run(0);
    assert_eq!(experiment.rows()[0].tokenizer_sha256, digest(&["tokenizer_config.json", "vocab.txt"]));
}

#[test]
fn a_tokenizer_json_that_is_damaged_is_refused_with_the_cure() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("bert");
    write(&folder);
    let cure = "fetch it again, or save it with `tokenizer.save_pretrained(folder)`";
    for (damaged, what) in
        [("", "it is empty"), ("tokens", "it is no JSON (expected ident"), ("[1]", "it is no JSON object")]
    {
        std::fs::write(folder.join("tokenizer.json"), damaged).unwrap();
        let refusal = expect(2, &["infer", "--model", text(&folder), "--text", "good"]).1;
        assert_says(
            &refusal,
            &["bert/tokenizer.json: ", what, if damaged.is_empty() { "fetch it again" } else { cure }],
        );
        assert!(!refusal.contains("config.save_pretrained"), "{refusal}");
    }
}

#[test]
fn a_folder_without_a_readable_vocabulary_is_refused_with_the_cure() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("bert");
    write(&folder);
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    let refusal = || expect(2, &["infer", "--model", text(&folder), "--text", "good"]).1;
    assert_says(&refusal(), &["bert/tokenizer.json: it does not exist, nor does vocab.txt", "save_pretrained(folder)"]);
    std::fs::write(folder.join("spiece.model"), [1, 2]).unwrap();
    assert_says(&refusal(), &["bert/spiece.model: a sentencepiece model is not read", "AutoTokenizer.from_pretrained"]);
    std::fs::remove_file(folder.join("spiece.model")).unwrap();
    std::fs::write(folder.join("vocab.txt"), b"[PAD]\n[UNK]\n[CLS]\n\xff\n").unwrap();
    assert_says(&refusal(), &["bert/vocab.txt:4: byte 0xff is not UTF-8 text"]);
    std::fs::write(folder.join("tokenizer_config.json"), r#"{"tokenizer_class": "GPT2Tokenizer"}"#).unwrap();
    assert_says(&refusal(), &["bert/tokenizer.json: it does not exist, nor do vocab.json and merges.txt"]);
    std::fs::write(folder.join("vocab.json"), r#"{"a": 0, "b": 1}"#).unwrap();
    std::fs::write(folder.join("merges.txt"), "#version: 0.2\na b\na  b\n").unwrap();
    assert_says(&refusal(), &["bert/merges.txt: line 3 is no pair of tokens"]);
}
