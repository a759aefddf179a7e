//! Rows and the files they were made from: a second run measures again exactly what was replaced and names the file, whatever
//! the file's size and time say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mixprec::digest::sha256;
use mixprec::record::Status;
use mixprec::store::journal;
use mixprec::store::parquet::read_results;
use mixprec::store::schema::ResultRow;
use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::experiment::{Cells, Experiment, text};
use crate::{assert_says, expect};

const SENTENCES: [&str; 6] =
    ["the film is good", "bad plot", "it was not very good", "dull and weak", "a great story", "the cast was fine"];

/// A BERT that reads sentences, a text and random ids, with every kind of file that a run reads.
fn three_inputs() -> Experiment {
    let experiment = Experiment::new(&cells("[1]", 3));
    let folder = experiment.folder();
    Checkpoint::bert().write(&folder.join("bert"));
    let tokenizer = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32});
    std::fs::write(folder.join("bert/tokenizer_config.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("dev.tsv"), sentences(&SENTENCES)).unwrap();
    std::fs::write(folder.join("story.txt"), SENTENCES.join(" ").repeat(3)).unwrap();
    experiment
}

fn cells(batch_sizes: &'static str, count: usize) -> Cells<'static> {
    Cells {
        models: "{bert: {checkpoint: bert}}",
        inputs: "{random: {random: 7}, sst2: {sst2: dev.tsv}, story: {text: story.txt}}",
        batch_sizes,
        count,
        ..Cells::default()
    }
}

fn sentences(of: &[&str]) -> String {
    let lines = of.iter().enumerate().map(|(index, sentence)| format!("{sentence}\t{}\n", index % 2));
    format!("sentence\tlabel\n{}", lines.collect::<String>())
}

/// How many records the journal has of each row, by input and batch size.
fn records(experiment: &Experiment) -> BTreeMap<(String, u64), usize> {
    let records = journal::read(&experiment.dir()).unwrap().records;
    let count = |row: &ResultRow| records.iter().filter(|record| record.id.0 == row.id).count();
    experiment.rows().iter().map(|row| ((row.input.clone(), row.batch_size), count(row))).collect()
}

/// The files of the experiment as bytes, to be put back.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

fn restore(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    std::fs::remove_dir_all(folder).unwrap();
    for (path, bytes) in files {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Writes other bytes of the same length under the same time of modification.
fn rewrite(path: &Path, bytes: &[u8]) {
    let before = std::fs::metadata(path).unwrap();
    assert_eq!(before.len(), bytes.len() as u64);
    std::fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn an_unchanged_second_run_measures_nothing_and_says_nothing() {
    let experiment = three_inputs();
    experiment.run(0);
    let before = experiment.rows();
    let stderr = experiment.run(0);
    assert!(stderr.starts_with("3 measured earlier\n"), "{stderr}");
    assert_eq!(experiment.rows(), before);
}

#[test]
fn a_row_carries_the_digests_of_the_files_that_it_was_made_from() {
    let experiment = three_inputs();
    experiment.run(0);
    let of = |name: &str| sha256(&std::fs::read(experiment.folder().join(name)).unwrap());
    let lines =
        ["tokenizer.json", "tokenizer_config.json"].map(|name| format!("{}  {name}\n", of(&format!("bert/{name}"))));
    let tokenizer = Some(sha256(lines.concat().as_bytes()));
    let rows = experiment.rows();
    for row in &rows {
        assert_eq!(row.config_sha256, Some(of("bert/config.json")), "{}", row.input);
        assert_eq!(row.weights_sha256, Some(of("bert/model.safetensors")));
        assert_eq!(row.settings_sha256, rows[0].settings_sha256);
        assert_eq!(row.settings_sha256.as_ref().map(String::len), Some(64));
        assert_eq!(row.arithmetic_sha256.as_ref().map(String::len), Some(64));
    }
    let [random, sst2, story] = rows.as_slice() else { panic!("three rows") };
    assert_eq!((&random.tokenizer_sha256, &random.input_sha256), (&None, &None), "random ids need neither");
    assert_eq!((&sst2.tokenizer_sha256, &sst2.input_sha256), (&tokenizer, &Some(of("dev.tsv"))));
    assert_eq!((&story.tokenizer_sha256, &story.input_sha256), (&tokenizer, &Some(of("story.txt"))));
}

/// What somebody does to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit of the byte at this eighth of the file.
    Flip(usize),
    /// The second half is gone.
    Cut,
    Delete,
}

impl Damage {
    fn apply(self, path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        match self {
            Damage::Flip(eighth) => {
                let position = bytes.len() * eighth / 8;
                bytes[position] ^= 1;
                rewrite(path, &bytes);
            }
            Damage::Cut => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
            Damage::Delete => std::fs::remove_file(path).unwrap(),
        }
    }
}

/// Any byte of any file, half of it or all of it: the rows that it was read for are measured again, or fail where it cannot be
/// read any more, and the message names the file. No other row is touched, and a new row stands beside them.
#[test]
fn no_damage_to_a_file_leaves_an_old_row_beside_a_new_one() {
    let experiment = three_inputs();
    experiment.run(0);
    let (folder, dir) = (experiment.folder(), experiment.dir());
    let (sources, results) = (files(&folder), files(&dir));
    let of_text: &[&str] = &["sst2", "story"];
    let all: &[&str] = &["random", "sst2", "story"];
    let cases: [(&str, &[&str], &str); 6] = [
        ("bert/config.json", all, "bert: config.json"),
        ("bert/model.safetensors", all, "weights"),
        ("bert/tokenizer.json", of_text, "bert: tokenizer.json"),
        ("bert/tokenizer_config.json", of_text, "bert: tokenizer_config.json"),
        ("dev.tsv", &["sst2"], "dev.tsv (input sst2)"),
        ("story.txt", &["story"], "story.txt (input story)"),
    ];
    let damages = [Damage::Flip(1), Damage::Flip(3), Damage::Flip(7), Damage::Cut, Damage::Delete];
    let (mut opened, mut refused) = (0, 0);
    for ((name, readers, word), damage) in cases.iter().flat_map(|case| damages.map(|damage| (case, damage))) {
        restore(&folder, &sources);
        restore(&dir, &results);
        damage.apply(&folder.join(name));
        experiment.manifest(&cells("[1, 2]", 6));
        let (_, stderr) = run(&experiment);
        let case = format!("{name}, {damage:?}: {stderr}");
        assert!(stderr.contains(word) && stderr.contains("measured again"), "{case}");
        for ((input, batch), count) in records(&experiment) {
            let again = batch == 1 && readers.contains(&input.as_str());
            assert_eq!(count, if again { 2 } else { 1 }, "{input}, {case}");
        }
        let rows = experiment.rows();
        for row in rows.iter().filter(|row| readers.contains(&row.input.as_str())) {
            let twin = rows.iter().find(|twin| twin.input == row.input && twin.batch_size != row.batch_size).unwrap();
            assert_eq!((row.status, row.contradicts(twin)), (twin.status, None), "{case}");
        }
        match rows.iter().any(|row| row.status == Status::Failed) {
            true => refused += 1,
            false => opened += 1,
        }
    }
    assert!(opened > 5 && refused > 8, "{opened} opened, {refused} refused");
}

/// Labels, heads and files of a manifest make other rows: the former ones are not among the results any more.
#[test]
fn a_changed_setting_of_the_manifest_is_named() {
    let experiment = three_inputs();
    let manifest = |model: &str, input: &str| {
        let (models, inputs) =
            (format!("{{bert: {{checkpoint: bert{model}}}}}"), format!("{{sst2: {{sst2: {input}}}}}"));
        experiment.manifest(&Cells { models: &models, inputs: &inputs, ..cells("[1]", 1) });
    };
    manifest("", "dev.tsv");
    experiment.run(0);
    std::fs::copy(experiment.folder().join("dev.tsv"), experiment.folder().join("other.tsv")).unwrap();
    let labels = ", labels: {0: positive, 1: negative}";
    let cases = [
        ("", format!("dev.tsv{labels}"), "labels of sst2 changed in the manifest: 1 row(s)"),
        ("", format!("other.tsv{labels}"), "source of sst2 changed in the manifest: 1 row(s)"),
        (", head: hidden", format!("other.tsv{labels}"), "head of bert changed in the manifest: 1 row(s)"),
    ];
    for (model, input, word) in &cases {
        manifest(model, input);
        let stderr = experiment.run(0);
        assert!(stderr.contains(word) && stderr.matches("changed in the manifest").count() == 1, "{stderr}");
        assert!(experiment.run(0).starts_with("1 measured earlier"), "said once");
    }
    manifest("", "dev.tsv");
    let stderr = experiment.run(0);
    assert!(stderr.starts_with("1 measured earlier"), "the first row is there: {stderr}");
}

/// Runs with any exit code; returns it and standard error.
fn run(experiment: &Experiment) -> (Option<i32>, String) {
    let output = command(experiment).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn command(experiment: &Experiment) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    command.args(["run", text(&experiment.yaml()), "--out", text(&experiment.dir())]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("MIXPREC_MOCK_FAULT");
    command
}

#[test]
fn a_flipped_byte_of_the_manifest_mixes_nothing() {
    let experiment = three_inputs();
    experiment.run(0);
    let (manifest, results) = (std::fs::read(experiment.yaml()).unwrap(), files(&experiment.dir()));
    for position in (0..manifest.len()).step_by(13) {
        restore(&experiment.dir(), &results);
        let mut bytes = manifest.clone();
        bytes[position] ^= 1;
        std::fs::write(experiment.yaml(), &bytes).unwrap();
        let (code, stderr) = run(&experiment);
        let rows = experiment.rows();
        let settings: BTreeSet<_> = rows.iter().filter_map(|row| row.settings_sha256.clone()).collect();
        assert!(settings.len() <= 1, "byte {position}: {stderr}");
        // Refused, or every row is that of the manifest: measured under it, or under one that says the same of it.
        let whole = rows.iter().all(|row| row.status != Status::Pending);
        assert!(code == Some(2) || whole, "byte {position}: {stderr}");
    }
}

/// The reference outputs are those of the graph as it is built now, and not those of another graph of the same names.
#[test]
fn a_corrected_configuration_is_compared_with_its_own_reference() {
    let experiment = Experiment::new(&Cells { models: "{gpt: {checkpoint: gpt}}", ..Cells::default() });
    let folder = experiment.folder().join("gpt");
    Checkpoint::gpt2().write(&folder);
    experiment.run(0);
    let before = experiment.rows().remove(0);
    let mut corrected = Checkpoint::gpt2();
    corrected.config["layer_norm_epsilon"] = 0.5.into();
    corrected.config["activation_function"] = "gelu".into();
    corrected.write(&folder);
    experiment.manifest(&Cells {
        models: "{gpt: {checkpoint: gpt}}",
        batch_sizes: "[1, 2]",
        count: 2,
        ..Cells::default()
    });
    let stderr = experiment.run(0);
    assert!(
        stderr.contains("gpt: config.json: 1 row(s) of this folder were measured with another version"),
        "{stderr}"
    );
    let rows = experiment.rows();
    assert!(rows.iter().all(|row| row.cosine_min > Some(0.999_999)), "{rows:?}");
    assert_eq!(rows[0].id, before.id, "ids stay");
    assert_ne!(rows[0].config_sha256, before.config_sha256);
    assert_eq!(rows[0].config_sha256, rows[1].config_sha256);
}

/// Waits until something has happened.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Between two workers and in the middle of one: rows that were measured before are measured again.
#[test]
fn a_file_that_is_replaced_during_the_run_is_read_by_every_row() {
    let cases = [
        ("dev.tsv", "input file of sst2"),
        ("bert/config.json", "config.json of bert"),
        ("bert/tokenizer.json", "tokenizer of bert"),
    ];
    for (name, word) in cases {
        let experiment = three_inputs();
        experiment.manifest(&Cells {
            backends: "[mock]",
            precisions: "[fp32, fp16]",
            inputs: "{sst2: {sst2: dev.tsv}}",
            more: "noise_floor: {batch_sizes: [1], sequence_lengths: [8], rounds: 8, samples: 1}",
            ..cells("[1, 2]", 4)
        });
        let run = command(&experiment).env("MIXPREC_MOCK_FAULT", "slow").spawn().unwrap();
        let rows = || journal::read(&experiment.dir()).map_or(0, |contents| contents.records.len());
        eventually("the first row", || rows() > 0);
        let path = experiment.folder().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let replaced = match name {
            "bert/config.json" => text.replace("1e-12", "2e-12"),
            "dev.tsv" => {
                sentences(&SENTENCES.map(|sentence| if sentence == "bad plot" { "good plot" } else { sentence }))
            }
            _ => text.replace("\"good\":8,", "\"good\":9,").replace("\"bad\":9,", "\"bad\":8,"),
        };
        assert_ne!(replaced, text, "{name}");
        mixprec::files::replace(&path, replaced.as_bytes()).unwrap();
        let output = run.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {stderr}");
        let said = format!("{word}: replaced during the run, so ");
        assert!(stderr.contains(&said) && stderr.contains(" from before are measured again"), "{name}: {stderr}");
        let rows = experiment.rows();
        let of = |row: &ResultRow| match name {
            "dev.tsv" => row.input_sha256.clone(),
            "bert/config.json" => row.config_sha256.clone(),
            _ => row.tokenizer_sha256.clone(),
        };
        assert_eq!(rows.iter().filter(|row| row.status == Status::Ok).count(), 4, "{name}: {stderr}");
        assert_eq!(rows.iter().map(of).collect::<BTreeSet<_>>().len(), 1, "{name}: {stderr}");
        assert!(experiment.run(0).starts_with("4 measured earlier"), "{name}");
    }
}

/// Two folders with a `dev.tsv` each, as two machines have them.
#[test]
fn folders_of_different_files_are_not_merged_compared_or_published_together() {
    let (first, second) = (three_inputs(), three_inputs());
    second.manifest(&cells("[1, 2]", 6));
    first.run(0);
    second.run(0);
    let merge = |code| {
        let out = first.dir().with_file_name("merged");
        expect(code, &["merge", text(&first.dir()), text(&second.dir()), "--out", text(&out)]).1
    };
    let compare = || expect(2, &["compare", text(&first.dir()), text(&second.dir())]).1;
    assert!(merge(0).contains("2 folder(s) joined"));
    let change = |name: &str, bytes: &[u8]| {
        std::fs::write(second.folder().join(name), bytes).unwrap();
        second.run(0);
    };
    let (sources, mut others) = (files(&second.folder()), SENTENCES);
    others.reverse();
    let config = Checkpoint::bert().config.to_string().replace("1e-12", "1e-5");
    let tokenizer = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64}).to_string();
    let cases = [
        ("dev.tsv", sentences(&others), "sst2 was measured with another version of its input file"),
        ("bert/config.json", config, "bert was measured with another version of its config.json"),
        ("bert/tokenizer_config.json", tokenizer, "bert was measured with another version of its tokenizer"),
    ];
    for (name, bytes, word) in cases {
        restore(&second.folder(), &sources);
        change(name, bytes.as_bytes());
        assert_says(&merge(2), &[word, text(&second.dir()), text(&first.dir())]);
        assert_says(&compare(), &[word]);
        let dirs = [text(&first.dir()), text(&second.dir())].map(str::to_owned);
        let out = first.dir().with_file_name("artifact");
        let stderr = expect(2, &["artifact", &dirs[0], &dirs[1], "--out", text(&out), "--allow-dirty"]).1;
        assert_says(&stderr, &[word]);
    }
}

#[test]
fn a_row_that_is_measured_again_from_another_file_is_not_compared() {
    let experiment = three_inputs();
    experiment.run(0);
    let row = experiment.rows().into_iter().find(|row| row.input == "sst2").unwrap();
    std::fs::write(experiment.folder().join("dev.tsv"), sentences(&["bad film", "good film"])).unwrap();
    let (stdout, _) = expect(1, &["rerun", text(&experiment.dir()), "--id", &row.id]);
    assert!(stdout.contains("made from different files, so the medians are not compared"), "{stdout}");
    assert!(
        stdout.lines().any(|line| line.starts_with("input file ") && line.matches("sha256 ").count() == 2),
        "{stdout}"
    );
}

#[test]
fn a_failed_row_does_not_outlive_the_file_that_it_failed_for() {
    let experiment = three_inputs();
    let [file, away] = ["dev.tsv", "away.tsv"].map(|name| experiment.folder().join(name));
    for word in ["(input sst2): 1 row(s) of this folder failed when", "its files are here again, so it counts"] {
        std::fs::rename(&file, &away).unwrap();
        experiment.run(1);
        std::fs::rename(&away, &file).unwrap();
        let stderr = experiment.run(0);
        assert!(stderr.contains(word), "{stderr}");
        assert!(experiment.rows().iter().all(|row| row.status == Status::Ok));
    }
}

#[test]
fn a_file_that_is_gone_is_told_from_one_that_is_another() {
    let experiment = three_inputs();
    let extra = experiment.folder().join("bert/special_tokens_map.json");
    std::fs::write(&extra, r#"{"unk_token": "[UNK]"}"#).unwrap();
    experiment.run(0);
    std::fs::remove_file(&extra).unwrap();
    let stderr = experiment.run(0);
    let gone = "bert: special_tokens_map.json: 2 row(s) of this folder were measured with it, and it is not here any more; they \
                are measured again";
    assert!(stderr.contains(gone) && !stderr.contains("another version"), "{stderr}");
    std::fs::write(&extra, r#"{"unk_token": "the"}"#).unwrap();
    let stderr = experiment.run(0);
    assert!(!stderr.contains("not here any more") && stderr.contains("special_tokens_map.json: 2 row(s)"), "{stderr}");
}

/// Lines of the journal as an older program wrote them.
#[test]
fn failed_rows_that_do_not_say_with_which_files_are_kept_with_a_word() {
    let experiment = three_inputs();
    let [file, away] = ["dev.tsv", "away.tsv"].map(|name| experiment.folder().join(name));
    std::fs::rename(&file, &away).unwrap();
    experiment.run(1);
    let journal = experiment.dir().join("journal.jsonl");
    let mut older = String::new();
    let mut forgotten = 0;
    for line in std::fs::read_to_string(&journal).unwrap().lines() {
        let (_, json) = line.split_once(' ').unwrap();
        let mut document: serde_json::Value = serde_json::from_str(json).unwrap();
        if let Some(failed) = document.pointer_mut("/outcome/failed").and_then(|failed| failed.as_object_mut()) {
            forgotten += usize::from(failed.remove("files").is_some());
        }
        let json = document.to_string();
        older += &format!("{} {json}\n", &sha256(json.as_bytes())[..16]);
    }
    assert_eq!(forgotten, 1);
    std::fs::write(&journal, older).unwrap();
    std::fs::rename(&away, &file).unwrap();
    let (_, stderr) = run(&experiment);
    assert_says(
        stderr.lines().next().unwrap(),
        &["note: 1 failed row(s) of this folder do not say which files they failed with", "--retry-failed"],
    );
    let (_, stderr) = expect(0, &["run", text(&experiment.yaml()), "--out", text(&experiment.dir()), "--retry-failed"]);
    assert!(!stderr.contains("do not say"), "{stderr}");
    assert!(experiment.rows().iter().all(|row| row.status == Status::Ok));
}

/// Of two folders with rows of one configuration and environment, whichever comes first.
#[test]
fn a_merge_prefers_a_measured_row_to_a_failed_one() {
    let experiment = three_inputs();
    experiment.run(0);
    let failed = experiment.dir().with_file_name("failed");
    let file = experiment.folder().join("dev.tsv");
    std::fs::remove_file(&file).unwrap();
    expect(1, &["run", text(&experiment.yaml()), "--out", text(&failed)]);
    let (measured, merged) = (experiment.dir(), experiment.dir().with_file_name("merged"));
    for [first, second] in [[&measured, &failed], [&failed, &measured]] {
        let said = expect(0, &["merge", text(first), text(second), "--out", text(&merged)]).1;
        let kept = format!("kept the row of {}, not that of {} (that one failed)", text(&measured), text(&failed));
        assert!(said.contains(&kept), "{said}");
        let rows = read_results(&merged).unwrap();
        assert!(rows.len() == 3 && rows.iter().all(|row| row.status == Status::Ok), "{rows:?}");
    }
}
