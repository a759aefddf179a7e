//! `mixprec export`: what it prints, and one clear line for every mistake.

use std::path::Path;

use assert_cmd::Command;

fn export(arguments: &[&str], out: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    let output = command.arg("export").args(arguments).arg("-o").arg(out).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_says_what_it_has_written_and_what_onnx_leaves_unsaid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let arguments = ["--model", "gpt2-tiny:4", "--precision", "hybrid", "--batch", "1..32", "--seq", "8..64"];
    let (code, stdout, stderr) = export(&arguments, &path);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for fragment in [
        "model.onnx: 0.",
        "random weights, seed 4",
        "input_ids, attention_mask: int64, batch 1..32, sequence 8..64",
        "logits: fp32; policy hybrid",
        "not said in ONNX: attention_scores",
    ] {
        assert!(stdout.contains(fragment), "`{fragment}` is not in: {stdout}");
    }
    let (_, hidden, _) = export(&[&arguments[..], &["--head", "hidden"]].concat(), &path);
    assert!(hidden.contains("last_hidden_state: fp32"), "{hidden}");
    let typed = ["--model", "bert-tiny:4", "--batch", "1", "--seq", "8", "--token-types"];
    let (_, stdout, _) = export(&typed, &path);
    assert!(stdout.contains("input_ids, attention_mask, token_type_ids: int64"), "{stdout}");
    let (code, _, stderr) = export(&[&arguments[..], &["--token-types"]].concat(), &path);
    assert!(code == 2 && stderr.contains("the model embeds no token types; leave the option out"), "{stderr}");
}

#[test]
fn every_mistake_is_one_line_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let absent = folder.path().join("absent/model.onnx");
    let base = |model, batch, seq| ["--model", model, "--batch", batch, "--seq", seq];
    for (arguments, out, fragments) in [
        (base("bert-tiny", "1", "32..129"), &path, ["129", "128 positions"]),
        (base("no-such-folder", "1", "8"), &path, ["no-such-folder", "config.json"]),
        (base("bert-tiny", "1", "8"), &absent, ["absent/model.onnx", "No such file"]),
        (base("bert-tiny", "8..1", "8"), &path, ["--batch", "write 1..8"]),
        (base("bert-tiny", "1", "0"), &path, ["--seq", "from 1 up"]),
    ] {
        let (code, stdout, stderr) = export(&arguments, out);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert_eq!(stderr.lines().next().unwrap().matches("error: ").count(), 1, "{stderr}");
        for fragment in fragments {
            assert!(stderr.lines().next().unwrap().contains(fragment), "`{fragment}` is not in: {stderr}");
        }
    }
    assert!(!path.exists() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
}
