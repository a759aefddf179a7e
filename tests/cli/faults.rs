//! What is wrong with a checkpoint, a dataset or a backend costs the rows that need it: each has one clear reason, the
//! other rows are measured, and the exit code is 1.

use std::path::Path;

use mixprec::digest::sha256;
use mixprec::engine::BackendKind;
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use mixprec::record::FailureKind;
use mixprec::record::InputKind;
use mixprec::record::Status;
use mixprec::store::schema::{ResultRow, WeightsKind};

use crate::checkpoint::{Checkpoint, WORDS};
use crate::experiment::{Cells, Experiment, text};
use crate::fixtures::skip;
use crate::{assert_says, expect};

/// Runs an experiment of two cells of which the one called `broken` (a model or an input) fails for this reason.
/// `prepare` finds a sound BERT and GPT-2 in the manifest's folder.
fn costs_one_row(cells: &Cells<'_>, prepare: impl FnOnce(&Path), reason: &[&str]) -> (Experiment, ResultRow) {
    let experiment = Experiment::new(&Cells { count: 2, ..*cells });
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    prepare(&experiment.folder());
    let stderr = experiment.run(1);
    assert!(stderr.contains("1 measured, 1 failed"), "{stderr}");
    let (failed, measured): (Vec<_>, Vec<_>) =
        experiment.rows().into_iter().partition(|row| row.model == "broken" || row.input == "broken");
    assert_eq!((failed.len(), measured.len()), (1, 1), "{stderr}");
    assert_eq!((measured[0].status, measured[0].samples), (Status::Ok, Some(3)));
    assert!(measured[0].cosine_min.is_some_and(|cosine| cosine > 0.999_999), "{:?}", measured[0]);
    let row = failed[0].clone();
    assert_eq!((row.status, row.failure_kind), (Status::Failed, Some(FailureKind::Error)), "{row:?}");
    assert_eq!((row.samples, row.latency_p50_ms, row.nan_count), (None, None, None));
    let found = row.reason.as_deref().unwrap();
    assert_says(found, reason);
    assert!(stderr.contains(found), "{stderr}");
    (experiment, row)
}

fn broken_model(source: &str, prepare: impl FnOnce(&Path), reason: &[&str]) -> (Experiment, ResultRow) {
    let models = format!("{{bert: {{checkpoint: bert}}, broken: {{{source}}}}}");
    costs_one_row(&Cells { models: &models, ..Cells::default() }, prepare, reason)
}

fn broken_input(model: &str, kind: &str, content: Option<&[u8]>, reason: &[&str]) {
    let models = format!("{{tiny: {{checkpoint: {model}}}}}");
    let inputs = format!("{{random: {{random: 7}}, broken: {{{kind}: data.txt}}}}");
    let prepare = |folder: &Path| {
        if let Some(content) = content {
            std::fs::write(folder.join("data.txt"), content).unwrap();
        }
    };
    costs_one_row(&Cells { models: &models, inputs: &inputs, ..Cells::default() }, prepare, reason);
}

#[test]
fn an_absent_checkpoint_is_a_row_until_it_is_there() {
    let (experiment, _) = broken_model("checkpoint: nowhere", |_| {}, &["nowhere: there is no such folder"]);
    Checkpoint::gpt2().write(&experiment.folder().join("nowhere"));
    let stderr = experiment.run(0);
    assert!(stderr.contains("failed when it was another or absent, and are measured again"), "{stderr}");
    assert!(experiment.rows().iter().all(|row| row.status == Status::Ok && row.cosine_min.unwrap() > 0.999_999));
}

#[test]
fn a_truncated_checkpoint_is_a_row() {
    let cut = |folder: &Path| {
        let bytes = Checkpoint::gpt2().write(&folder.join("cut"));
        std::fs::write(folder.join("cut/model.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    };
    let reason = ["cut/model.safetensors: it is ", "but its header describes", "fetch it again"];
    let (experiment, row) = broken_model("checkpoint: cut", cut, &reason);
    // The report shows the reason beside the rows that were measured.
    expect(0, &["report", text(&experiment.dir())]);
    let failures = std::fs::read_to_string(experiment.dir().join("report/report.html")).unwrap();
    assert!(failures.contains("it is ") && failures.contains("fetch it again"), "{:?}", row.reason);
}

#[test]
fn a_flipped_bit_in_the_header_is_a_row() {
    let flip = |folder: &Path| {
        let mut bytes = Checkpoint::gpt2().write(&folder.join("flipped"));
        bytes[8] ^= 1;
        std::fs::write(folder.join("flipped/model.safetensors"), &bytes).unwrap();
    };
    broken_model("checkpoint: flipped", flip, &["flipped/model.safetensors: its header is unreadable"]);
}

#[test]
fn a_flipped_bit_in_the_data_is_a_row_where_the_digest_is_pinned() {
    let whole = sha256(&Checkpoint::gpt2().write(tempfile::tempdir().unwrap().path()));
    let flip = |folder: &Path| {
        let mut bytes = Checkpoint::gpt2().write(&folder.join("flipped"));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 16;
        std::fs::write(folder.join("flipped/model.safetensors"), &bytes).unwrap();
    };
    let reason = ["flipped/model.safetensors: sha256 is ", &whole, "fetch the pinned file or correct the pin"];
    broken_model(&format!("checkpoint: flipped, sha256: '{whole}'"), flip, &reason);
}

/// Every truncation and every flipped bit of the header, without starting the program for each.
#[test]
fn no_damage_to_a_header_goes_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Checkpoint::gpt2().write(folder.path());
    let header = 8 + usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let source = ModelSource::Checkpoint { path: folder.path().to_owned(), sha256: None };
    let opens = |bytes: &[u8]| {
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let opened = Model::open("damaged", &source, Path::new("."), Head::Natural);
        opened.map_err(|error| assert_says(&error.to_string(), &["model.safetensors"])).is_ok()
    };
    assert!(opens(&whole));
    for length in (0..header).chain([header, whole.len() / 2, whole.len() - 1]) {
        assert!(!opens(&whole[..length]), "cut to {length} bytes");
    }
    for position in 0..header {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        assert!(!opens(&bytes), "byte {position} of the header of {header}");
    }
}

#[test]
fn a_pickle_checkpoint_is_a_row() {
    let pickle = |folder: &Path| {
        Checkpoint::gpt2().write(&folder.join("old"));
        std::fs::rename(folder.join("old/model.safetensors"), folder.join("old/pytorch_model.bin")).unwrap();
    };
    broken_model("checkpoint: old", pickle, &["old/pytorch_model.bin: pickle", "weights_only=True"]);
}

#[test]
fn a_checkpoint_that_does_not_fit_its_configuration_is_a_row() {
    let other = |folder: &Path| {
        let mut checkpoint = Checkpoint::gpt2();
        checkpoint.config["n_inner"] = 48.into();
        checkpoint.write(&folder.join("other"));
    };
    broken_model("checkpoint: other", other, &["`h.0.mlp.c_fc.weight` has shape [16, 32]", "implies [16, 48]"]);
}

#[test]
fn a_sequence_longer_than_the_checkpoints_positions_is_a_row() {
    let cells = Cells {
        models: "{broken: {checkpoint: gpt2}, bert: {random: 1, architecture: bert-tiny}}",
        ..Cells::default()
    };
    costs_one_row(&Cells { sequence_lengths: "[48]", ..cells }, |_| {}, &["48", "32 positions"]);
}

#[test]
fn a_hub_model_is_a_row_until_it_is_fetched() {
    let digest = sha256(&Checkpoint::gpt2().write(tempfile::tempdir().unwrap().path()));
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let source = format!("hub: owner/name, revision: '{revision}', sha256: '{digest}'");
    let reason = ["`owner/name`", revision, "has not been fetched", "no fallback"];
    let (experiment, _) = broken_model(&source, |_| {}, &reason);
    let fetched = experiment.folder().join("../runs/hub/owner--name").join(revision);
    Checkpoint::gpt2().write(&fetched);
    expect(0, &["run", text(&experiment.yaml()), "--out", text(&experiment.dir()), "--retry-failed"]);
    let provenance = format!("checkpoint sha256 {}", &digest[..16]);
    assert_eq!(experiment.rows()[1].model_provenance.as_ref(), Some(&provenance));
}

#[test]
fn a_stand_in_for_a_hub_model_reads_random_ids_and_no_text() {
    let (revision, digest) = ("0".repeat(40), "0".repeat(64));
    let models =
        format!("{{tiny: {{hub: owner/name, revision: '{revision}', sha256: '{digest}', fallback: gpt2-tiny}}}}");
    let inputs = "{random: {random: 7}, broken: {text: data.txt}}";
    let prepare = |folder: &Path| std::fs::write(folder.join("data.txt"), WORDS.join(" ")).unwrap();
    let cells = Cells { models: &models, inputs, ..Cells::default() };
    let (experiment, _) = costs_one_row(&cells, prepare, &["`tiny` has random weights and so no tokenizer"]);
    let provenance = experiment.rows()[0].model_provenance.clone().unwrap();
    assert_eq!(provenance, "random weights, seed 0, standing in for owner/name");
    let inputs = "{random: {random: 7}, broken: {random: {seed: 7, separators: true}}}";
    costs_one_row(&Cells { inputs, ..cells }, |_| {}, &["`tiny` has random weights", "random ids without separators"]);
}

#[test]
fn separators_are_the_tokenizers_and_a_tokenizer_without_any_costs_a_row() {
    let inputs = "{random: {random: {seed: 7}}, broken: {random: {seed: 7, separators: true}}}";
    let cells = Cells { models: "{tiny: {checkpoint: gpt2}}", inputs, ..Cells::default() };
    let reason =
        ["the tokenizer of model `tiny` puts no tokens before and after a sentence", "`random: 7` without separators"];
    let (_, row) = costs_one_row(&cells, |_| {}, &reason);
    assert_eq!(row.input_kind, InputKind::RandomWithSeparators);
    let experiment = Experiment::new(&Cells { models: "{tiny: {checkpoint: bert}}", count: 2, ..cells });
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    experiment.run(0);
    let kinds: Vec<InputKind> = experiment.rows().iter().map(|row| row.input_kind).collect();
    assert_eq!(kinds, [InputKind::Random, InputKind::RandomWithSeparators]);
}

#[test]
fn rows_of_a_stand_in_are_measured_again_once_the_model_is_fetched() {
    let digest = sha256(&Checkpoint::gpt2().write(tempfile::tempdir().unwrap().path()));
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let models =
        format!("{{gpt: {{hub: owner/name, revision: '{revision}', sha256: '{digest}', fallback: gpt2-tiny}}}}");
    let experiment = Experiment::new(&Cells { models: &models, batch_sizes: "[1, 2]", count: 2, ..Cells::default() });
    let provenances = || experiment.rows().into_iter().map(|row| row.model_provenance.unwrap()).collect::<Vec<_>>();
    let notice = "gpt: random weights stand in for owner/name, which has not been fetched";
    for _ in 0..2 {
        let stderr = experiment.run(0);
        assert!(stderr.contains(notice) && !stderr.contains("other weights"), "{stderr}");
    }
    let drawn = "random weights, seed 0, standing in for owner/name";
    assert_eq!(provenances(), [drawn, drawn]);
    Checkpoint::gpt2().write(&experiment.folder().join("../runs/hub/owner--name").join(revision));
    let stderr = experiment.run(0);
    assert!(stderr.contains(&format!("gpt: 2 row(s) of this folder were measured with other weights ({drawn})")));
    assert!(stderr.contains("2 measured") && !stderr.contains(notice), "{stderr}");
    let fetched = format!("checkpoint sha256 {}", &digest[..16]);
    assert_eq!(provenances(), [fetched.clone(), fetched]);
    assert!(experiment.rows().iter().all(|row| row.cosine_min.unwrap() > 0.999_999));
    assert!(experiment.run(0).contains("2 measured earlier"));
}

/// First the stand-in, then the folder, then the hub's checkpoint, as they appear; and the id stays.
#[test]
fn of_several_sources_the_first_that_is_there_is_measured_and_named() {
    let write = |folder: &Path, gain: f32| {
        let mut checkpoint = Checkpoint::gpt2();
        checkpoint.tensors.get_mut("ln_f.weight").unwrap().1[0] = gain;
        sha256(&checkpoint.write(folder))
    };
    let scratch = tempfile::tempdir().unwrap();
    let (hub, folder) = (write(scratch.path(), 1.0), write(scratch.path(), 2.0));
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let models = format!(
        "{{gpt: {{first_of: [{{hub: owner/name, revision: '{revision}', sha256: '{hub}'}}, {{checkpoint: copy, sha256: \
         '{folder}'}}, {{random: 3, architecture: gpt2-tiny}}]}}}}"
    );
    let experiment = Experiment::new(&Cells { models: &models, ..Cells::default() });
    let places = "owner/name at 0123456789ab, copy";
    let plan = || expect(0, &["plan", text(&experiment.yaml())]).1;
    let row = || experiment.rows().remove(0);
    let notice = format!("gpt: random weights stand in, for no other source is here: {places}");
    assert!(plan().contains(&notice), "{}", plan());
    assert!(experiment.run(0).contains(&notice));
    let (drawn, label) = (row(), "random weights, seed 3, standing in for owner/name".to_owned());
    assert_eq!((drawn.weights_kind, drawn.model_provenance), (Some(WeightsKind::StandIn), Some(label)));

    write(&experiment.folder().join("copy"), 2.0);
    assert!(plan().contains("note: gpt is read from copy"), "{}", plan());
    assert!(experiment.run(0).contains("1 row(s) of this folder were measured with other weights"));
    let copied = row();
    assert_eq!((copied.weights_kind, copied.weights_sha256), (Some(WeightsKind::Folder), Some(folder)));

    write(&experiment.folder().join("../runs/hub/owner--name").join(revision), 1.0);
    assert!(plan().contains("note: gpt is read from owner/name at 0123456789ab"), "{}", plan());
    experiment.run(0);
    let fetched = row();
    assert_eq!((fetched.weights_kind, fetched.weights_sha256), (Some(WeightsKind::Hub), Some(hub)));
    assert_eq!(fetched.weights_repository.as_deref(), Some("owner/name"));
    assert!(drawn.id == copied.id && copied.id == fetched.id);
}

#[test]
fn a_wrong_first_source_is_a_row_and_so_is_a_model_without_any() {
    let digest = "0".repeat(64);
    let source = format!("first_of: [{{checkpoint: gpt2, sha256: '{digest}'}}, {{checkpoint: bert}}]");
    broken_model(&source, |_| {}, &["gpt2/model.safetensors: sha256 is ", &digest, "fetch the pinned file"]);
    let source = format!("first_of: [{{checkpoint: nowhere, sha256: '{digest}'}}, {{checkpoint: elsewhere}}]");
    let reason = "model `broken`: none of its sources is on this machine (nowhere, elsewhere)";
    let (experiment, _) = broken_model(&source, |_| {}, &[reason, "`mixprec doctor` says how to get one"]);
    let (_, notes) = expect(0, &["plan", text(&experiment.yaml())]);
    assert!(notes.contains("broken: none of its sources is here, and its rows fail without one: nowhere, elsewhere"));
}

#[test]
fn a_wrong_tokenizer_is_a_row_of_text_and_none_of_random_ids() {
    let wrong = |folder: &Path| {
        std::fs::write(folder.join("data.txt"), WORDS.join(" ")).unwrap();
        let mut checkpoint = Checkpoint::gpt2();
        checkpoint.tokenizer.as_mut().unwrap()["model"]["vocab"]["another"] = WORDS.len().into();
        checkpoint.write(&folder.join("gpt2"));
    };
    let inputs = "{random: {random: 7}, broken: {text: data.txt}}";
    let cells = Cells { models: "{tiny: {checkpoint: gpt2}}", inputs, ..Cells::default() };
    let reason = ["gpt2/tokenizer.json", "25 tokens", "embeds 24", "another model"];
    costs_one_row(&cells, wrong, &reason);
    let damage = |folder: &Path| {
        wrong(folder);
        std::fs::write(folder.join("gpt2/tokenizer.json"), "{").unwrap();
    };
    costs_one_row(&cells, damage, &["gpt2/tokenizer.json"]);
}

#[test]
fn a_dataset_that_cannot_be_used_is_a_row() {
    for (model, kind) in [("bert", "text"), ("gpt2", "text"), ("bert", "sst2")] {
        broken_input(model, kind, None, &["data.txt: ", "put the dataset there or correct the manifest's path"]);
        broken_input(model, kind, Some(&[b'a', 0xff]), &["data.txt:1: byte 0xff is not UTF-8 text"]);
    }
    for empty in ["", "\n \n"] {
        broken_input("bert", "text", Some(empty.as_bytes()), &["data.txt: holds 0 tokens", "needs 6", "longer text"]);
        broken_input("gpt2", "text", Some(empty.as_bytes()), &["data.txt: holds 0 tokens", "needs 9"]);
    }
    let eight = b"the film is good but the plot weak";
    broken_input("gpt2", "text", Some(eight), &["holds 8 tokens", "a window of 8 needs 9"]);
    broken_input("bert", "sst2", Some(b""), &["data.txt:1: the file holds no sentence"]);
    broken_input("bert", "sst2", Some(b"sentence\tlabel\n"), &["data.txt:1: the file holds no sentence"]);
    broken_input("bert", "sst2", Some(b"good\t1\n"), &["data.txt:1: expected the header"]);
    let label = b"sentence\tlabel\ngood film\t1\nbad film\tnegative\n";
    broken_input("bert", "sst2", Some(label), &["data.txt:3: expected a number after the tab"]);
    broken_input("bert", "sst2", Some(b"sentence\tlabel\ngood film\n"), &["data.txt:2: expected `sentence<TAB>label`"]);
}

#[test]
fn a_dataset_that_is_not_the_pinned_one_is_a_row() {
    let prepare = |folder: &Path| std::fs::write(folder.join("data.txt"), WORDS.join(" ")).unwrap();
    let inputs = format!("{{random: {{random: 7}}, broken: {{text: data.txt, sha256: '{}'}}}}", "0".repeat(64));
    let cells = Cells { models: "{tiny: {checkpoint: gpt2}}", inputs: &inputs, ..Cells::default() };
    costs_one_row(&cells, prepare, &["data.txt: sha256 is ", "the manifest pins 0000"]);
}

#[test]
fn a_backend_that_is_not_available_costs_its_rows() {
    let kinds = [BackendKind::TensorRt, BackendKind::Cuda, BackendKind::OnnxRuntime];
    let unavailable = kinds.into_iter().find_map(|kind| {
        let error = mixprec::backend::backend(kind).and_then(|backend| backend.availability()).err()?;
        Some((kind, error.to_string()))
    });
    let Some((kind, reason)) = unavailable else {
        skip("every backend is available here");
        return;
    };
    let backends = format!("[reference, {kind}]");
    let experiment =
        Experiment::new(&Cells { backends: &backends, batch_sizes: "[1, 2]", count: 4, ..Cells::default() });
    let stderr = experiment.run(1);
    assert!(stderr.contains("2 measured, 2 failed"), "{stderr}");
    for row in experiment.rows() {
        let expected = (row.backend == kind).then(|| reason.clone());
        assert_eq!(row.reason, expected, "{row:?}");
        assert_eq!(row.failure_kind, expected.map(|_| FailureKind::Unavailable));
    }
}

#[test]
fn a_batch_of_none_is_bad_input() {
    let experiment = Experiment::new(&Cells { batch_sizes: "[0]", ..Cells::default() });
    let stderr = experiment.run(2);
    assert!(stderr.contains("test.yaml:7:15: batch_sizes[0]: found `0`, expected a whole number from 1"), "{stderr}");
    assert!(!experiment.dir().exists(), "refused before anything is written");
}
