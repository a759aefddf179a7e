//! Folders as broken downloads, other frameworks and other tools leave them: one line with the file, what is wrong, and a cure.

use std::path::Path;

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::experiment::text;
use crate::{assert_says, expect};

/// What `infer` says of a BERT after this change to its folder.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("bert");
    Checkpoint::bert().write(&folder);
    change(&folder);
    expect(2, &["infer", "--model", text(&folder), "--text", "good"]).1
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 440449768\n";
const PAGE: &str = "<!DOCTYPE html><html><body>503 Service Unavailable</body></html>";

#[test]
fn what_stands_in_the_place_of_a_file_is_named() {
    for file in ["model.safetensors", "config.json"] {
        let of = |content: &str| refusal(|folder| std::fs::write(folder.join(file), content).unwrap());
        assert_says(&of(POINTER), &["bert/", file, ": it is a pointer of Git LFS", "`git lfs pull`"]);
        assert_says(&of(PAGE), &["bert/", file, ": it is a web page", "fetch it again"]);
        assert_says(&of(""), &["bert/", file, ": it is empty", "fetch it again"]);
    }
}

#[test]
fn metadata_that_safetensors_does_not_allow_is_refused_by_key() {
    let said = refusal(|folder| {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let end = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
        header["__metadata__"] = serde_json::json!({"format": "pt", "step": 3});
        let header = header.to_string();
        let all = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[end..]].concat();
        std::fs::write(path, all).unwrap();
    });
    assert_says(&said, &["bert/model.safetensors: its `__metadata__` has the value `3` for `step`", "save it again"]);
}

#[test]
fn weights_that_are_not_read_are_named_with_what_makes_them_readable() {
    let instead = |names: &[&str]| {
        refusal(|folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            names.iter().for_each(|name| std::fs::write(folder.join(name), "x").unwrap());
        })
    };
    // transformers' classes without a head would drop the classifier: this command knows no class.
    let said = instead(&["pytorch_model.bin"]);
    assert_says(
        &said,
        &["bert/pytorch_model.bin: pickle", "weights_only=True", "['pytorch_model.bin']", "s.save_file("],
    );
    assert!(!said.contains("AutoModel"), "{said}");
    let shards = ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"];
    assert_says(&instead(&shards), &["pytorch_model.bin.index.json: pickle", "glob.glob('pytorch_model-*.bin')"]);
    assert_says(&instead(&["adapter_model.safetensors"]), &["bert: the folder holds an adapter", "merge_and_unload"]);
    assert_says(&instead(&["tf_model.h5"]), &["tf_model.h5: these weights are for TensorFlow", "model.safetensors"]);
    assert_says(&instead(&["weights.safetensors"]), &["weights.safetensors: ", "rename the file"]);
    assert_says(&instead(&[]), &["bert/model.safetensors", "a model is a folder with"]);
    let adapter = |folder: &Path| {
        std::fs::rename(folder.join("config.json"), folder.join("adapter_config.json")).unwrap();
    };
    assert_says(&refusal(adapter), &["bert: the folder holds an adapter"]);
}

#[test]
fn a_name_of_a_hub_or_a_file_is_no_folder_and_the_message_says_what_to_do() {
    let of = |model: &str| expect(2, &["infer", "--model", model, "--text", "good"]).1;
    let says = [
        "google-bert/bert-base-uncased: there is no such folder",
        "`hub: google-bert/bert-base-uncased`",
        "mixprec fetch",
    ];
    assert_says(&of("google-bert/bert-base-uncased"), &says);
    assert_says(&of("hub:google-bert/bert-base-uncased"), &says);
    assert_says(&of("nowhere"), &["nowhere: there is no such folder", "`hub: owner/name`"]);
    let scratch = tempfile::tempdir().unwrap();
    Checkpoint::bert().write(scratch.path());
    let file = scratch.path().join("model.safetensors");
    assert_says(&of(text(&file)), &["model.safetensors: it is a file; name the folder"]);
}
