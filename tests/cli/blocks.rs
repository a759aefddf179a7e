//! `time`: samples on request, and one line where there can be none.

use serde_json::Value;

use crate::{assert_says, expect, mixprec, texts};

const TIME: [&str; 5] = ["time", "--backend", "reference", "--precision", "hybrid"];

/// Runs `time` on this model and shape with these lines of input; exit code, documents on standard output, standard error.
fn time(model_and_shape: [&str; 3], input: &str) -> (Option<i32>, Vec<Value>, String) {
    let [model, batch, sequence] = model_and_shape;
    let arguments = [&TIME[..], &["--model", model, "--batch", batch, "--seq", sequence]].concat();
    let output = mixprec(&arguments).write_stdin(input).output().unwrap();
    let (stdout, stderr) = texts(&output);
    let documents = stdout.lines().filter(|line| !line.is_empty());
    (output.status.code(), documents.map(|line| serde_json::from_str(line).unwrap()).collect(), stderr)
}

#[test]
fn samples_come_in_blocks_from_one_engine() {
    let input = "{\"block\": 5, \"warmup\": 1}\n{\"block\": 1}\n{\"warmup\": 0, \"block\": 3}\n";
    for model in ["bert-tiny", "gpt2-tiny:7"] {
        let (code, documents, stderr) = time([model, "2", "16"], input);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let ready = &documents[0]["ready"];
        assert_eq!(
            (&ready["emulated"], ready["build_s"].as_f64().is_some_and(|time| time > 0.0)),
            (&true.into(), true)
        );
        assert!(ready["model"].as_str().unwrap().starts_with("random weights, seed "), "{ready}");
        let counts: Vec<usize> =
            documents[1..].iter().map(|block| block["wall_ms"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [5, 1, 3]);
        for block in &documents[1..] {
            assert_eq!(block.as_object().unwrap().keys().collect::<Vec<_>>(), ["device_ms", "wall_ms"]);
            assert!(block["device_ms"].is_null(), "the reference backend has no device: {block}");
            assert!(block["wall_ms"].as_array().unwrap().iter().all(|time| time.as_f64().unwrap() > 0.0), "{block}");
        }
    }
}

#[test]
fn a_line_that_is_no_request_ends_it_after_what_was_asked_before() {
    let (code, documents, stderr) = time(["bert-tiny", "1", "8"], "{\"block\": 2}\n{\"blocks\": 2}\n{\"block\": 2}\n");
    assert_eq!((code, documents.len()), (Some(2), 2));
    assert_says(&stderr, &["error: standard input, line 2: unknown field `blocks`", "as in {\"block\": 100"]);
    let (code, documents, stderr) = time(["bert-tiny", "1", "8"], "{\"block\": 0}\n");
    assert_eq!((code, documents.len()), (Some(2), 1));
    assert_says(&stderr, &["a block has 1 to 1000000 samples"]);
}

#[test]
fn what_cannot_be_timed_is_told_before_any_request() {
    for (arguments, message) in [
        (["bert-tiny", "1", "129"], "the model's 128 positions"),
        (["bert-tiny", "0", "8"], "a batch of 0"),
        (["nowhere", "1", "8"], "nowhere"),
    ] {
        let (code, documents, stderr) = time(arguments, "{\"block\": 2}\n");
        assert_eq!((code, documents.len()), (Some(2), 0), "{stderr}");
        assert_says(&stderr, &["error: ", message]);
    }
    let words = ["time", "--model", "bert-tiny", "--precision", "fp32", "--batch", "1", "--seq", "8"];
    assert!(expect(2, &words).1.contains("--backend"));
    assert!(!expect(0, &["--help"]).0.contains("\n  time"));
}
