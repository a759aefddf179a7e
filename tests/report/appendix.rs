//! The reviewer's appendix of hand-made runs against committed files, and of the repository's own manifests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mixprec::appendix::author::Author;
use mixprec::appendix::document::Appendix;
use mixprec::appendix::folder::{ResultsFolder, size};
use mixprec::appendix::{AppendixRequest, DocumentFormat, appendix, of};
use mixprec::claims::Claims;
use mixprec::digest::sha256;
use mixprec::manifest::LoadedManifest;
use mixprec::manifest::schema::Manifest;
use mixprec::results::data::Data;

use super::committed::compare;
use super::fixture;
use crate::fixtures::skip;

const AUTHOR: &str = r##"
schema: 1
title: "An artifact & its <title>"
abstract: What it is, \input{/etc/passwd} and all.
algorithm: mixed precision
compilation: a compiler
execution: one after the other
metrics: latency
automation: make
archive: null
licences: {code: Apache-2.0, data: none}
installation:
  - {command: "make `all` | tee log", human_minutes: 3, text: Builds it.}
experiments:
  quick: {human_minutes: 1, preparation: ["Read [this](javascript:alert(1))"]}
other_hardware: [Expect other numbers.]
warnings:
  - {shows: "a_b <warning>", when: all is well, means: nothing}
unsupported:
  - {statement: Training, reason: it is no claim}
"##;

fn manifest(name: &str, backends: &str, exclude: &str, count: usize) -> (String, LoadedManifest) {
    let text = format!(
        "schema: 1\nname: {name}\nquestion: What does {name} ask?\nmodels:\n  bert-base: {{random: 1, architecture: bert-base}}\n  \
         gpt2: {{checkpoint: ../nowhere/gpt_2}}\nbackends: {backends}\nprecisions: [fp32, fp16, hybrid]\nbatch_sizes: [1, 2]\n\
         sequence_lengths: [16, 32]\ninputs:\n  random: {{random: 1}}\n{exclude}expect_configurations: {count}\n"
    );
    let manifest = Manifest::parse(&text, name).unwrap_or_else(|error| panic!("{error}"));
    let loaded = LoadedManifest { manifest, sha256: sha256(text.as_bytes()), base_dir: PathBuf::from("experiments") };
    (format!("experiments/{name}.yaml"), loaded)
}

fn manifests() -> Vec<(String, LoadedManifest)> {
    let exclude = "exclude:\n  - {backends: [onnxruntime], precisions: [fp16, hybrid], reason: a baseline}\n";
    vec![manifest("paper", "[cuda, onnxruntime]", exclude, 32), manifest("quick", "[reference]", "", 24)]
}

fn folder(label: &str, data: Data, bytes: u64) -> ResultsFolder {
    ResultsFolder::of(label.to_owned(), data, Some(bytes), &Claims::builtin().unwrap())
}

fn made_of(folders: &[ResultsFolder]) -> Appendix {
    of(&Author::parse(AUTHOR, "appendix.yaml").unwrap(), &Claims::builtin().unwrap(), &manifests(), folders)
}

fn both(appendix: &Appendix) -> BTreeMap<String, Vec<u8>> {
    let file = |format: DocumentFormat| {
        (format!("appendix.{}", format.extension()), appendix.render(format).unwrap().into_bytes())
    };
    DocumentFormat::ALL.map(file).into()
}

#[test]
fn the_appendix_is_the_committed_one() {
    let laptop = folder("runs/quick_1", fixture::laptop(), 4_240_000);
    let server = folder("artifacts/a100", fixture::server(), 1_230_000_000);
    compare("appendix", &both(&made_of(&[laptop, server])));
}

#[test]
fn what_was_not_measured_says_so_and_no_claim_is_lost() {
    let appendix = made_of(&[]);
    let ids: Vec<&str> = appendix.claims.iter().map(|claim| claim.id.as_str()).collect();
    let readings = "C1 C2 C3 C4 C5 C5* C6 C7 C8 C8* C9 C9* C10 F1 F2 F3 F4 F5 F6";
    assert_eq!(ids.join(" "), readings);
    for one in &appendix.experiments {
        assert!(one.time.starts_with("not measured; ") && one.time.contains("estimated"), "{}", one.time);
        assert_eq!((one.disk.as_str(), one.memory.as_str()), ("not measured", "not measured"));
        assert!(one.effort.ends_with("by estimate"), "{}", one.effort);
    }
    // C7 to C9 and the findings ask for manifests that this folder lacks.
    let lacking: Vec<&str> = appendix.unsupported.iter().map(|one| one.reason.0.as_str()).collect();
    assert_eq!(lacking.iter().filter(|reason| reason.contains("no manifest named")).count(), 9, "{lacking:?}");
    let text = appendix.render(DocumentFormat::Markdown).unwrap();
    assert!(text.contains("No results were given: NOT RUN."), "{text}");
}

/// Journals from before rows knew their time: no guess is made of what they took.
#[test]
fn runs_that_do_not_know_their_time_are_estimates() {
    let mut data = fixture::laptop();
    data.rows.iter_mut().for_each(|row| row.wall_s = None);
    let appendix = made_of(&[folder("runs/old", data, 10)]);
    let quick = appendix.experiments.iter().find(|one| one.name == "quick").unwrap();
    assert!(quick.time.starts_with("not recorded by these runs; "), "{}", quick.time);
    let mut data = fixture::laptop();
    data.rows[0].wall_s = None;
    let appendix = made_of(&[folder("runs/continued", data, 10)]);
    let quick = appendix.experiments.iter().find(|one| one.name == "quick").unwrap();
    assert!(
        quick.time.contains("34 of 35 rows") && quick.effort.contains("at least"),
        "{} {}",
        quick.time,
        quick.effort
    );
}

#[test]
fn hostile_text_stays_text() {
    let files = both(&made_of(&[folder("runs/`x`", fixture::laptop(), 10)]));
    let text = |name: &str| String::from_utf8(files[name].clone()).unwrap();
    let (tex, markdown) = (text("appendix.tex"), text("appendix.md"));
    assert!(!tex.contains("\\input{/") && tex.contains(r"\textbackslash{}input\{/etc/passwd\}"), "{tex}");
    assert!(!markdown.replace("\\]", "").contains("](javascript") && !markdown.contains("<title>"), "{markdown}");
    assert!(markdown.contains("`` runs/`x` ``"), "{markdown}");
}

/// The repository's own manifests, claims and author's part: every claim of the abstract has its experiment.
#[test]
fn the_repository_has_an_appendix() {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let appendix = appendix(&AppendixRequest { experiments: experiments.clone(), dirs: vec![] }).unwrap();
    assert!(appendix.claims.iter().all(|claim| claim.experiment.starts_with('E')), "{:?}", appendix.claims);
    let author = Author::load(&experiments).unwrap();
    for name in author.experiments.keys() {
        assert!(
            appendix.experiments.iter().any(|one| one.name == *name),
            "appendix.yaml names `{name}`, which is no manifest"
        );
    }
    for one in &appendix.experiments {
        assert!(author.experiments.contains_key(&one.name), "appendix.yaml says nothing of {}", one.name);
    }
}

/// What the other experiments of an artifact measured counts too, and each folder's files once.
#[test]
fn the_parts_of_an_artifact_are_measurements() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (artifact, experiments) = (root.join("artifacts/h200"), root.join("experiments"));
    let folders = ResultsFolder::read(&artifact, &Claims::builtin().unwrap()).unwrap();
    let names: Vec<&str> = folders.iter().map(|folder| folder.data.plan.name.as_str()).collect();
    assert_eq!(names, ["paper", "numerics", "downstream"]);
    let bytes: u64 = folders.iter().filter_map(|folder| folder.bytes).sum();
    let repeats: u64 = ["repeat", "repeat-2"].into_iter().map(|folder| size(&artifact.join(folder)).unwrap()).sum();
    assert_eq!(bytes + repeats, size(&artifact).unwrap());
    let appendix = appendix(&AppendixRequest { experiments, dirs: vec![artifact] }).unwrap();
    for name in names {
        let one = appendix.experiments.iter().find(|one| one.name == name).unwrap();
        assert!(!one.time.contains("not measured") && !one.disk.contains("not measured"), "{name}: {}", one.time);
    }
}

#[test]
fn the_latex_compiles_by_itself_and_inside_another_document() {
    if Command::new("latexmk").arg("--version").output().is_err() {
        skip("no latexmk (container/setup.sh --paper installs it)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folders = [folder("runs/quick_1", fixture::laptop(), 4_240_000)];
    std::fs::write(dir.path().join("appendix.tex"), made_of(&folders).render(DocumentFormat::Latex).unwrap()).unwrap();
    let host = "\\documentclass[twocolumn]{article}\\usepackage[T1]{fontenc}\\begin{document}Before.\\input{appendix}After.\\end{document}";
    std::fs::write(dir.path().join("host.tex"), host).unwrap();
    for name in ["appendix", "host"] {
        let output = Command::new("latexmk")
            .args(["-pdf", "-interaction=nonstopmode", "-halt-on-error", "-silent", name])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&std::fs::read(dir.path().join(format!("{name}.log"))).unwrap()).into_owned();
        assert!(output.status.success(), "{log}");
        assert!(!log.contains("LaTeX Warning: Reference") && !log.contains("was incomplete"), "{log}");
    }
}
